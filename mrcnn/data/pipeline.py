"""From a `Dataset` to batches: order, decode, augment, resize, pad; as `structures.batch_spec` states them.

Every sample is reproducible: its random choices come from a generator seeded by (seed, epoch, index), whatever the
number of workers. Whole batches are made by one call in a worker thread; decoding, resizing and sampling masks release
Python's lock.

Batches have few shapes. Training with `crop`: one. Else one for landscape and one for portrait images, just large
enough for the largest image of each in the set.
"""

from __future__ import annotations

import atexit
import collections
import dataclasses
import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.data import transforms
from mrcnn.data.augmenters import Augmentation, as_augmentation
from mrcnn.data.cache import ByteCache
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.ground_truth import stack_keypoints
from mrcnn.data.rasterize import mask_window
from mrcnn.data.transforms import Sample
from mrcnn.ops.resize import padded_shape, resized_shape
from mrcnn.structures.tensors import batch_spec

logger = logging.getLogger("mrcnn")

_CROP_TRIES = 4  # windows drawn until one holds an object, if the image has any
_MAX_SEED = 2**31 - 1
_ENDLESS = 2**62  # batches
_COPY = 2**40  # more epochs than any run has


@dataclasses.dataclass(frozen=True)
class DataConfig(BaseConfig):
    """How images become training samples. Augmentations are off at 0 (or None); evaluation never augments."""

    short_sides: tuple[int, ...] = (800,)  # shorter side, pixels; one is drawn, evaluation takes the largest; (): as is
    long_side: int = 1333  # most the longer side may become, pixels
    divisor: int = 32  # batches are padded to multiples of it: the coarsest feature map's stride
    crop: tuple[int, int] | None = None  # (height, width) of a random window of the resized image
    scale_jitter: tuple[float, float] | None = None  # (low, high) factor on top of the resize, log-uniform
    flip_horizontal: float = 0.5  # probability
    flip_vertical: float = 0.0  # probability
    rotate90: float = 0.0  # probability of one to three quarter turns (only half turns where the shape must stay)
    brightness: float = 0.0  # 0.2: factor within 1 / 1.2 to 1.2
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # part of a full turn, either way
    copy_paste: float = 0.0  # probability that objects of another image, augmented likewise, are put on top
    max_instances: int = 100  # G; of more objects the largest are kept
    mask_side: int = 112  # K
    full_masks: bool = False  # masks in the whole image too: G x height x width bytes an image
    num_joints: int = 0  # J; 0: no keypoints
    aspect_grouping: bool = True  # landscape and portrait images never share a batch
    min_visible: float = 0.1  # objects of which a crop leaves less are dropped
    keep_empty: bool = True  # train on images without objects too
    repeat_threshold: float = 0.0  # images of classes on a smaller part of the images are shown more often; 0: none

    def __post_init__(self) -> None:
        for name in ("long_side", "divisor", "max_instances", "mask_side"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.{name}: expected at least 1, got {getattr(self, name)}")
        if any(side < 1 for side in (*self.short_sides, *(self.crop or ()))):
            raise ConfigError(f"data: sides must be at least 1, got {self.short_sides} and {self.crop}")
        if self.scale_jitter is not None and not 0 < self.scale_jitter[0] <= self.scale_jitter[1]:
            raise ConfigError(f"data.scale_jitter: expected 0 < low <= high, got {self.scale_jitter}")
        for name in ("flip_horizontal", "flip_vertical", "rotate90", "copy_paste", "min_visible", "repeat_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"data.{name}: expected a number from 0 to 1, got {getattr(self, name)}")
        for name in ("brightness", "contrast", "saturation", "hue", "num_joints"):
            if getattr(self, name) < 0:
                raise ConfigError(f"data.{name}: expected at least 0, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Share:
    """The rows of every batch that one process makes, where several devices or machines share the batches.

    A batch is cut into `of` parts of equal size. The pipeline then yields parts, not batches: `count` parts of a batch
    from part `first` on, one after the other, then those of the next batch. Put together, the parts of all processes
    are the batches one process alone would make.
    """

    of: int = 1
    first: int = 0
    count: int = 1


WHOLE = Share()


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Batches that show every image once, the last one perhaps smaller."""
    return math.ceil(len(dataset) / batch_size)


def make_pipeline(
    dataset: Dataset,
    config: DataConfig,
    batch_size: int,
    *,
    training: bool,
    seed: int = 0,
    shuffle: bool | None = None,
    repeat: bool = False,
    drop_remainder: bool = False,
    with_ground_truth: bool = True,
    start_epoch: int = 0,
    start_batch: int = 0,
    share: Share = WHOLE,
    workers: int | None = None,
    cache_bytes: int = 256 * 2**20,
    augmentation: Any = None,
) -> tf.data.Dataset:
    """Batches of a data set.

    Args:
        dataset: images and objects.
        config: sizes and augmentations.
        batch_size: B.
        training: augment and shuffle; else neither, and every image exactly once.
        seed: of order and augmentations.
        shuffle: a new order every epoch; default: as `training`.
        repeat: endless, batches running across epochs, so all are full. Else the last batch (of each aspect group)
            may be smaller.
        drop_remainder: leave such smaller batches out.
        with_ground_truth: add the ground truth.
        start_epoch: number of the first epoch, to resume a run with the samples it would have seen. Each further
            iteration over the result (without `repeat`) is the next epoch if training.
        start_batch: number of the first batch, with `repeat`: the others pass unmade. To resume a run.
        share: the rows of each batch to make, with `repeat`.
        workers: threads that make batches; default: cores, at most 4.
        cache_bytes: decoded images and masks kept in memory, those used last.
        augmentation: in training, after the augmentations of `config`: an augmenter of imgaug or Albumentations (see
            `data.augmenters`), or a function (sample, rng) -> sample. Size and type of images must stay.

    Returns:
        tf.data.Dataset of dicts as `structures.batch_spec` states; `image_id` is the record's id where all ids are
        integers, else the image's number in the set.

    Raises:
        ValueError: `augmentation` is not safe for masks; names what is not.
        DataError: the set is empty, or no batch would remain. While iterating, an image or annotation that cannot be
            used raises tf.errors.InvalidArgumentError, whose message holds that of the DataError with file and id.
    """
    if batch_size < 1:
        raise ValueError(f"make_pipeline: batch_size must be at least 1, got {batch_size}")
    if batch_size % share.of:
        raise ValueError(f"make_pipeline: a batch of {batch_size} images cannot be cut into {share.of} equal parts")
    if not repeat and (start_batch or share != WHOLE):
        raise ValueError("make_pipeline: start_batch and share need repeat=True")
    maker = _BatchMaker(
        dataset, config, training=training, seed=seed, with_ground_truth=with_ground_truth, cache_bytes=cache_bytes
    )
    if training and augmentation is not None:
        maker.augmentation = as_augmentation(augmentation)
    indices = np.arange(len(dataset))
    if training and not config.keep_empty:
        indices = np.array([i for i in indices if dataset.annotations(i)], np.int64)
    if not len(indices):
        raise DataError(f"{dataset!r} ({dataset.path or 'no file'}): there is no image to make batches of")
    repeats = _repeat_factors(dataset, indices, config.repeat_threshold) if training and repeat else None
    shuffle = training if shuffle is None else shuffle
    order = _Order(indices, maker.groups, batch_size, seed, shuffle, start_epoch, repeats)
    counts = order.num_batches(drop_remainder)
    if not repeat and counts == 0:
        raise DataError(f"{dataset!r}: fewer images than a batch of {batch_size}, and drop_remainder leaves none")

    rows = batch_size // share.of
    spec = maker.spec(rows if repeat or drop_remainder else None)
    epochs = itertools.count(start_epoch)

    def next_epoch(_: np.ndarray) -> np.ndarray:
        return np.int64(next(epochs) if training else start_epoch)

    def make_numbered(epoch: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
        with _calls:
            if repeat:
                batch, part = divmod(int(number), share.count)
                first = (share.first + part) * rows
                return maker(order.endless(start_batch + batch)[first : first + rows])
            return maker(order.epoch(int(epoch), drop_remainder)[int(number)])

    def make(epoch: tf.Tensor, number: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(make_numbered, [epoch, number], [s.dtype for s in spec.values()], stateful=False)
        for value, s in zip(values, spec.values(), strict=True):
            value.set_shape(s.shape)
        return dict(zip(spec, values, strict=True))

    def numbers(epoch: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(_ENDLESS if repeat else counts).map(lambda number: (epoch, number))

    # Numbers, not `from_generator`, which calls Python once more when it is destroyed: see `_Calls`.
    start = tf.data.Dataset.range(1).map(lambda i: tf.ensure_shape(tf.numpy_function(next_epoch, [i], tf.int64), []))
    batches = start.flat_map(numbers)
    workers = workers or min(4, os.cpu_count() or 1)
    batches = batches.map(make, num_parallel_calls=workers, deterministic=True)
    count = tf.data.INFINITE_CARDINALITY if repeat else counts
    batches = batches.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2)
    options = tf.data.Options()
    # The source is a Python generator, which cannot be cut up by file or element.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)


_in_work: dict[int, tuple[str, float]] = {}


def images_in_work() -> list[tuple[str, float]]:
    """The images that pipelines of this process are reading now, and for how many seconds; the longest first."""
    now = time.monotonic()
    return sorted(((name, now - since) for name, since in list(_in_work.values())), key=lambda item: -item[1])


class _Calls:
    """Counts the calls from TensorFlow's threads into this module, and ends them before the interpreter does.

    An endless pipeline works ahead. If its iterator is still alive when the interpreter shuts down, destroying it waits
    for calls under way, and those wait for Python's lock, which they never get again: the process would hang.
    """

    def __init__(self) -> None:
        self._number = 0
        self._closing = False
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._closing:
                raise RuntimeError("the interpreter is shutting down")
            self._number += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._number -= 1

    def close(self) -> None:
        """Refuses new calls and waits for those under way."""
        self._closing = True
        deadline, quiet = time.monotonic() + 30, 0
        while quiet < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
            quiet = 0 if self._number else quiet + 1


_calls = _Calls()
atexit.register(_calls.close)


def _repeat_factors(dataset: Dataset, indices: np.ndarray, threshold: float) -> np.ndarray | None:
    """f64[n] at least 1, how often each image is shown per epoch; None: once.

    An image is as rare as its rarest class: sqrt(threshold / share of the images with that class).
    Ref: LVIS, arXiv 1908.03195, appendix B.
    """
    if not threshold:
        return None
    classes = [{a.class_id for a in dataset.annotations(i) if not a.is_crowd} for i in indices.tolist()]
    counts = collections.Counter(class_id for found in classes for class_id in found)
    factors = {c: math.sqrt(threshold * len(indices) / n) for c, n in counts.items()}
    return np.array([max([1.0, *(factors[c] for c in found)]) for found in classes])


class _Order:
    """Which images go into which batch. A batch is keys i64[B, 2] of (epoch, index); safe between threads.

    Where an image is shown several times in an epoch, its epoch is that plus a multiple of `_COPY`, so that each
    showing has random choices of its own.
    """

    def __init__(
        self,
        indices: np.ndarray,
        groups: np.ndarray,
        batch_size: int,
        seed: int,
        shuffle: bool,
        start: int,
        repeats: np.ndarray | None = None,
    ) -> None:
        self.indices, self.groups, self.batch_size, self.seed, self.shuffle = indices, groups, batch_size, seed, shuffle
        self.start, self.repeats = start, repeats
        self._lock = threading.Lock()
        self._epoch: tuple[tuple[int, bool], list[np.ndarray]] | None = None
        self._restart()

    def num_batches(self, drop_remainder: bool) -> int:
        """Of one epoch."""
        sizes = np.unique(self.groups[self.indices], return_counts=True)[1]
        return int(sum(n // self.batch_size if drop_remainder else -(-n // self.batch_size) for n in sizes))

    def _fill(self, epoch: int, waiting: dict[int, list[tuple[int, int]]]) -> list[np.ndarray]:
        """The full batches of an epoch; `waiting` holds what is left of the one before, and then of this one."""
        keys, batches = np.stack([np.full_like(self.indices, epoch), self.indices], axis=1), []
        rng = np.random.default_rng([self.seed, epoch])
        if self.repeats is not None:
            # The fraction is a chance, drawn anew every epoch.
            times = (self.repeats + rng.random(len(keys))).astype(np.int64)
            copies = np.concatenate([np.arange(n) for n in times])
            keys = np.repeat(keys, times, axis=0)
            keys[:, 0] += copies * _COPY
        if self.shuffle:
            keys = rng.permutation(keys)
        for key in map(tuple, keys.tolist()):
            group = waiting.setdefault(int(self.groups[key[1]]), [])
            group.append(key)
            if len(group) == self.batch_size:
                batches.append(np.array(group, np.int64))
                group.clear()
        return batches

    def epoch(self, epoch: int, drop_remainder: bool) -> list[np.ndarray]:
        """The batches of an epoch that stands for itself; left-overs of each group make smaller ones at its end."""
        with self._lock:
            if self._epoch is None or self._epoch[0] != (epoch, drop_remainder):
                waiting: dict[int, list[tuple[int, int]]] = {}
                batches = self._fill(epoch, waiting)
                if not drop_remainder:
                    batches += [np.array(waiting[group], np.int64) for group in sorted(waiting) if waiting[group]]
                self._epoch = (epoch, drop_remainder), batches
            return self._epoch[1]

    def _restart(self) -> None:
        self._next, self._waiting = self.start, {}
        self._first, self._batches = 0, []  # number of the first batch that is kept, and those that are kept

    def endless(self, number: int) -> np.ndarray:
        """Batch `number` of epochs that run into one another, so that all batches are full."""
        with self._lock:
            if number < self._first:
                self._restart()  # a new iteration
            while number >= self._first + len(self._batches):
                # Workers ask almost in order: what is needed of the past is never more than a few batches.
                passed = max(0, len(self._batches) - 64)
                self._first += passed
                self._batches = self._batches[passed:] + self._fill(self._next, self._waiting)
                self._next += 1
            return self._batches[number - self._first]


class _BatchMaker:
    """Keys to a batch as a list of arrays in the order of `spec`; called from worker threads."""

    def __init__(
        self,
        dataset: Dataset,
        config: DataConfig,
        *,
        training: bool,
        seed: int,
        with_ground_truth: bool,
        cache_bytes: int,
    ) -> None:
        self.dataset, self.config, self.training, self.seed = dataset, config, training, seed
        self.with_ground_truth = with_ground_truth
        self.cache = ByteCache(cache_bytes)
        self.caches_images = dataset._reads_files
        self.joint_order = transforms.mirrored_joints(dataset.keypoint_names) if dataset.keypoint_names else None
        self.ids = dataset.batch_ids
        self.augmentation: Augmentation | Callable[..., Sample] | None = None
        self._warned = False
        self.groups, self.canvases = self._canvases()

    def _canvases(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Group of each image, and (height, width) of each group's batches."""
        config, number = self.config, len(self.dataset)
        if self.training and config.crop is not None:
            return np.zeros(number, np.int64), [padded_shape(*config.crop, config.divisor)]
        shapes = [self.dataset.image_shape(i) for i in range(number)]
        groups = np.array([int(h > w) if config.aspect_grouping else 0 for h, w in shapes], np.int64)
        highest = config.scale_jitter[1] if self.training and config.scale_jitter else 1.0
        canvases = []
        for group in range(2):
            largest = [1, 1]
            for (h, w), member in zip(shapes, groups == group, strict=True):
                if member:
                    short = max(config.short_sides, default=min(h, w)) * highest
                    largest = np.maximum(largest, resized_shape(h, w, short, config.long_side)).tolist()
            canvases.append(padded_shape(*largest, config.divisor))
        return groups, canvases

    def spec(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        """Of the batches; height and width are open where the groups differ in them."""
        config = self.config
        used = [self.canvases[g] for g in sorted(set(self.groups.tolist()))] or self.canvases[:1]
        height, width = used[0] if len(set(used)) == 1 else (None, None)
        return batch_spec(
            batch_size,
            height,
            width,
            config.max_instances,
            config.mask_side,
            config.num_joints,
            with_ground_truth=self.with_ground_truth,
            channels=self.dataset.channels,
            full_masks=config.full_masks,
        )

    def __call__(self, keys: np.ndarray) -> list[np.ndarray]:
        canvas = self.canvases[int(self.groups[keys[0, 1]])]
        spec = self.spec(len(keys))
        batch = {}
        for name, tensor in spec.items():
            shape = tuple(tensor.shape)
            if name == "image":
                shape = (shape[0], *canvas, shape[3])
            elif name == "gt_full_masks":
                shape = (*shape[:2], *canvas)
            batch[name] = np.zeros(shape, tensor.dtype.as_numpy_dtype)
        for row, (epoch, index) in enumerate(keys.tolist()):
            record = self.dataset._records[index]
            _in_work[threading.get_ident()] = f"image {record.image_id!r} ({record.path})", time.monotonic()
            try:
                self._write(batch, row, epoch, index, canvas)
            except DataError:
                raise
            except Exception as error:
                raise DataError(
                    f"image {record.image_id!r} ({record.path}): {type(error).__name__}: {error}"
                ) from error
            finally:
                del _in_work[threading.get_ident()]
        return list(batch.values())

    def _write(self, batch: dict[str, np.ndarray], row: int, epoch: int, index: int, canvas: tuple[int, int]) -> None:
        config = self.config
        rng = np.random.default_rng([self.seed, epoch if self.training else 0, index])
        seed = rng.integers(0, _MAX_SEED, 2)
        sample, original_shape = self.load(index)
        if self.training:
            sample = augment(sample, config, rng, canvas, self.joint_order, original_shape)
            if isinstance(self.augmentation, Augmentation):
                source = self.dataset._records[index].source
                sample = self.augmentation(sample, rng, source, self.joint_order)
            elif self.augmentation is not None:
                sample = self.augmentation(sample, rng)
            if config.copy_paste and rng.random() < config.copy_paste:
                sample = self._paste_another(sample, rng, canvas)
        else:
            h, w = original_shape
            shape = resized_shape(h, w, max(config.short_sides, default=min(h, w)), config.long_side)
            sample = transforms.resize(sample, *shape)
        image = sample["image"]
        height, width = image.shape[:2]
        batch["image"][row, :height, :width] = image
        batch["image_id"][row] = self.ids[index]
        batch["original_shape"][row] = original_shape
        batch["content_shape"][row] = height, width
        if not self.with_ground_truth:
            return
        sample = self._limit(sample, index)
        n = len(sample["boxes"])
        batch["gt_boxes"][row, :n] = sample["boxes"]
        batch["gt_class_ids"][row, :n] = sample["class_ids"]
        batch["gt_masks"][row, :n] = transforms.crop_masks_to_boxes(sample, config.mask_side)
        if config.full_masks:
            batch["gt_full_masks"][row, :n, :height, :width] = transforms.full_frame_masks(sample)
        batch["gt_crowd"][row, :n] = sample["is_crowd"]
        batch["gt_valid"][row, :n] = True
        batch["seed"][row] = seed
        if config.num_joints:
            batch["gt_keypoints"][row, :n] = sample["keypoints"]

    def _paste_another(self, sample: Sample, rng: np.random.Generator, canvas: tuple[int, int]) -> Sample:
        """Some objects of an image drawn from the whole set, on top of a view that is ready."""
        other = int(rng.integers(len(self.dataset)))
        source, shape = self.load(other)
        source = augment(source, self.config, rng, canvas, self.joint_order, shape)
        chosen = transforms.draw_subset(rng, np.flatnonzero(~source["is_crowd"]))
        return transforms.paste(sample, transforms.select(source, chosen), self.config.min_visible)

    def _limit(self, sample: Sample, index: int) -> Sample:
        """Without boxes of no area, and no more objects than there are slots: true objects first, largest first."""
        boxes = sample["boxes"]
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = np.flatnonzero((sides > 0).all(axis=1))
        most = self.config.max_instances
        if len(keep) > most:
            if not self._warned:
                self._warned = True
                image_id = self.dataset.image_ids[index]
                logger.warning(
                    "image %r has %d objects, the %d largest are kept (data.max_instances); said once",
                    image_id,
                    len(keep),
                    most,
                )
            keep = keep[np.lexsort([-sides[keep].prod(axis=1), sample["is_crowd"][keep]])[:most]]
        return sample if len(keep) == len(boxes) else transforms.select(sample, keep)

    def load(self, index: int) -> tuple[Sample, tuple[int, int]]:
        """An image and its objects as read, from the cache where they are there, and (height, width) of its file.

        For training a JPEG much larger than it can become is read at a part of its size. Where nothing is random it is
        resized as in `mrcnn.detect`, to the same pixels.
        """
        image = self.cache.get(("image", index))
        if image is None:
            image = self.dataset._get_image(index, self._largest_view(index) if self.training else None)
            if self.caches_images:
                self.cache.put(("image", index), image, image.nbytes)
        shape = self.dataset.image_shape(index) if self.caches_images else image.shape[:2]
        ground_truth = self.cache.get(("ground_truth", index))
        if ground_truth is None:
            ground_truth = self._ground_truth(index, *shape) if self.with_ground_truth else self._no_ground_truth()
            size = sum(bits.nbytes + 120 for bits in ground_truth["masks"]) + 200
            self.cache.put(("ground_truth", index), ground_truth, size)
        if image.shape[:2] == shape:
            return ground_truth | {"image": image}, shape
        return transforms.follow(ground_truth, image, shape), shape

    def _largest_view(self, index: int) -> tuple[int, int] | None:
        """(height, width) of the largest image that training may make of one; None: as it is."""
        config = self.config
        if not (config.short_sides and self.caches_images):
            return None
        height, width = resized_shape(*self.dataset.image_shape(index), max(config.short_sides), config.long_side)
        factor = max(1.0, config.scale_jitter[1]) if config.scale_jitter else 1.0
        return math.ceil(height * factor), math.ceil(width * factor)

    def _where(self, index: int) -> str:
        return f"{self.dataset.path or 'data set'}: image {self.dataset.image_ids[index]!r}"

    def _no_ground_truth(self) -> Sample:
        none = np.zeros((0, 4), np.float32)
        return {"boxes": none, "windows": none, "masks": [], "class_ids": none[:, 0], "is_crowd": none[:, 0] > 0}

    def _ground_truth(self, index: int, height: int, width: int) -> Sample:
        annotations = self.dataset.annotations(index)
        masks, windows = [], np.zeros((len(annotations), 4), np.float32)
        for i, annotation in enumerate(annotations):
            try:
                found = mask_window(annotation, height, width)
            except DataError as error:
                raise DataError(f"{self._where(index)}, annotation {annotation.annotation_id}: {error}") from error
            masks.append(found.bits * np.uint8(255))
            windows[i] = found.window
        ground_truth = {
            "boxes": np.array([a.box for a in annotations], np.float32).reshape(-1, 4),
            "class_ids": np.array([a.class_id for a in annotations], np.int32),
            "is_crowd": np.array([a.is_crowd for a in annotations], bool),
            "masks": masks,
            "windows": windows,
        }
        classes = self.dataset.num_classes
        for annotation, box in zip(annotations, ground_truth["boxes"], strict=True):
            if not np.isfinite(box).all():
                wrong = f"box {annotation.box} is not finite"
            elif not 1 <= annotation.class_id <= classes:
                wrong = f"class id {annotation.class_id}, expected 1..{classes}"
            else:
                continue
            raise DataError(f"{self._where(index)}, annotation {annotation.annotation_id}: {wrong}")
        ground_truth["boxes"] = np.clip(ground_truth["boxes"], 0, np.array([height, width, height, width], np.float32))
        if self.config.num_joints:
            ground_truth["keypoints"] = stack_keypoints(annotations, self.config.num_joints)
        return ground_truth


def augment(
    sample: Sample,
    config: DataConfig,
    rng: np.random.Generator,
    canvas: tuple[int, int],
    joint_order: tuple[int, ...] | None = None,
    shape: tuple[int, int] | None = None,
) -> Sample:
    """One random training view of a sample, at most as large as the canvas.

    `shape` is (height, width) of the image's file where the sample holds it smaller.

    Order: choose the scale; cut the window (before resizing, so that only what is kept is resized); resize; flip and
    turn; color.
    """
    height, width = shape or sample["image"].shape[:2]
    short = int(rng.choice(config.short_sides)) if config.short_sides else min(height, width)
    factor = 1.0
    if config.scale_jitter is not None:
        low, high = config.scale_jitter
        factor = math.exp(rng.uniform(math.log(low), math.log(high)))
    turns = int(rng.integers(1, 4)) if rng.random() < config.rotate90 else 0
    if config.crop is not None:
        h, w = resized_shape(height, width, short, config.long_side)
        h, w = max(1, round(h * factor)), max(1, round(w * factor))
        window = config.crop[::-1] if turns % 2 else config.crop
        sample = _random_window(sample, h, w, window, config.min_visible, rng)
        h, w = min(h, window[0]), min(w, window[1])
    else:
        h, w = resized_shape(height, width, short * factor, config.long_side)
        if turns % 2 and (w > canvas[0] or h > canvas[1]):
            turns = 2
    sample = transforms.resize(sample, h, w)
    if rng.random() < config.flip_horizontal:
        sample = transforms.flip_horizontal(sample, joint_order)
    if rng.random() < config.flip_vertical:
        sample = transforms.flip_vertical(sample, joint_order)
    sample = transforms.rotate90(sample, turns)
    if config.brightness or config.contrast or config.saturation or config.hue:
        amounts = transforms.draw_color(rng, config.brightness, config.contrast, config.saturation, config.hue)
        sample = transforms.adjust_color(sample, *amounts)
    return sample


def _random_window(
    sample: Sample, height: int, width: int, window: tuple[int, int], min_visible: float, rng: np.random.Generator
) -> Sample:
    """Cuts from the image as read what will be `window` once it is resized by (height, width) / its size."""
    h, w = sample["image"].shape[:2]
    wanted_h = min(h, max(1, round(window[0] * h / height)))
    wanted_w = min(w, max(1, round(window[1] * w / width)))
    if (wanted_h, wanted_w) == (h, w):
        return sample
    boxes = sample["boxes"]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    for _ in range(_CROP_TRIES):
        y, x = int(rng.integers(0, h - wanted_h + 1)), int(rng.integers(0, w - wanted_w + 1))
        inside = (centers >= (y, x)) & (centers < (y + wanted_h, x + wanted_w))
        if not len(boxes) or inside.all(axis=1).any():
            break
    return transforms.crop(sample, y, x, wanted_h, wanted_w, min_visible)


# The workers are threads already; OpenCV's own would fight them for the same cores.
cv2.setNumThreads(0)
