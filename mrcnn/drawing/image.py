"""Instances drawn on an image as an array: masks, outlines, boxes, labels, joints.

Small images are enlarged first, so that outlines stay thin against the objects and labels stay readable.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from mrcnn.data.images import as_rgb
from mrcnn.drawing.colors import Colors, assign
from mrcnn.drawing.labels import LONG_SIDE, draw_labels, with_header
from mrcnn.drawing.shapes import draw_box, draw_keypoints, draw_mask, draw_rotated_box
from mrcnn.errors import InputError
from mrcnn.files import atomic_write
from mrcnn.structures.boxes import box_iou
from mrcnn.structures.instances import Instances, mask_windows

ImageLike = Union[np.ndarray, Image.Image, str, "os.PathLike[str]"]
"""An image in any form that `data.images.as_rgb` takes: an array, a tensor, a PIL image or a path."""
MAX_ENLARGE = 8.0
GAP = 12


def draw_array(
    image: ImageLike,
    instances: Instances,
    *,
    class_names: Sequence[str] | None = None,
    ground_truth: Instances | None = None,
    scores: bool = True,
    masks: bool = True,
    boxes: bool = True,
    labels: bool = True,
    keypoints: bool = True,
    colors: Colors = "auto",
    max_instances: int | None = None,
    long_side: int | None = None,
) -> np.ndarray:
    """Instances drawn on their image; with `ground_truth`, the ground truth on the left and the instances on the right.

    Args:
        image: an array u8[h, w], u8[h, w, 3] or u8[h, w, 4], RGB; a PIL image of any mode, a tensor or a path; see
            `data.images.as_rgb`.
        instances: true or predicted, in pixels of the image.
        class_names: name of class 1, 2, ...; None = labels show the number. Control characters are escaped.
        scores, masks, boxes, labels, keypoints: what to draw of it, where the instances have it. Outputs of further
            heads count as masks, keypoints or part of the label as they are declared (`Instances.outputs`). Where
            labels would cover each other, those of the lower scores are left out.
        colors: see `drawing.colors.assign`.
        max_instances: draw only so many, the best scores first.
        long_side: longer side of one drawing, pixels; None = the image's own, but at least `LONG_SIDE`.

    Returns:
        u8[H, W, 3]. Empty: without instances, the image alone.

    Raises:
        InputError: instances of an image of another size, or unknown colors.
        DataError: not an image.

    Example:
        >>> cell = Instances([[10, 20, 40, 50]], [1], (64, 96), scores=[0.9])
        >>> draw_array(np.zeros((64, 96), np.uint8), cell, long_side=96).shape
        (64, 96, 3)
    """
    panels = draw_panels(
        as_rgb(image),
        instances,
        class_names=class_names,
        ground_truth=ground_truth,
        scores=scores,
        masks=masks,
        boxes=boxes,
        labels=labels,
        keypoints=keypoints,
        colors=colors,
        max_instances=max_instances,
        long_side=long_side,
    )
    if len(panels) == 1:
        return panels[0][1]
    framed = [with_header(title, drawing) for title, drawing in panels]
    gap = np.full((framed[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([framed[0], gap, framed[1]], axis=1)


def draw_panels(
    image: np.ndarray,
    instances: Instances,
    *,
    class_names: Sequence[str] | None,
    ground_truth: Instances | None,
    scores: bool,
    masks: bool,
    boxes: bool,
    labels: bool,
    keypoints: bool,
    colors: Colors,
    max_instances: int | None,
    long_side: int | None,
) -> list[tuple[str, np.ndarray]]:
    """The drawings with their titles: one, or ground truth and prediction. As `draw_array`, but image u8[h, w, 3]."""
    several = len(class_names) > 1 if class_names is not None else None
    options: dict[str, Any] = {"masks": masks, "boxes": boxes, "keypoints": keypoints, "long_side": long_side}
    sides = [("", instances)] if ground_truth is None else [("ground truth", ground_truth), ("detections", instances)]
    panels, reference = [], None
    for title, shown in sides:
        if shown.image_shape != image.shape[:2]:
            raise InputError(f"instances of an image of {shown.image_shape} pixels, drawn on {image.shape[:2]}")
        total = len(shown)
        order = _order(shown, max_instances)
        chosen = assign(shown, colors, several)[order] if isinstance(colors, np.ndarray) else None
        shown = shown[order]
        if chosen is None:
            chosen = assign(shown, colors, several)
        if reference is not None and not several and isinstance(colors, str) and colors in ("auto", "instance"):
            chosen = _like(shown.boxes, chosen, *reference)
        reference = (shown.boxes, chosen)
        texts = [_label(shown, i, class_names, scores) if labels else "" for i in range(len(shown))]
        count = f"{len(shown)} of {total}" if len(shown) < total else str(total)
        panels.append((f"{title}: {count}", _draw(image, shown, chosen, texts, **options)))
    return panels


def save_image(path: str | os.PathLike[str], image: np.ndarray, *, software: str | None = None) -> Path:
    """Write u8[h, w, 3] as the format its suffix names (.png, .jpg, ...); the file appears whole or not at all.

    Args:
        path: of the file; one of that name is replaced.
        image: u8[h, w, 3], RGB.
        software: what wrote it, kept in a PNG under the key "Software", by which `mrcnn detect` knows its own.

    Raises:
        InputError: a suffix that no encoder knows.
    """
    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"{path}: no image format has this suffix, unknown to Pillow; take .png or .jpg")
    with atomic_write(path) as temporary:
        encoder = Image.fromarray(as_rgb(image))
        if path.suffix.lower() == ".png":
            info = PngImagePlugin.PngInfo()
            if software is not None:
                info.add_text("Software", software)
            encoder.save(temporary, compress_level=4, pnginfo=info)
        elif path.suffix.lower() in (".jpg", ".jpeg"):
            encoder.save(temporary, quality=92)
        else:
            encoder.save(temporary)
    return path


def _order(instances: Instances, max_instances: int | None) -> np.ndarray:
    """The best scores, or without scores the largest boxes; best first."""
    extent = instances.boxes[:, 2:] - instances.boxes[:, :2]
    rank = instances.scores if instances.scores is not None else extent.prod(1)
    return np.argsort(-rank, kind="stable")[:max_instances]


def _like(boxes: np.ndarray, own: np.ndarray, other_boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Own colors, but that of the other side's box wherever the two overlap by half."""
    if not len(boxes) or not len(other_boxes):
        return own
    overlap = box_iou(boxes, other_boxes)  # [n, m]
    best = overlap.argmax(1)
    return np.where((overlap.max(1) >= 0.5)[:, None], others[best], own)


def _label(instances: Instances, i: int, class_names: Sequence[str] | None, scores: bool) -> str:
    class_id = int(instances.class_ids[i])
    if instances.is_crowd is not None and instances.is_crowd[i]:
        name = "crowd"
    elif class_names is None:
        name = str(class_id) if len(set(instances.class_ids.tolist())) > 1 else ""
    else:
        # The name of the only class is the same on every object.
        single = len(class_names) == 1
        name = ("" if single else class_names[class_id - 1]) if 1 <= class_id <= len(class_names) else str(class_id)
    score = f"{instances.scores[i]:.2f}" if scores and instances.scores is not None else ""
    numbers = [
        f"{output.name} {_number(instances.extra_array(output.name)[i])}"
        for output in instances.outputs
        if output.draw == "label"
    ]
    return " ".join([f"{name} {score}".strip(), *numbers]).strip()


def _number(value: np.generic) -> str:
    return str(int(value)) if np.issubdtype(value.dtype, np.integer) else f"{value:.2f}"


def _draw(
    image: np.ndarray,
    instances: Instances,
    colors: np.ndarray,
    texts: Sequence[str],
    *,
    masks: bool,
    boxes: bool,
    keypoints: bool,
    long_side: int | None,
) -> np.ndarray:
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = long_side / longest if long_side else min(max(LONG_SIDE / longest, 1.0), MAX_ENLARGE)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if (size[1], size[0]) == (height, width):
        canvas = image.copy()
    else:
        canvas = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    unit = max(size) / LONG_SIDE  # grows with the canvas: lines and letters keep their share of it
    with np.errstate(invalid="ignore", over="ignore"):  # boxes that are not finite are left out below
        sides = np.sqrt(np.clip(instances.boxes[:, 2:] - instances.boxes[:, :2], 0, None).prod(1)) * scale
    typical = float(np.median(sides)) if len(instances) else 0.0
    fine = len(instances) > 25 and typical < 60 * unit  # many small objects: everything thinner
    thickness = max(1, round((1 if fine else 2) * unit))
    regions = [instances.mask_windows()] if instances.has_masks else []
    regions += [mask_windows(instances.extra[output.name]) for output in instances.outputs if output.draw == "mask"]
    for windows in map(list, regions if masks else []):
        for i in np.argsort(-sides, kind="stable"):  # small objects over large ones
            line = thickness if sides[i] >= 45 * unit else max(1, thickness // 2)
            draw_mask(canvas, windows[i], colors[i], scale, line, 0.25 if fine else 0.4)
    on_canvas = instances.boxes.astype(np.float64) * scale
    if boxes and instances.rotated_boxes is not None:
        for box, color in zip(instances.rotated_boxes * np.array([scale] * 4 + [1]), colors, strict=True):
            draw_rotated_box(canvas, box, color, max(1, thickness // 2))
    elif boxes:
        for box, color in zip(on_canvas, colors, strict=True):
            draw_box(canvas, box, color, max(1, thickness // 2))
    joints = [] if instances.keypoints is None else [instances.keypoints]
    joints += [instances.extra_array(output.name) for output in instances.outputs if output.draw == "points"]
    for of_all in joints if keypoints else []:
        for points, color in zip(of_all, colors, strict=True):
            draw_keypoints(canvas, points, color, scale, thickness)
    return draw_labels(canvas, on_canvas, colors, texts, font_size=round((12 if fine else 15) * max(unit, 0.7)))
