"""Instances drawn on an image as an array: masks, outlines, boxes, labels, joints.

Small images are enlarged first, so that outlines stay thin against the objects and labels stay readable.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Union

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mrcnn.drawing.colors import Colors, assign, text_color
from mrcnn.files import atomic_write
from mrcnn.structures.instances import Instances

ImageLike = Union[np.ndarray, str, os.PathLike]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
LONG_SIDE = 1024
"""Images whose longer side is shorter than this are enlarged to it before drawing, pixels."""
MAX_ENLARGE = 8.0
HEADER_FILL, HEADER_TEXT, GAP = (255, 255, 255), (30, 30, 30), 12
_MOST_HIDDEN = 0.75  # a label of whose area more than this would hide other objects is left out
COCO_SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip


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
        image: u8[h, w], u8[h, w, 1], u8[h, w, 3] or u8[h, w, 4] (the fourth channel is dropped), RGB; or a path.
        instances: true or predicted, in pixels of the image.
        class_names: name of class 1, 2, ...; None = labels say the number.
        scores, masks, boxes, labels, keypoints: what to draw of it, where the instances have it. Where labels would
            cover each other, those of the lower scores are left out.
        colors: see `drawing.colors.assign`.
        max_instances: draw only so many, the best scores first.
        long_side: longer side of one drawing, pixels; None = the image's own, but at least `LONG_SIDE`.

    Returns:
        u8[H, W, 3]. Empty: without instances, the image alone.
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
    framed = [_with_header(title, drawing) for title, drawing in panels]
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
    options = {"masks": masks, "boxes": boxes, "keypoints": keypoints, "long_side": long_side}
    sides = [("", instances)] if ground_truth is None else [("ground truth", ground_truth), ("detections", instances)]
    panels, reference = [], None
    for title, shown in sides:
        if shown.image_shape != image.shape[:2]:
            raise ValueError(f"instances of an image of {shown.image_shape} pixels, drawn on {image.shape[:2]}")
        total = len(shown)
        shown = shown[_order(shown, max_instances)]
        chosen = assign(shown, colors, several)
        if reference is not None and not several and colors in ("auto", "instance"):
            chosen = _like(shown.boxes, chosen, *reference)
        reference = (shown.boxes, chosen)
        texts = [_label(shown, i, class_names, scores) if labels else "" for i in range(len(shown))]
        count = f"{len(shown)} of {total}" if len(shown) < total else str(total)
        panels.append((f"{title}: {count}", _draw(image, shown, chosen, texts, **options)))
    return panels


def save_image(path: str | os.PathLike[str], image: np.ndarray) -> Path:
    """Write u8[h, w, 3] as the format its suffix names (.png, .jpg, ...), under a temporary name then renamed."""
    path = Path(path)
    with atomic_write(path) as temporary:
        encoder = Image.fromarray(as_rgb(image))
        if path.suffix.lower() == ".png":
            encoder.save(temporary, compress_level=4)
        elif path.suffix.lower() in (".jpg", ".jpeg"):
            encoder.save(temporary, quality=92)
        else:
            encoder.save(temporary)
    return path


def as_rgb(image: ImageLike) -> np.ndarray:
    """u8[h, w, 3] of any image that can be drawn on."""
    if isinstance(image, (str, os.PathLike)):
        from mrcnn.data.images import read_image

        return read_image(image)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(f"expected a uint8 image of 1, 3 or 4 channels, got {image.dtype} of shape {image.shape}")
    if image.ndim == 2:
        image = image[..., np.newaxis]
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]


def _order(instances: Instances, max_instances: int | None) -> np.ndarray:
    """The best scores, or without scores the largest boxes; best first."""
    extent = instances.boxes[:, 2:] - instances.boxes[:, :2]
    rank = instances.scores if instances.scores is not None else extent.prod(1)
    return np.argsort(-rank, kind="stable")[:max_instances]


def _like(boxes: np.ndarray, own: np.ndarray, other_boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Own colors, but that of the other side's box wherever the two overlap by half."""
    if not len(boxes) or not len(other_boxes):
        return own
    low = np.maximum(boxes[:, None, :2], other_boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], other_boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None] + (other_boxes[:, 2:] - other_boxes[:, :2]).prod(1)
    overlap = common / np.maximum(areas - common, 1e-6)  # [n, m]
    best = overlap.argmax(1)
    return np.where((overlap.max(1) >= 0.5)[:, None], others[best], own)


def _label(instances: Instances, i: int, class_names: Sequence[str] | None, scores: bool) -> str:
    class_id = int(instances.class_ids[i])
    if instances.is_crowd is not None and instances.is_crowd[i]:
        name = "crowd"
    elif class_names is None:
        name = str(class_id) if len(set(instances.class_ids.tolist())) > 1 else ""
    else:
        # With a single class its name on every object says nothing
        name = (
            (class_names[class_id - 1] if len(class_names) > 1 else "")
            if class_id <= len(class_names)
            else str(class_id)
        )
    score = f"{instances.scores[i]:.2f}" if scores and instances.scores is not None else ""
    return f"{name} {score}".strip()


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
    sides = np.sqrt(np.clip(instances.boxes[:, 2:] - instances.boxes[:, :2], 0, None).prod(1)) * scale
    typical = float(np.median(sides)) if len(instances) else 0.0
    fine = len(instances) > 25 and typical < 60 * unit  # many small objects: everything thinner
    thickness = max(1, round((1 if fine else 2) * unit))
    if masks and instances.masks is not None:
        for i in np.argsort(-sides, kind="stable"):  # small objects over large ones
            line = thickness if sides[i] >= 45 * unit else max(1, thickness // 2)
            _draw_mask(canvas, instances.masks[i], colors[i], scale, line, 0.25 if fine else 0.4)
    if boxes:
        for box, color in zip(instances.boxes, colors, strict=True):
            _draw_box(canvas, box * scale, color, max(1, thickness // 2))
    if keypoints and instances.keypoints is not None:
        for points, color in zip(instances.keypoints, colors, strict=True):
            _draw_keypoints(canvas, points, color, scale, thickness)
    return _draw_labels(
        canvas, instances.boxes * scale, colors, texts, font_size=round((12 if fine else 15) * max(unit, 0.7))
    )


def _draw_mask(
    canvas: np.ndarray, mask: np.ndarray, color: np.ndarray, scale: float, thickness: int, strength: float
) -> None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    y, x = int(rows[0]), int(columns[0])
    window = mask[y : rows[-1] + 1, x : columns[-1] + 1].astype(np.float32)
    # The object's window on the canvas, a pixel wider than the object so that its outline closes.
    top, left = max(0, int(y * scale) - 1), max(0, int(x * scale) - 1)
    bottom = min(canvas.shape[0], int(np.ceil((rows[-1] + 1) * scale)) + 1)
    right = min(canvas.shape[1], int(np.ceil((columns[-1] + 1) * scale)) + 1)
    step = 1 / scale
    to_mask = np.array([[step, 0, (left + 0.5) * step - 0.5 - x], [0, step, (top + 0.5) * step - 0.5 - y]], np.float32)
    sampled = cv2.warpAffine(
        window, to_mask, (right - left, bottom - top), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    inside = sampled >= min(0.5, float(sampled.max()))
    target = canvas[top:bottom, left:right]
    target[inside] = (target[inside] * (1 - strength) + color * strength).astype(np.uint8)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, color.tolist(), thickness, cv2.LINE_AA, offset=(left, top))


def _draw_box(canvas: np.ndarray, box: np.ndarray, color: np.ndarray, thickness: int) -> None:
    if not np.isfinite(box).all():
        return
    y1, x1, y2, x2 = np.round(box).astype(int).tolist()
    cv2.rectangle(canvas, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), color.tolist(), thickness)


def _draw_keypoints(canvas: np.ndarray, points: np.ndarray, color: np.ndarray, scale: float, thickness: int) -> None:
    seen = points[:, 2] > 0
    places = np.round(points[:, :2] * scale).astype(int)
    if len(points) == 1 + max(max(edge) for edge in COCO_SKELETON):
        for a, b in COCO_SKELETON:
            if seen[a] and seen[b]:
                cv2.line(canvas, places[a].tolist(), places[b].tolist(), color.tolist(), thickness, cv2.LINE_AA)
    for place in places[seen].tolist():
        cv2.circle(canvas, place, thickness + 2, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(canvas, place, thickness + 1, color.tolist(), -1, cv2.LINE_AA)


def _draw_labels(
    canvas: np.ndarray, boxes: np.ndarray, colors: np.ndarray, texts: Sequence[str], font_size: int
) -> np.ndarray:
    if not any(texts):
        return canvas
    font = _font(font_size)
    ascent, descent = font.getmetrics()
    pad = max(2, font_size // 6)
    high = ascent + descent + 1
    taken = np.zeros((0, 4))
    placed = []
    for box, color, text in zip(boxes, colors, texts, strict=True):
        if not text or not np.isfinite(box).all():
            continue
        wide = int(font.getlength(text)) + 2 * pad
        # This box itself, and one that surrounds it, are no obstacles: there is no place outside them.
        others = boxes[_overlap(box, boxes) < 0.9 * _overlap(box, box[None])]
        place = _free_place(box, wide, high, canvas.shape[:2], taken, others)
        if place is not None:
            taken = np.concatenate([taken, [[*place, place[0] + high, place[1] + wide]]])
            placed.append((place, wide, color, text))
    for (y, x), wide, color, _ in placed:
        target = canvas[y : y + high, x : x + wide]
        target[:] = (target * 0.15 + color * 0.85).astype(np.uint8)
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for (y, x), _, color, text in placed:
        pen.text((x + pad, y), text, fill=text_color(color), font=font)
    return np.array(image)


def _free_place(
    box: np.ndarray, wide: int, high: int, shape: tuple[int, int], taken: np.ndarray, others: np.ndarray
) -> tuple[int, int] | None:
    """Top left corner (y, x) of a label: above, below or inside its box, where it hides least of the other boxes.

    None where every place is taken by another label, or mostly hides other objects.
    """
    y1, x1, y2, x2 = np.round(box).astype(int).tolist()
    if wide > shape[1] or high > shape[0]:
        return None
    right = max(x1, x2 - wide)
    best, least = None, _MOST_HIDDEN * wide * high
    for y, x in ((y1 - high, x1), (y2, x1), (y1 - high, right), (y2, right), (y1, x1), (y2 - high, right)):
        if not 0 <= y <= shape[0] - high:
            continue
        x = min(max(x, 0), shape[1] - wide)
        place = np.array([y, x, y + high, x + wide])
        if _overlap(place, taken).any():
            continue
        hidden = float(_overlap(place, others).sum())
        if hidden < least:
            best, least = (y, x), hidden
    return best


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """f[n], common area of one box with each of n."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    return np.clip(high - low, 0, None).prod(1)


def _with_header(title: str, drawing: np.ndarray) -> np.ndarray:
    unit = max(drawing.shape[:2]) / LONG_SIDE
    font = _font(round(20 * max(unit, 0.7)))
    header = Image.new("RGB", (drawing.shape[1], sum(font.getmetrics()) + 8), HEADER_FILL)
    ImageDraw.Draw(header).text((6, 4), title, fill=HEADER_TEXT, font=font)
    return np.concatenate([np.array(header), drawing])


@functools.lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships (Latin, Greek, Cyrillic), found without importing it; or Pillow's own."""
    try:
        spec = importlib.util.find_spec("matplotlib")
    except ValueError:  # kept from being imported
        spec = None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)
