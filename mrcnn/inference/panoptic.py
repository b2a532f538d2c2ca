"""Things and stuff of images: what a panoptic model says of instances and of every pixel, joined.

Ref: Panoptic Feature Pyramid Networks, arXiv 1901.02446, section 3 ("Panoptic inference").
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from mrcnn.data.read_options import ReadOptions
from mrcnn.errors import InputError
from mrcnn.inference.graph import graph_of
from mrcnn.inference.prepare import MAX_PIXELS, Prepared
from mrcnn.inference.read_ahead import OnError, Reading
from mrcnn.inference.results import to_instances
from mrcnn.inference.sources import single_images
from mrcnn.inference.stream import run_stream
from mrcnn.structures.panoptic import PanopticSegments, join_segments
from mrcnn.structures.tensors import SEMANTIC_LOGITS


@dataclasses.dataclass(frozen=True)
class Joining:
    """How instances and stuff become segments; the arguments of `structures.panoptic.join_segments`."""

    min_score: float = 0.5
    max_overlap: float = 0.5
    min_stuff_area: int = 4096
    mask_threshold: float = 0.5  # lowest probability that belongs to a thing


def detect_panoptic(
    model: Any,
    images: Any,
    batch_size: int = 1,
    *,
    min_score: float = 0.5,
    max_overlap: float = 0.5,
    min_stuff_area: int = 4096,
    mask_threshold: float = 0.5,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
    on_error: OnError = "raise",
    progress: bool = False,
) -> list[PanopticSegments | None]:
    """Things and stuff of images: every pixel belongs to one segment, or to none.

    Args:
        model: a panoptic `MaskRCNN`, one with a semantic branch.
        images, batch_size, max_pixels, read_options, on_error, progress: as for `mrcnn.detect`.
        min_score: lowest score of a thing.
        max_overlap: share of a thing's pixels that things of higher scores may have taken.
        min_stuff_area: pixels of the image; a stuff class with fewer is left out.
        mask_threshold: lowest probability that belongs to a thing.

    Returns:
        one `PanopticSegments` an image, in the order given; `model.class_names[k - 1]` is thing k,
        `model.config.stuff_names[k - 1]` stuff k. None only where `on_error` skips an image.

    Raises:
        InputError: the model has no semantic branch or no masks; else as `mrcnn.detect`.
        DataError: as `mrcnn.detect`.

    Example:
        >>> [segments] = mrcnn.detect_panoptic(model, "photo.jpg")  # doctest: +SKIP
        >>> [s.class_id for s in segments.segments if not s.is_thing]  # doctest: +SKIP
        [30, 40]
    """
    joining = Joining(min_score, max_overlap, min_stuff_area, mask_threshold)
    return list(_iter_panoptic(model, images, batch_size, joining, max_pixels, read_options, on_error, progress))


def detect_panoptic_dataset(
    model: Any,
    dataset: Any,
    batch_size: int = 1,
    *,
    joining: Joining | None = None,
    max_pixels: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[int | str, PanopticSegments]]:
    """(image_id, segments) for each image of a `Dataset`, in its order; arguments as for `detect_panoptic`."""
    images = [functools.partial(dataset.load_image, i) for i in range(len(dataset))]
    results = _iter_panoptic(model, images, batch_size, joining or Joining(), max_pixels, None, "raise", progress)
    for index, segments in enumerate(results):
        assert segments is not None
        yield dataset.record(index).image_id, segments


def _iter_panoptic(
    model: Any,
    images: Any,
    batch_size: int,
    joining: Joining,
    max_pixels: int | None,
    read_options: ReadOptions | None,
    on_error: OnError,
    progress: bool,
) -> Iterator[PanopticSegments | None]:
    _expect_panoptic(model)
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: expected at least 1")
    if on_error not in ("raise", "skip") and not callable(on_error):
        raise InputError(f'on_error {on_error!r}: expected "raise", "skip" or a function')
    reading = Reading(model.config.input, max_pixels, read_options, on_error)
    finish: Callable[..., PanopticSegments] = functools.partial(_segments, model.config, joining)
    return run_stream(graph_of(model, SEMANTIC_LOGITS), single_images(images), batch_size, reading, finish, progress)


def _expect_panoptic(model: Any) -> None:
    config: Any = getattr(model, "config", None)
    if getattr(config, "semantic_head", None) is None:
        raise InputError("detect_panoptic: the model has no semantic branch (model.semantic_head is None)")
    if not any(output.name == "masks" for output in config.outputs):
        raise InputError("detect_panoptic: the model has no mask head (model.heads), whose masks are the things")


def _segments(config: Any, joining: Joining, item: Prepared, detections: dict[str, np.ndarray]) -> PanopticSegments:
    """Of what the model says of one image."""
    logits = detections.pop(SEMANTIC_LOGITS)
    instances = to_instances(
        detections,
        item.content_shape,
        item.original_shape,
        joining.min_score,
        joining.mask_threshold,
        origin=item.origin,
        config=config.input,
        outputs=config.outputs,
    )
    stride = config.semantic_head.common_stride
    stuff = semantic_map(logits, stride, item.content_shape, item.original_shape, item.origin)
    return join_segments(
        instances,
        stuff,
        min_score=joining.min_score,
        max_overlap=joining.max_overlap,
        min_stuff_area=joining.min_stuff_area,
    )


def semantic_map(
    logits: np.ndarray,
    stride: int,
    content_shape: tuple[int, int],
    original_shape: tuple[int, int],
    origin: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """The most likely class of every pixel of the image as it was given.

    Args:
        logits: f32[h, w, S + 1] of the canvas; 0 is "a thing".
        stride: pixels of the canvas per cell.
        content_shape: (height, width) of the resized image inside the canvas.
        original_shape: (height, width) of the image.
        origin: (y, x) of the resized image inside the canvas.

    Returns:
        u8[height, width], 0..S; the first of equals.

    Example:
        >>> logits = np.zeros((1, 2, 2), np.float32)
        >>> logits[0, 1, 1] = 1
        >>> semantic_map(logits, 2, (2, 4), (1, 2)).tolist()
        [[0, 1]]
    """
    best = np.full(original_shape, -np.inf, np.float32)
    classes = np.zeros(original_shape, np.uint8)
    for number in range(logits.shape[-1]):  # one at a time: all classes of a large image would take gigabytes
        values = class_logits(logits[..., number], stride, content_shape, original_shape, origin)
        better = values > best
        best[better], classes[better] = values[better], number
    return classes


def class_logits(
    logits: np.ndarray,
    stride: int,
    content_shape: tuple[int, int],
    original_shape: tuple[int, int],
    origin: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """f32[height, width]: the logits f32[h, w] of one class in the image as it was given; arguments as above.

    Enlarged to the canvas, cut to the image, resized to its own size: bilinear both times, as detectron2.
    """
    height, width = logits.shape
    canvas = cv2.resize(np.ascontiguousarray(logits), (width * stride, height * stride))
    (y, x), (rows, columns) = origin, content_shape
    return cv2.resize(canvas[y : y + rows, x : x + columns], (original_shape[1], original_shape[0]))
