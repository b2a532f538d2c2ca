"""Large images with small objects: the model on overlapping tiles, its findings merged.

Shrunk to the model's input, a small object of a large image is a few pixels wide. Cut into tiles it is not, but an
object on a seam is found in parts, and one in an overlap twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mrcnn.data.read_options import ReadOptions
from mrcnn.errors import InputError
from mrcnn.inference.graph import refuse_rotated
from mrcnn.inference.prepare import SCORE_THRESHOLD, ImageLike, load_image
from mrcnn.inference.stream import iter_detect
from mrcnn.structures.instances import Instances, mask_windows
from mrcnn.structures.masks import Window, WindowMasks
from mrcnn.structures.outputs import HeadOutput

MAX_TILED_PIXELS = 1_000_000_000
"""Largest image that `detect_tiled` takes unless the caller says otherwise: 3 GB as RGB, of which the model sees a tile
at a time."""


class _Found(NamedTuple):
    """An instance as one tile, or several that were merged, show it."""

    frames: tuple[tuple[int, int, int, int], ...]  # the tiles (y1, x1, y2, x2) that see it, pixels of the image
    box: np.ndarray  # f32[4], pixels of the image
    class_id: int
    score: float
    mask: Window | None
    keypoints: np.ndarray | None
    extra: dict[str, Any] = {}  # noqa: RUF012 - never changed; outputs of further heads, masks as windows


def tile_frames(height: int, width: int, tile: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Tiles (y1, x1, y2, x2) that cover an image, row by row, spread evenly.

    Args:
        height, width: of the image.
        tile: side of a tile; smaller where the image is.
        overlap: pixels that neighbors share at least, less than `tile`.
    """
    if not 0 <= overlap < tile:
        raise InputError(f"overlap {overlap}: expected at least 0 and less than the tile's {tile} pixels")

    def spans(size: int) -> list[tuple[int, int]]:
        if size <= tile:
            return [(0, size)]
        count = -(-(size - overlap) // (tile - overlap))
        starts = np.round(np.linspace(0, size - tile, count)).astype(int)
        return [(int(start), int(start) + tile) for start in starts]

    return [(y1, x1, y2, x2) for (y1, y2), (x1, x2) in itertools.product(spans(height), spans(width))]


def detect_tiled(
    model: Any,
    image: ImageLike,
    tile: int = 800,
    overlap: int = 200,
    batch_size: int = 1,
    *,
    whole: bool = True,
    merge_iou: float = 0.5,
    score_threshold: float | None = SCORE_THRESHOLD,
    mask_threshold: float = 0.5,
    max_pixels: int | None = MAX_TILED_PIXELS,
    read_options: ReadOptions | None = None,
    progress: bool = False,
) -> Instances:
    """Find the instances of one large image tile by tile.

    Two findings of one class from different tiles are one object if, where both tiles see the image, their masks
    (boxes, for a model without masks) overlap by `merge_iou`: the masks are joined, the box is around both, the score
    the higher one, as are the keypoints and what further heads give. An object larger than the overlap is joined from
    its parts.

    Args:
        model: see `detect`.
        image: see `detect`.
        tile: side of a tile, pixels of the image; each is resized as the model resizes images.
        overlap: pixels that neighbors share at least; as large as the objects that should be seen whole.
        batch_size: tiles at once.
        whole: also look at the image as a whole, for objects larger than tiles.
        merge_iou: see above.
        score_threshold, mask_threshold, read_options, progress: see `detect`.
        max_pixels: see `detect`, of the whole image; None = no bound.

    Returns:
        best score first, in pixels of the image; masks held in their boxes until they are read.

    Raises:
        InputError, DataError: see `detect`; an overlap not less than the tile; a model of rotated boxes.
    """
    refuse_rotated(model, "detect_tiled")
    pixels = load_image(image, 0, max_pixels, read_options)
    height, width = pixels.shape[:2]
    frames = tile_frames(height, width, tile, overlap)
    if whole and len(frames) > 1:
        frames.insert(0, (0, 0, height, width))

    def cut(frame: tuple[int, int, int, int]) -> Callable[[], np.ndarray]:
        y1, x1, y2, x2 = frame
        return lambda: pixels[y1:y2, x1:x2]

    findings: list[_Found] = []
    results = iter_detect(
        model,
        [cut(frame) for frame in frames],
        batch_size,
        score_threshold=score_threshold,
        mask_threshold=mask_threshold,
        max_pixels=None,
        progress=progress,
    )
    with_masks, joints, empty = False, None, Instances.empty((height, width))
    for frame, instances in zip(frames, results, strict=True):
        with_masks = instances.has_masks
        joints = None if instances.keypoints is None else instances.keypoints.shape[1]
        empty = instances[:0]
        findings += _in_image(instances, frame)
    merged = merge_findings(findings, merge_iou)
    shape = (len(merged), 4)
    return Instances(
        np.array([f.box for f in merged], np.float32).reshape(shape),
        np.array([f.class_id for f in merged], np.int32),
        (height, width),
        scores=np.array([f.score for f in merged], np.float32),
        masks=WindowMasks(tuple(f.mask for f in merged if f.mask is not None), height, width) if with_masks else None,
        keypoints=None if joints is None else np.array([f.keypoints for f in merged]).reshape(-1, joints, 3),
        extra={output.name: _collect(output, merged, empty, height, width) for output in empty.outputs},
        outputs=empty.outputs,
    )


def _collect(output: HeadOutput, merged: list[_Found], empty: Instances, height: int, width: int) -> Any:
    """A further head's output of all findings, as `Instances.extra` holds it."""
    values = [f.extra[output.name] for f in merged]
    if output.paste is not None:
        return WindowMasks(tuple(values), height, width)
    return np.array(values, output.dtype).reshape(-1, *empty.extra[output.name].shape[1:])


def _in_image(instances: Instances, frame: tuple[int, int, int, int]) -> Iterator[_Found]:
    """What one tile shows, in pixels of the image."""
    top, left = frame[:2]
    assert instances.scores is not None  # of what a model finds
    windows = instances.mask_windows() if instances.has_masks else itertools.repeat(None)
    masks = {
        o.name: list(mask_windows(instances.extra[o.name])) for o in instances.outputs if o.paste is not None
    }  # pasted in the tile
    for i, window in zip(range(len(instances)), windows, strict=False):
        keypoints = None
        if instances.keypoints is not None:
            keypoints = instances.keypoints[i] + np.array([left, top, 0], np.float32)
        yield _Found(
            (frame,),
            instances.boxes[i] + np.array([top, left, top, left], np.float32),
            int(instances.class_ids[i]),
            float(instances.scores[i]),
            None if window is None else (window[0] + top, window[1] + left, window[2]),
            keypoints,
            {o.name: _moved(o, masks.get(o.name, instances.extra[o.name])[i], top, left) for o in instances.outputs},
        )


def _moved(output: HeadOutput, value: Any, top: int, left: int) -> Any:
    """A further head's output of one instance of a tile, in pixels of the image."""
    if output.paste is not None:
        return value[0] + top, value[1] + left, value[2]
    if output.frame == "image":
        return value + np.array([left, top, *[0] * (value.shape[-1] - 2)], np.float32)
    return value


def merge_findings(findings: list[_Found], merge_iou: float) -> list[_Found]:
    """Findings with those of one object made one, best score first; see `detect_tiled`.

    Each takes in, best first, every later one that shows the same object, and grows by it, until none is left.
    """
    rest = sorted(findings, key=lambda f: -f.score)
    merged = []
    while rest:
        one = rest.pop(0)
        grown = True
        while grown:
            grown = False
            for i, other in enumerate(rest):
                if _is_same(one, other, merge_iou):
                    one = _joined(one, rest.pop(i))
                    grown = True
                    break
        merged.append(one)
    return merged


def _is_same(a: _Found, b: _Found, merge_iou: float) -> bool:
    if a.class_id != b.class_id or set(a.frames) & set(b.frames):
        return False
    if (np.minimum(a.box[2:], b.box[2:]) <= np.maximum(a.box[:2], b.box[:2])).any():
        return False
    common = union = 0.0
    for frame_a, frame_b in itertools.product(a.frames, b.frames):
        seen = (*np.maximum(frame_a[:2], frame_b[:2]), *np.minimum(frame_a[2:], frame_b[2:]))
        if seen[2] > seen[0] and seen[3] > seen[1]:
            both, either = _overlap(a, b, seen)
            common, union = common + both, union + either
    return union > 0 and common >= merge_iou * union


def _overlap(a: _Found, b: _Found, seen: tuple[int, ...]) -> tuple[float, float]:
    """Pixels of both, and of either, inside a rectangle."""
    if a.mask is None or b.mask is None:
        sides = [np.clip(box, np.tile(seen[:2], 2), np.tile(seen[2:], 2)) for box in (a.box, b.box)]
        areas = [(s[2] - s[0]) * (s[3] - s[1]) for s in sides]
        inner = np.minimum(sides[0][2:], sides[1][2:]) - np.maximum(sides[0][:2], sides[1][:2])
        both = float(np.prod(np.maximum(inner, 0)))
        return both, float(sum(areas)) - both
    parts = [_cut(mask, seen) for mask in (a.mask, b.mask)]
    canvas = _around(*(part for part in parts if part[2].size)) if any(p[2].size for p in parts) else None
    if canvas is None:
        return 0.0, 0.0
    one, other = (_laid(part, canvas) for part in parts)
    return float((one & other).sum()), float((one | other).sum())


def _cut(window: Window, seen: tuple[int, ...]) -> Window:
    """The part of a window inside a rectangle (y1, x1, y2, x2)."""
    top, left, bits = window
    y1, x1 = max(top, seen[0]), max(left, seen[1])
    y2, x2 = max(y1, min(top + bits.shape[0], seen[2])), max(x1, min(left + bits.shape[1], seen[3]))
    return y1, x1, bits[y1 - top : y2 - top, x1 - left : x2 - left]


def _around(*windows: Window) -> tuple[int, int, int, int]:
    """The rectangle (y1, x1, y2, x2) around windows."""
    corners = [(top, left, top + bits.shape[0], left + bits.shape[1]) for top, left, bits in windows]
    tops, lefts, bottoms, rights = zip(*corners, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def _laid(window: Window, canvas: tuple[int, int, int, int]) -> np.ndarray:
    """A window's bits on a rectangle that holds it."""
    y1, x1, y2, x2 = canvas
    top, left, bits = window
    laid = np.zeros((y2 - y1, x2 - x1), bool)
    if bits.size:
        laid[top - y1 : top - y1 + bits.shape[0], left - x1 : left - x1 + bits.shape[1]] = bits
    return laid


def _joined(better: _Found, other: _Found) -> _Found:
    mask = better.mask
    if mask is not None and other.mask is not None:
        mask = _united(mask, other.mask)
    extra = {name: _united(v, other.extra[name]) if isinstance(v, tuple) else v for name, v in better.extra.items()}
    box = np.concatenate([np.minimum(better.box[:2], other.box[:2]), np.maximum(better.box[2:], other.box[2:])])
    return better._replace(frames=better.frames + other.frames, box=box, mask=mask, extra=extra)


def _united(a: Window, b: Window) -> Window:
    canvas = _around(a, b)
    return canvas[0], canvas[1], _laid(a, canvas) | _laid(b, canvas)
