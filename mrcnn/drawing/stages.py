"""Intermediate results of a model: anchors, proposals and targets on an image; crops, masks and maps in a grid."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mrcnn.data.images import as_rgb
from mrcnn.drawing.colors import PALETTE
from mrcnn.drawing.image import MAX_ENLARGE, ImageLike
from mrcnn.drawing.labels import HEADER_FILL, HEADER_TEXT, LONG_SIDE, font, one_line
from mrcnn.drawing.shapes import corners, draw_rotated_box, rotated_corners
from mrcnn.errors import InputError

_DASH = 6  # pixels of the canvas, drawn and left out in turn


def draw_boxes(
    image: ImageLike,
    boxes: np.ndarray,
    *,
    refined: np.ndarray | None = None,
    groups: Sequence[int] | None = None,
    group_names: Sequence[str] | None = None,
    colors: Sequence[Sequence[int]] | None = None,
    title: str = "",
    long_side: int | None = None,
    thickness: int = 1,
) -> np.ndarray:
    """Draw boxes on an image: anchors by level, targets by kind, proposals before and after refinement.

    Args:
        image: an array u8[h, w], u8[h, w, 3] or u8[h, w, 4], RGB; a PIL image of any mode, a tensor or a path.
        boxes: f[n, 4], (y1, x1, y2, x2) in pixels of the image; they may reach beyond it. Drawn in their order, those
            that are not finite are left out. Or f[n, 5], rotated ones, (cy, cx, h, w, angle in degrees).
        refined: of the same kind, what became of each box: `boxes` are then dashed, these are solid, and a line leads
            from the corner of the one to that of the other.
        groups: i[n], which color each box has; default: one for all, or with `refined` one each.
        group_names: by group, for a legend above the image; groups without a box are left out of it.
        colors: RGB by group; default: the palette of `draw`.
        title: above the image, before the legend.
        long_side: of the drawing, pixels; None = the image's own, but at least `LONG_SIDE`.
        thickness: of lines, pixels of the drawing.

    Returns:
        u8[H, W, 3].

    Raises:
        InputError: `refined` or `groups` are of another length than `boxes`.
        DataError: not an image.

    Example:
        >>> draw_boxes(np.zeros((64, 96), np.uint8), [[10, 20, 40, 50]], long_side=96).shape
        (64, 96, 3)
    """
    image = as_rgb(image)
    numbers = 5 if np.ndim(boxes) == 2 and np.shape(boxes)[1] == 5 else 4
    boxes = np.asarray(boxes, np.float64).reshape(-1, numbers)
    after = None if refined is None else np.asarray(refined, np.float64).reshape(-1, numbers)
    if groups is None:
        group = np.arange(len(boxes)) if after is not None else np.zeros(len(boxes), int)
    else:
        group = np.asarray(groups, int).reshape(-1)
    for name, value in (("refined", after), ("groups", group)):
        if value is not None and len(value) != len(boxes):
            raise InputError(f"draw_boxes: {len(boxes)} boxes, but {len(value)} {name}")
    palette = PALETTE if colors is None else np.asarray(colors, np.uint8)
    canvas, factor = _enlarged(image, long_side)
    scale = np.array([factor] * 4 + [1.0] * (numbers - 4))  # not of the angle
    for i, box in enumerate(boxes):
        color = palette[group[i] % len(palette)].tolist()
        if not np.isfinite(box).all():
            continue
        if after is None:
            _solid(canvas, box * scale, color, thickness)
            continue
        _dashed(canvas, box * scale, color, thickness)
        if np.isfinite(after[i]).all():
            _solid(canvas, after[i] * scale, color, thickness)
            start, end = (_first_corner(each * scale) for each in (box, after[i]))
            cv2.line(canvas, start, end, color, thickness, cv2.LINE_AA)
    legend = []
    if group_names is not None:
        counts = np.bincount(group, minlength=len(group_names)) if len(group) else np.zeros(len(group_names), int)
        legend = [
            (f"{name}: {count}", palette[g % len(palette)])
            for g, (name, count) in enumerate(zip(group_names, counts, strict=False))
            if count
        ]
    return _headed(canvas, title, legend)


def draw_grid(
    tiles: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    side: int = 112,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw small images, masks or feature maps side by side.

    Args:
        tiles: each u8[h, w] or u8[h, w, 3], drawn as it is; or bool[h, w]; or float[h, w], dark blue at its lowest
            value through green to yellow at its highest.
        titles: one a tile, below it.
        columns: at most so many in a row.
        side: longer side of a tile, pixels; cells are enlarged as squares.
        limits: lowest and highest value of floats, the same for all tiles; None: each tile its own.

    Returns:
        u8[H, W, 3]. Empty: without tiles, u8[0, 0, 3].

    Raises:
        InputError: a tile of another shape, or fewer titles than tiles.

    Example:
        >>> draw_grid([np.ones((14, 14), bool)] * 3, side=28).shape
        (40, 108, 3)
    """
    if not len(tiles):
        return np.zeros((0, 0, 3), np.uint8)
    if titles is not None and len(titles) != len(tiles):
        raise InputError(f"draw_grid: {len(tiles)} tiles, but {len(titles)} titles")
    gap, face = 6, font(13)
    line = sum(face.getmetrics()) + 2 if titles is not None else 0
    drawn = [_tile(np.asarray(tile), side, limits) for tile in tiles]
    columns = min(columns, len(drawn))
    rows = -(-len(drawn) // columns)
    height = max(tile.shape[0] for tile in drawn)
    canvas = np.full((rows * (height + line + gap) + gap, columns * (side + gap) + gap, 3), 255, np.uint8)
    places = [
        (gap + (i // columns) * (height + line + gap), gap + (i % columns) * (side + gap)) for i in range(len(drawn))
    ]
    for tile, (y, x) in zip(drawn, places, strict=True):
        canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    if titles is None:
        return canvas
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for title, tile, (y, x) in zip(map(one_line, titles), drawn, places, strict=True):
        while title and face.getlength(title) > side:
            title = title[:-1]
        pen.text((x, y + tile.shape[0]), title, fill=HEADER_TEXT, font=face)
    return np.array(image)


def _tile(tile: np.ndarray, side: int, limits: tuple[float, float] | None) -> np.ndarray:
    if tile.ndim not in (2, 3) or (tile.ndim == 3 and tile.shape[2] != 3) or 0 in tile.shape:
        raise InputError(f"draw_grid: expected tiles [h, w] or u8[h, w, 3], got {tile.dtype} of shape {tile.shape}")
    if tile.dtype == bool:
        tile = tile.astype(np.uint8) * 255
    elif tile.dtype != np.uint8:
        values = np.nan_to_num(tile.astype(np.float64))
        low, high = limits if limits is not None else (float(values.min()), float(values.max()))
        gray = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
        tile = cv2.applyColorMap(np.round(gray * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    if tile.ndim == 2:
        tile = np.repeat(tile[..., np.newaxis], 3, axis=2)
    scale = side / max(tile.shape[:2])
    size = max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale))
    return cv2.resize(
        np.ascontiguousarray(tile), size, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
    )


def _enlarged(image: np.ndarray, long_side: int | None) -> tuple[np.ndarray, float]:
    longest = max(image.shape[:2])
    scale = long_side / longest if long_side else min(max(LONG_SIDE / longest, 1.0), MAX_ENLARGE)
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return (image.copy() if scale == 1 else cv2.resize(image, size, interpolation=how)), scale


def _solid(canvas: np.ndarray, box: np.ndarray, color: list[int], thickness: int) -> None:
    if len(box) == 5:
        draw_rotated_box(canvas, box, np.array(color), thickness)
        return
    y1, x1, y2, x2 = corners(box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness)


def _dashed(canvas: np.ndarray, box: np.ndarray, color: list[int], thickness: int) -> None:
    if len(box) == 5:
        points = rotated_corners(box)
        for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
            _dashed_line(canvas, start, end, color, thickness)
        return
    y1, x1, y2, x2 = corners(box)
    for y in (y1, y2):
        for x in range(max(x1, -_DASH), min(x2, canvas.shape[1]), 2 * _DASH):
            cv2.line(canvas, (x, y), (min(x + _DASH, x2), y), color, thickness)
    for x in (x1, x2):
        for y in range(max(y1, -_DASH), min(y2, canvas.shape[0]), 2 * _DASH):
            cv2.line(canvas, (x, y), (x, min(y + _DASH, y2)), color, thickness)


def _dashed_line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: list[int], thickness: int) -> None:
    """A line between two points (x, y); of one that is longer than the canvas is large, its first part."""
    length = float(np.linalg.norm(end - start))
    along = (end - start) / max(length, 1.0)
    for first in np.arange(0, min(length, 2 * sum(canvas.shape[:2])), 2 * _DASH):
        a, b = (np.round(start + along * at).astype(int).tolist() for at in (first, min(first + _DASH, length)))
        cv2.line(canvas, a, b, color, thickness, cv2.LINE_AA)


def _first_corner(box: np.ndarray) -> tuple[int, int]:
    """(x, y) of the upper left corner of a box, of a rotated one before it was turned."""
    x, y = rotated_corners(box)[0].tolist() if len(box) == 5 else corners(box)[1::-1]
    return x, y


def _headed(canvas: np.ndarray, title: str, legend: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    if not title and not legend:
        return canvas
    face = font(round(18 * max(max(canvas.shape[:2]) / LONG_SIDE, 0.7)))
    title, legend = one_line(title), [(one_line(text), color) for text, color in legend]
    high = sum(face.getmetrics()) + 8
    header = Image.new("RGB", (canvas.shape[1], high), HEADER_FILL)
    pen = ImageDraw.Draw(header)
    x = 6.0
    if title:
        pen.text((x, 4), title, fill=HEADER_TEXT, font=face)
        x += face.getlength(title) + 18
    for text, color in legend:
        pen.rectangle((x, high * 0.3, x + high * 0.4, high * 0.7), fill=tuple(color.tolist()))
        pen.text((x + high * 0.5, 4), text, fill=HEADER_TEXT, font=face)
        x += high * 0.5 + face.getlength(text) + 16
    return np.concatenate([np.array(header), canvas])
