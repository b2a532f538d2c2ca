"""The model over any number of images, in order, with bounded memory.

Images are read, decoded and resized on threads while the model runs. An image runs with others of the same padded
shape; what the model says of it does not depend on them. Nothing is shared between two calls but the model's
graph, so calls may come from many threads, and one that is given up or fails leaves nothing behind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Literal, TypeVar, overload

import numpy as np

from mrcnn.data.read_options import ReadOptions
from mrcnn.errors import InputError
from mrcnn.inference.graph import Run, graph_of, run_batch
from mrcnn.inference.prepare import MAX_PIXELS, SCORE_THRESHOLD, Prepared
from mrcnn.inference.read_ahead import OnError, Reading, read_ahead
from mrcnn.inference.results import to_instances
from mrcnn.inference.sources import single_images
from mrcnn.progress import Progress
from mrcnn.structures.instances import Instances

Result = TypeVar("Result")
_WAITING_BATCHES = 4
"""Images read, or results held, ahead of the one to hand over next, in batches; bounds memory. One of them may be in
the hands of the readers."""


@overload
def detect(
    model: Any,
    images: Any,
    batch_size: int = ...,
    *,
    score_threshold: float | None = ...,
    mask_threshold: float = ...,
    max_pixels: int | None = ...,
    read_options: ReadOptions | None = ...,
    on_error: Literal["raise"] = ...,
    progress: bool = ...,
) -> list[Instances]: ...


@overload
def detect(
    model: Any,
    images: Any,
    batch_size: int = ...,
    *,
    score_threshold: float | None = ...,
    mask_threshold: float = ...,
    max_pixels: int | None = ...,
    read_options: ReadOptions | None = ...,
    on_error: OnError,
    progress: bool = ...,
) -> list[Instances | None]: ...


def detect(
    model: Any,
    images: Any,
    batch_size: int = 1,
    *,
    score_threshold: float | None = SCORE_THRESHOLD,
    mask_threshold: float = 0.5,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
    on_error: OnError = "raise",
    progress: bool = False,
) -> Any:
    """Find the instances in images. May be called from several threads at once.

    Args:
        model: a `MaskRCNN`, or what `fold_batch_norm` made of one.
        images: one image: a path, a PIL image of any mode, or an array or tensor [h, w] or [h, w, channels]; a batch
            [B, h, w, channels]; a folder or a glob pattern, see `mrcnn.list_images`; or any number of these, of any
            sizes, which an iterator may make.
        batch_size: how many images of one padded shape the model sees at once. Results do not depend on it.
        score_threshold: drop detections scored below; None = keep all that the model's own config lets through (0.05
            in the paper's), as `evaluate` does.
        mask_threshold: lowest probability that belongs to the object.
        max_pixels: an image of more is refused, a file before it is decoded; None = no bound.
        read_options: how images of more than 8 bits, several bands or pages become RGB.
        on_error: what becomes of an image that cannot be used. "raise": the error is raised; "skip": it is logged, and
            the image's result is None; or a function that is called with the image's place, from 0, and the error.
        progress: report on standard error: a bar at a terminal, else a line every half a minute.

    Returns:
        one `Instances` an image, in the order given, best score first; boxes and masks in original pixels. Masks are
        made when they are first read, and kept from then on. Empty: no images, no results.

    Raises:
        InputError: an image with too many pixels, or an argument that cannot be used; names its place or the file.
        DataError: a file or an object that is no image, such as an array of floating point; names its place or the
            file. A folder without images, or a pattern that matches nothing.

    Example:
        >>> [result] = mrcnn.detect(model, "photo.jpg")  # doctest: +SKIP
        >>> results = mrcnn.detect(model, "photos", on_error="skip")  # doctest: +SKIP
    """
    return list(
        iter_detect(
            model,
            images,
            batch_size,
            score_threshold=score_threshold,
            mask_threshold=mask_threshold,
            max_pixels=max_pixels,
            read_options=read_options,
            on_error=on_error,
            progress=progress,
        )
    )


@overload
def iter_detect(
    model: Any,
    images: Any,
    batch_size: int = ...,
    *,
    score_threshold: float | None = ...,
    mask_threshold: float = ...,
    max_pixels: int | None = ...,
    read_options: ReadOptions | None = ...,
    on_error: Literal["raise"] = ...,
    progress: bool = ...,
) -> Iterator[Instances]: ...


@overload
def iter_detect(
    model: Any,
    images: Any,
    batch_size: int = ...,
    *,
    score_threshold: float | None = ...,
    mask_threshold: float = ...,
    max_pixels: int | None = ...,
    read_options: ReadOptions | None = ...,
    on_error: OnError,
    progress: bool = ...,
) -> Iterator[Instances | None]: ...


def iter_detect(
    model: Any,
    images: Any,
    batch_size: int = 1,
    *,
    score_threshold: float | None = SCORE_THRESHOLD,
    mask_threshold: float = 0.5,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
    on_error: OnError = "raise",
    progress: bool = False,
) -> Iterator[Any]:
    """`detect` one result at a time: images are read as results are taken, so memory stays bounded.

    Images wait for others of their padded shape to fill a batch; with four batches read and the first image still
    waiting, it runs in a partial batch. Arguments as for `detect`; an image may also be a function without arguments
    that makes the array, which is then called while the model runs. Results come in the order of the images.
    """
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: expected at least 1")
    if on_error not in ("raise", "skip") and not callable(on_error):
        raise InputError(f'on_error {on_error!r}: expected "raise", "skip" or a function')
    reading = Reading(model.config.input, max_pixels, read_options, on_error)

    def finish(item: Prepared, detections: dict[str, np.ndarray]) -> Instances:
        return to_instances(
            detections,
            item.content_shape,
            item.original_shape,
            score_threshold,
            mask_threshold,
            origin=item.origin,
            config=model.config.input,
            outputs=model.config.outputs,
        )

    return run_stream(graph_of(model), single_images(images), batch_size, reading, finish, progress)


def run_stream(
    run: Run,
    images: Iterable[Any],
    batch_size: int,
    reading: Reading,
    finish: Callable[[Prepared, dict[str, np.ndarray]], Result],
    progress: bool = False,
) -> Iterator[Result | None]:
    """What `finish` makes of each image and the model's detections of it, in the order of the images.

    Args:
        run: a graph of `graph_of`.
        images: of `single_images`.
        batch_size: as for `detect`.
        reading: how images are read; None in place of a result where one is skipped.
        finish: called with the image, its pixels dropped, and what `run_batch` gives of it.
        progress: as for `detect`.
    """
    shown = Progress("detection", len(images) if isinstance(images, Sized) else None, shown=progress)
    buckets: dict[tuple[int, ...], list[Prepared]] = {}
    done: dict[int, tuple[Prepared, dict[str, np.ndarray]] | None] = {}
    next_out = 0

    def finished() -> Iterator[Result | None]:
        """Results whose turn it is."""
        nonlocal next_out
        while next_out in done:
            result = done.pop(next_out)
            next_out += 1
            if result is None:
                yield None
                continue
            yield finish(*result)
            shown.update(next_out)

    for number, item in enumerate(read_ahead(images, batch_size, reading)):
        if item is None:
            done[number] = None
            yield from finished()
            continue
        shape = np.asarray(item.image).shape
        buckets.setdefault(shape, []).append(item)
        if len(buckets[shape]) == batch_size:
            done |= run_batch(run, buckets.pop(shape))
        elif item.number + 1 - next_out >= (_WAITING_BATCHES - 1) * batch_size:
            oldest = min(buckets, key=lambda s: buckets[s][0].number)
            done |= run_batch(run, buckets.pop(oldest))
        yield from finished()
    for bucket in buckets.values():
        done |= run_batch(run, bucket)
    yield from finished()
    shown.finish()


def detect_dataset(
    model: Any,
    dataset: Any,
    batch_size: int = 1,
    *,
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    max_pixels: int | None = None,
    progress: bool = False,
) -> Iterator[tuple[int | str, Instances]]:
    """(image_id, instances) for each image of a `Dataset`, in its order; arguments as for `detect`.

    Without a `score_threshold` all detections are kept that the model's config lets through, as COCO's numbers want it.
    """
    results = iter_detect(
        model,
        _Images(dataset),
        batch_size,
        score_threshold=score_threshold,
        mask_threshold=mask_threshold,
        max_pixels=max_pixels,
        progress=progress,
    )
    for index, instances in enumerate(results):
        yield dataset.record(index).image_id, instances


class _Images:
    """The images of a data set, read on the reading threads when their turn comes."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Callable[[], np.ndarray]]:
        return (functools.partial(self.dataset.load_image, i) for i in range(len(self.dataset)))
