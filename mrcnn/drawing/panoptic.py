"""Things and stuff drawn on their image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.data.images import as_rgb
from mrcnn.drawing.colors import assign, class_color
from mrcnn.drawing.image import MAX_ENLARGE, ImageLike
from mrcnn.drawing.labels import LONG_SIDE, draw_labels
from mrcnn.drawing.shapes import draw_mask
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.panoptic import PanopticSegments, Segment

_THINGS, _STUFF = 0.5, 0.35  # strength of the filling: things stand out


def draw_panoptic(
    image: ImageLike,
    segments: PanopticSegments,
    *,
    class_names: Sequence[str] | None = None,
    stuff_names: Sequence[str] | None = None,
    labels: bool = True,
    scores: bool = True,
    long_side: int | None = None,
) -> np.ndarray:
    """The segments of an image drawn on it: stuff as a muted tint, things in bright colors over it, with their names.

    Args:
        image: as for `mrcnn.draw`.
        segments: true or predicted, in pixels of the image.
        class_names: name of thing 1, 2, ...; None: labels show the number.
        stuff_names: name of stuff 1, 2, ...; None: labels show the number.
        labels: write names.
        scores: and the scores of things that have one.
        long_side: longer side of the drawing, pixels; None = the image's own, but at least `LONG_SIDE`.

    Returns:
        u8[H, W, 3]. Empty: without segments, the image alone.

    Raises:
        InputError: segments of an image of another size.
        DataError: not an image.

    Example:
        >>> segments = PanopticSegments(np.ones((48, 64), int), (Segment(1, 1, is_thing=False),))
        >>> draw_panoptic(np.zeros((48, 64), np.uint8), segments, stuff_names=["sky"], long_side=64).shape
        (48, 64, 3)
    """
    pixels = as_rgb(image)
    height, width = pixels.shape[:2]
    if segments.ids.shape != (height, width):
        raise InputError(f"segments of an image of {segments.ids.shape} pixels, drawn on {(height, width)}")
    longest = max(height, width)
    scale = long_side / longest if long_side else min(max(LONG_SIDE / longest, 1.0), MAX_ENLARGE)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    same = (size[1], size[0]) == (height, width)
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    canvas = pixels.copy() if same else cv2.resize(pixels, size, interpolation=interpolation)
    unit = max(size) / LONG_SIDE
    shown = sorted(segments.segments, key=lambda segment: segment.is_thing)  # things over stuff
    things = _thing_colors(segments)
    boxes, colors, texts = [], [], []
    for segment in shown:
        mask = segments.mask(segment.id)
        color = things[segment.id] if segment.is_thing else _muted(segment.class_id)
        line = max(1, round((2 if segment.is_thing else 1) * unit))
        draw_mask(canvas, (0, 0, mask), color, scale, line, _THINGS if segment.is_thing else _STUFF)
        boxes.append(_label_box(mask, segment.is_thing))
        colors.append(color)
        texts.append(_text(segment, class_names, stuff_names, scores) if labels else "")
    on_canvas = np.array(boxes, np.float64).reshape(-1, 4) * scale
    # Labels of things first: of those that would cover each other the later ones are left out.
    order = np.argsort([not segment.is_thing for segment in shown], kind="stable")
    chosen = np.array(colors, np.uint8).reshape(-1, 3)[order]
    return draw_labels(
        canvas, on_canvas[order], chosen, [texts[i] for i in order], font_size=round(15 * max(unit, 0.7))
    )


def _thing_colors(segments: PanopticSegments) -> dict[int, np.ndarray]:
    """u8[3] of each thing by its id: the color of its class, of another lightness for each of its things."""
    things = [segment for segment in segments.segments if segment.is_thing]
    boxes = [_label_box(segments.mask(segment.id), is_thing=True) for segment in things]
    is_crowd = np.array([segment.is_crowd for segment in things], bool)
    class_ids = [segment.class_id for segment in things]
    as_instances = Instances(np.array(boxes), np.array(class_ids), segments.ids.shape, is_crowd=is_crowd)
    colors = assign(as_instances, "auto", several_classes=True)
    return {segment.id: color for segment, color in zip(things, colors, strict=True)}


def _muted(class_id: int) -> np.ndarray:
    """u8[3] of a class of stuff: between a color and gray; that of stuff 1 differs from that of thing 1."""
    color = class_color(class_id + 7).astype(np.float64)
    return np.round(0.6 * color + 0.4 * color.mean()).astype(np.uint8)


def _label_box(mask: np.ndarray, is_thing: bool) -> tuple[float, float, float, float]:
    """Where a label goes: over the box of a thing, or in stuff where most of it is on all sides."""
    if is_thing:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)
    inside = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(inside), inside.shape)
    return float(y), float(x), float(y + 1), float(x + 1)


def _text(segment: Segment, class_names: Sequence[str] | None, stuff_names: Sequence[str] | None, scores: bool) -> str:
    names = class_names if segment.is_thing else stuff_names
    known = names is not None and 1 <= segment.class_id <= len(names)
    name = names[segment.class_id - 1] if names is not None and known else str(segment.class_id)
    if segment.is_crowd:
        name = "crowd"
    return f"{name} {segment.score:.2f}" if scores and segment.score is not None else name
