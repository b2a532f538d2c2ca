"""Texts on a canvas: labels that do not cover each other, headers, fonts."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mrcnn.drawing.colors import text_color
from mrcnn.drawing.shapes import COORDINATES
from mrcnn.errors import InputError
from mrcnn.text import printable

LONG_SIDE = 1024
"""Images whose longer side is shorter than this are enlarged to it before drawing, pixels."""
HEADER_FILL, HEADER_TEXT = (255, 255, 255), (30, 30, 30)
_MOST_HIDDEN = 0.75  # a label of whose area more than this would hide other objects is left out
_CROWDED, _MOST_HIDDEN_CROWDED = 100, 0.25  # with more objects than this, a label may hide less
_LONGEST = 80  # letters of a label


def one_line(text: object) -> str:
    """A text that can be drawn: control characters escaped, cut to a length that fits any canvas."""
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def draw_labels(
    canvas: np.ndarray, boxes: np.ndarray, colors: np.ndarray, texts: Sequence[str], font_size: int
) -> np.ndarray:
    """Draw a label at each box, where there is space.

    Args:
        canvas: u8[H, W, 3].
        boxes: f[n, 4], (y1, x1, y2, x2) in pixels of the canvas, most important first.
        colors: u8[n, 3].
        texts: n of them; "" is none.
        font_size: pixels.

    Returns:
        u8[H, W, 3], another array where anything was drawn.
    """
    texts = [one_line(text) for text in texts]
    if not any(texts):
        return canvas
    face = font(font_size)
    ascent, descent = face.getmetrics()
    pad = max(2, font_size // 6)
    high = ascent + descent + 1
    taken = np.zeros((0, 4))
    placed = []
    most_hidden = _MOST_HIDDEN_CROWDED if len(boxes) > _CROWDED else _MOST_HIDDEN
    boxes = np.where(np.isfinite(boxes), np.clip(boxes, *COORDINATES), boxes)
    for box, color, text in zip(boxes, colors, texts, strict=True):
        if not text or not np.isfinite(box).all():
            continue
        wide = int(face.getlength(text)) + 2 * pad
        # This box itself, and one that surrounds it, are no obstacles: there is no place outside them.
        others = boxes[_overlap(box, boxes) < 0.9 * _overlap(box, box[None])]
        place = _free_place(box, wide, high, canvas.shape[:2], taken, others, most_hidden)
        if place is not None:
            taken = np.concatenate([taken, [[*place, place[0] + high, place[1] + wide]]])
            placed.append((place, wide, color, text))
    for (y, x), wide, color, _ in placed:
        target = canvas[y : y + high, x : x + wide]
        target[:] = (target * 0.15 + color * 0.85).astype(np.uint8)
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for (y, x), _, color, text in placed:
        pen.text((x + pad, y), text, fill=text_color(color), font=face)
    return np.array(image)


def _free_place(
    box: np.ndarray,
    wide: int,
    high: int,
    shape: tuple[int, int],
    taken: np.ndarray,
    others: np.ndarray,
    most_hidden: float,
) -> tuple[int, int] | None:
    """Top left corner (y, x) of a label: above, below or inside its box, where it hides least of the other boxes.

    None where every place is taken by another label, or hides other boxes by more than `most_hidden` of its area.
    """
    y1, x1, y2, x2 = np.round(box).astype(int).tolist()
    if wide > shape[1] or high > shape[0]:
        return None
    right = max(x1, x2 - wide)
    best, least = None, most_hidden * wide * high
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


def with_header(title: str, drawing: np.ndarray) -> np.ndarray:
    """A drawing below its title."""
    unit = max(drawing.shape[:2]) / LONG_SIDE
    face = font(round(20 * max(unit, 0.7)))
    header = Image.new("RGB", (drawing.shape[1], sum(face.getmetrics()) + 8), HEADER_FILL)
    ImageDraw.Draw(header).text((6, 4), one_line(title), fill=HEADER_TEXT, font=face)
    return np.concatenate([np.array(header), drawing])


@functools.lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships (Latin, Greek, Cyrillic), found without importing it; or Pillow's own."""
    try:
        spec = importlib.util.find_spec("matplotlib")
    except ValueError:  # kept from being imported
        spec = None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    default = ImageFont.load_default(size)
    if not isinstance(default, ImageFont.FreeTypeFont):
        raise InputError("no scalable font: install matplotlib, or a Pillow built with FreeType")
    return default
