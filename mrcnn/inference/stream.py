"""The model over any number of images, in order, with bounded memory.

Images are read, decoded and resized on threads while the model runs. An image runs with others of the same padded
shape; what the model says of it does not depend on its company. Nothing is shared between two calls but the model's
graph, so calls may come from many threads, and one that is given up or fails leaves nothing behind.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn.inference.prepare import MAX_PIXELS, ImageLike, Prepared, image_spec, make_batch, prepare_image
from mrcnn.inference.results import to_instances
from mrcnn.modeling.input import InputConfig
from mrcnn.structures.instances import Instances

_WAITING_BATCHES = 4
"""Images read, or results held, ahead of the one to hand over next, in batches; bounds memory. One of them may be in
the hands of the readers."""
_READERS = 2

Run = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

_graphs: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()
_graphs_lock = threading.Lock()


def detect(
    model: Any,
    images: ImageLike | Iterable[ImageLike],
    batch_size: int = 1,
    *,
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    max_pixels: int | None = MAX_PIXELS,
    progress: bool = False,
) -> list[Instances]:
    """Find the instances in images. May be called from several threads at once.

    Args:
        model: a `MaskRCNN`, or what `fold_batch_norm` made of one.
        images: one image, or any number of any sizes; arrays, paths, or an iterator that makes them.
        batch_size: how many images of one padded shape the model sees at once. Results do not depend on it.
        score_threshold: drop detections scored below; None = what the model's own config let through.
        mask_threshold: lowest probability that belongs to the object.
        max_pixels: an image of more is refused, a file before it is decoded; None = no bound.
        progress: show a progress bar.

    Returns:
        one `Instances` an image, in the order given, best score first; boxes and masks in original pixels. Masks are
        made when they are first read, and kept from then on. Empty: no images, no results.

    Raises:
        ValueError: an image that is not uint8 of 1, 3 or 4 channels, without pixels or too large; names its place.
        data.DataError: a file that cannot be read as an image; names the file.
    """
    if isinstance(images, (str, os.PathLike)) or (isinstance(images, np.ndarray) and images.dtype != object):
        images = [images] if not (isinstance(images, np.ndarray) and images.ndim == 4) else list(images)
    return list(
        iter_detect(
            model,
            images,
            batch_size,
            score_threshold=score_threshold,
            mask_threshold=mask_threshold,
            max_pixels=max_pixels,
            progress=progress,
        )
    )


def iter_detect(
    model: Any,
    images: Iterable[ImageLike | Callable[[], np.ndarray]],
    batch_size: int = 1,
    *,
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    max_pixels: int | None = MAX_PIXELS,
    progress: bool = False,
) -> Iterator[Instances]:
    """`detect` one result at a time: images are read as results are taken, so memory stays bounded.

    Images wait for others of their padded shape to fill a batch; with four batches read and the first image still
    waiting, it goes with the company it has. Arguments as for `detect`; an image may also be a function without
    arguments that makes the array, which is then called while the model runs. Results come in the order of the
    images.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: expected at least 1")
    return _iter_detect(model, images, batch_size, score_threshold, mask_threshold, max_pixels, progress)


def _iter_detect(
    model: Any,
    images: Iterable[Any],
    batch_size: int,
    score_threshold: float | None,
    mask_threshold: float,
    max_pixels: int | None,
    progress: bool,
) -> Iterator[Instances]:
    run = graph_of(model)
    config = model.config.input
    advance = _progress(images, progress)
    buckets: dict[tuple[int, ...], list[Prepared]] = {}
    done: dict[int, tuple[Prepared, dict[str, np.ndarray]]] = {}
    next_out = 0

    def finished() -> Iterator[Instances]:
        """Results whose turn it is."""
        nonlocal next_out
        while next_out in done:
            item, detections = done.pop(next_out)
            next_out += 1
            yield to_instances(
                detections,
                item.content_shape,
                item.original_shape,
                score_threshold,
                mask_threshold,
                origin=item.origin,
                config=config,
                outputs=model.config.outputs,
            )
            advance()

    for item in _read_ahead(images, batch_size, config, max_pixels):
        shape = item.image.shape
        buckets.setdefault(shape, []).append(item)
        if len(buckets[shape]) == batch_size:
            done |= _run_batch(run, buckets.pop(shape))
        elif item.number + 1 - next_out >= (_WAITING_BATCHES - 1) * batch_size:
            oldest = min(buckets, key=lambda s: buckets[s][0].number)
            done |= _run_batch(run, buckets.pop(oldest))
        yield from finished()
    for bucket in buckets.values():
        done |= _run_batch(run, bucket)
    yield from finished()


def _read_ahead(images: Iterable[Any], ahead: int, config: InputConfig, max_pixels: int | None) -> Iterator[Prepared]:
    """Prepared images in order; up to `ahead` more are in the making on threads meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(_READERS, "mrcnn image") as pool:
        waiting: collections.deque[concurrent.futures.Future[Prepared]] = collections.deque()
        try:
            for number, image in enumerate(images):
                waiting.append(pool.submit(prepare_image, image, number, config, max_pixels))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also where the caller stops in between, or an image cannot be read
            for future in waiting:
                future.cancel()


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
    """(image_id, instances) for each image of a `Dataset`, in its order; arguments as for `detect`."""
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
        return (lambda i=i: self.dataset.load_image(i) for i in range(len(self.dataset)))


def graph_of(model: Any) -> Run:
    """The model as one traced function of any batch size and image size, kept as long as the model lives."""
    with _graphs_lock:
        if model not in _graphs:
            alive = weakref.ref(model)  # the function must not keep its own key alive

            def forward(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
                return dict(alive()(batch, training=False))

            _graphs[model] = tf.function(forward, input_signature=[image_spec(model.config.input)])
        return _graphs[model]


def _run_batch(run: Run, batch: list[Prepared]) -> dict[int, tuple[Prepared, dict[str, np.ndarray]]]:
    """Each image of a batch (its pixels dropped) and its detections in the padded frame, by number."""
    output = {name: value.numpy() for name, value in run(make_batch(batch)).items()}
    found = {}
    for i, item in enumerate(batch):
        own = {name: value[i][output["valid"][i]] for name, value in output.items()}  # copies: no other's are held
        found[item.number] = (dataclasses.replace(item, image=None), own)
    return found


def _progress(images: Any, shown: bool) -> Callable[[], None]:
    """To be called after each image; draws Keras' own bar, so that no further dependency is needed."""
    if not shown:
        return lambda: None
    bar = keras.utils.Progbar(len(images) if hasattr(images, "__len__") else None, unit_name="image")
    return lambda: bar.add(1)
