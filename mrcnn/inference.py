"""Pictures in, instances out: the only way from a picture to the model's frame and back.

A picture is resized and padded as the model's `InputConfig` says, and run with others of the same padded shape; boxes
are taken back to the picture's own pixels and clipped to it, and masks pasted at its resolution. What the model says of
a picture does not depend on what it shares a batch with.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Union

import keras
import numpy as np
import tensorflow as tf

from mrcnn.data.pictures import read_picture
from mrcnn.modeling.input import InputConfig
from mrcnn.ops.masks import Paste, paste_masks
from mrcnn.ops.resize import pad_image, resize_image
from mrcnn.structures import Instances, batch_spec

Picture = Union[np.ndarray, str, os.PathLike]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
"""u8[h, w], u8[h, w, 1], u8[h, w, 3] (RGB) or u8[h, w, 4] (the fourth channel is dropped), or a path."""

_WAITING_BATCHES = 4
"""Pictures read, or results held, ahead of the one to hand over next, in batches; bounds memory."""

_graphs: weakref.WeakKeyDictionary[Any, Callable[..., dict[str, tf.Tensor]]] = weakref.WeakKeyDictionary()
_graphs_lock = threading.Lock()


@dataclasses.dataclass
class _Waiting:
    """A picture ready for the model."""

    number: int
    image: np.ndarray | None  # u8 or f32[H, W, 3], padded; None once the model has seen it
    original_shape: tuple[int, int]
    content_shape: tuple[int, int]
    origin: tuple[int, int]  # (y, x) of the resized picture inside the padding


def detect(
    model: Any,
    pictures: Picture | Iterable[Picture],
    batch_size: int = 1,
    *,
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    progress: bool = False,
) -> list[Instances]:
    """Find the instances in pictures.

    All masks are held at the pictures' resolution until the list is dropped; for many large pictures take
    `iter_detect`, which hands them over one by one.

    Args:
        model: a `MaskRCNN`.
        pictures: one picture, or any number of any sizes; arrays, paths, or an iterator that makes them.
        batch_size: how many pictures of one padded shape the model sees at once. Results do not depend on it.
        score_threshold: drop detections scored below; None = what the model's own settings let through.
        mask_threshold: lowest probability that belongs to the object.
        progress: show a progress bar.

    Returns:
        one `Instances` a picture, in the order given, best score first; boxes and masks in original pixels.
        Empty: no pictures, no results.

    Raises:
        ValueError: a picture that is not uint8 of 1, 3 or 4 channels, or without pixels; names its place.
        data.DataError: a file that cannot be read as a picture; names the file.
    """
    if isinstance(pictures, (str, os.PathLike)) or (isinstance(pictures, np.ndarray) and pictures.dtype != object):
        pictures = [pictures] if not (isinstance(pictures, np.ndarray) and pictures.ndim == 4) else list(pictures)
    return list(
        iter_detect(
            model,
            pictures,
            batch_size,
            score_threshold=score_threshold,
            mask_threshold=mask_threshold,
            progress=progress,
        )
    )


def iter_detect(
    model: Any,
    pictures: Iterable[Picture],
    batch_size: int = 1,
    *,
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    progress: bool = False,
) -> Iterator[Instances]:
    """`detect` one result at a time: pictures are read as results are taken, so memory stays bounded.

    Pictures wait for others of their padded shape to fill a batch; with four batches read and the first picture still
    waiting, it goes with the company it has. Arguments as for `detect`; results come in the order of the pictures.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: expected at least 1")
    run = _graph(model)
    settings = model.config.input
    paste, paste_offset = pasting_of(model)
    advance = _progress(pictures, progress)
    buckets: dict[tuple[int, ...], list[_Waiting]] = {}
    done: dict[int, tuple[_Waiting, dict[str, np.ndarray]]] = {}
    next_out = 0

    def finished() -> Iterator[Instances]:
        """Results whose turn it is. Masks are pasted here, one picture at a time: they are what takes memory."""
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
                settings=settings,
                paste=paste,
                paste_offset=paste_offset,
            )
            advance()

    for number, picture in enumerate(pictures):
        item = _prepare(picture, number, settings)
        shape = item.image.shape
        buckets.setdefault(shape, []).append(item)
        if len(buckets[shape]) == batch_size:
            done |= _run_batch(run, buckets.pop(shape))
        elif number + 1 - next_out >= _WAITING_BATCHES * batch_size:
            oldest = min(buckets, key=lambda s: buckets[s][0].number)
            done |= _run_batch(run, buckets.pop(oldest))
        yield from finished()
    for bucket in buckets.values():
        done |= _run_batch(run, bucket)
    yield from finished()


def detect_dataset(
    model: Any,
    dataset: Any,
    batch_size: int = 1,
    *,
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    progress: bool = False,
) -> Iterator[tuple[int | str, Instances]]:
    """(image_id, instances) for each picture of a `Dataset`, in its order; arguments as for `detect`."""
    results = iter_detect(
        model,
        _Pictures(dataset),
        batch_size,
        score_threshold=score_threshold,
        mask_threshold=mask_threshold,
        progress=progress,
    )
    for index, instances in enumerate(results):
        yield dataset.record(index).image_id, instances


class _Pictures:
    """The pictures of a data set, read when their turn comes."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.dataset.load_image(i) for i in range(len(self.dataset)))


def _graph(model: Any) -> Callable[..., dict[str, tf.Tensor]]:
    """The model as one traced function of any batch size and picture size, kept as long as the model lives."""
    with _graphs_lock:
        if model not in _graphs:
            alive = weakref.ref(model)  # the function must not keep its own key alive

            def forward(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
                return dict(alive()(batch, training=False))

            spec = batch_spec(with_truth=False)
            if model.config.input.interpolation == "linear":  # pixels are not rounded to grey levels
                spec["image"] = tf.TensorSpec(spec["image"].shape, tf.float32, "image")
            _graphs[model] = tf.function(forward, input_signature=[spec])
        return _graphs[model]


def pasting_of(model: Any) -> tuple[Paste, float]:
    """How the model's masks are pasted, and what is added to y2 and x2 of their boxes for that."""
    for head in getattr(model.config, "heads", ()):
        if hasattr(head, "paste"):
            return head.paste, head.pool.end_offset if head.paste == "padded_integer" else 0.0
    return "exact", 0.0


def _prepare(picture: Picture, number: int, settings: InputConfig) -> _Waiting:
    picture = load_picture(picture, number)
    height, width = picture.shape[:2]
    content = settings.content_size(height, width)
    canvas = settings.canvas_size(*content)
    image = resize_image(picture, content, settings.interpolation)
    image = pad_image(image, *canvas, centre=settings.padding == "centre")
    return _Waiting(number, image, (height, width), content, settings.origin(canvas, content))


def load_picture(picture: Picture, number: int = 0) -> np.ndarray:
    """A picture as u8[h, w, 3], RGB.

    Args:
        picture: an array or a path.
        number: its place among others, which errors name.

    Raises:
        ValueError: not uint8 of 1, 3 or 4 channels, or without pixels; names the number.
        data.DataError: a file that cannot be read as a picture; names the file.
    """
    picture = read_picture(picture) if isinstance(picture, (str, os.PathLike)) else np.asarray(picture)
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in picture.shape:
        raise ValueError(
            f"picture {number}: expected uint8 of shape (height, width) or (height, width, 1, 3 or 4), got"
            f" {picture.dtype} of shape {picture.shape}"
        )
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    return np.repeat(picture, 3, axis=2) if channels == 1 else picture[..., :3]


def _run_batch(
    run: Callable[..., dict[str, tf.Tensor]], batch: list[_Waiting]
) -> dict[int, tuple[_Waiting, dict[str, np.ndarray]]]:
    """Each picture of a batch (its pixels dropped) and its detections in the padded frame, by number."""
    output = run(
        {
            "image": tf.constant(np.stack([item.image for item in batch])),
            "image_id": tf.constant([item.number for item in batch], tf.int64),
            "original_shape": tf.constant([item.original_shape for item in batch], tf.int32),
            "content_shape": tf.constant([item.content_shape for item in batch], tf.int32),
        }
    )
    output = {name: value.numpy() for name, value in output.items()}
    return {
        item.number: (
            dataclasses.replace(item, image=None),
            {name: value[i] for name, value in output.items()},
        )
        for i, item in enumerate(batch)
    }


def to_instances(
    detections: dict[str, np.ndarray],
    content_shape: tuple[int, int],
    original_shape: tuple[int, int],
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    *,
    origin: tuple[int, int] = (0, 0),
    settings: InputConfig | None = None,
    paste: Paste = "exact",
    paste_offset: float = 0.0,
) -> Instances:
    """The model's answer for one picture, taken back to the picture's own pixels.

    Args:
        detections: boxes f32[D, 4] in pixels of the padded picture, class_ids i32[D], scores f32[D], valid bool[D],
            and where there are such heads masks f32[D, M, M] (probabilities inside the box), keypoints f32[D, J, 3].
        content_shape: (height, width) of the resized picture inside the padding.
        original_shape: (height, width) of the picture as it was given.
        score_threshold: drop detections scored below; None = none.
        mask_threshold: lowest probability that belongs to the object.
        origin: (y, x) of the resized picture inside the padding.
        settings: of the model's input, for what its boxes mean and whether they are rounded; None: the default.
        paste: see `ops.masks.paste_masks`.
        paste_offset: added to y2 and x2 before pasting; -1 where a convention counts corners as the last pixels inside.

    Returns:
        the valid detections whose box lies in the picture with more than no area. Empty: no instances.
    """
    settings = settings or InputConfig()
    height, width = original_shape
    # A box whose y2 and x2 name its last pixel lives on pixel centres: what is stretched is the picture less one pixel.
    end = settings.end_offset
    scale = np.array([(b + end) / max(a + end, 1) for a, b in zip(content_shape, original_shape, strict=True)])
    scale, shift = scale.astype(np.float32), np.array(origin, np.float32)
    whole = (detections["boxes"] - np.tile(shift, 2)) * np.tile(scale, 2) - np.array([0, 0, end, end], np.float32)
    if settings.whole_pixels:
        whole = np.round(whole)
    boxes = np.clip(whole, 0, [height, width, height, width]).astype(np.float32)
    keep = detections["valid"] & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if score_threshold is not None:
        keep &= detections["scores"] >= score_threshold
    masks = keypoints = None
    if "masks" in detections:
        # The mask was predicted for the box before clipping
        whole = whole[keep] + np.array([0, 0, paste_offset, paste_offset], np.float32)
        masks = paste_masks(detections["masks"][keep], whole, height, width, mask_threshold, paste)
    if "keypoints" in detections:
        keypoints = detections["keypoints"][keep] - np.array([shift[1], shift[0], 0], np.float32)
        keypoints = keypoints * np.array([scale[1], scale[0], 1], np.float32)
    return Instances(
        boxes[keep],
        detections["class_ids"][keep],
        original_shape,
        scores=detections["scores"][keep],
        masks=masks,
        keypoints=keypoints,
    )


def _progress(pictures: Any, shown: bool) -> Callable[[], None]:
    """To be called after each picture; draws Keras' own bar, so that no further dependency is needed."""
    if not shown:
        return lambda: None
    bar = keras.utils.Progbar(len(pictures) if hasattr(pictures, "__len__") else None, unit_name="picture")
    return lambda: bar.add(1)
