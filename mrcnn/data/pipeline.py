"""From a `Dataset` to batches: decode, augment, resize, pad, crop masks to their boxes, batch."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.data import transforms
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.rasterize import mask_window
from mrcnn.ops.masks import crop_binary_mask
from mrcnn.ops.resize import pad_image, padded_shape, resized_shape
from mrcnn.settings import Settings, SettingsError
from mrcnn.structures import batch_spec

_LOG = logging.getLogger(__name__)
_PARALLEL_PICTURES = 4
_CACHED_PICTURES = 4096  # of which the rasterised windows are kept; a few kilobytes each


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """How training pictures are resized, augmented and batched. Defaults are the paper's."""

    short_sides: tuple[int, ...] = (800,)  # pixels; one is drawn per picture
    long_side: int = 1333  # the longer side is never larger
    divisor: int = 32  # height and width are padded to multiples of this
    crop: tuple[int, int] | None = None  # (height, width) of a random crop after resizing; also the size of a batch
    scale_jitter: tuple[float, float] | None = None  # further random factor on the drawn side
    flip_horizontal: float = 0.5  # probabilities
    flip_vertical: float = 0.0
    rotate90: float = 0.0
    brightness: float = 0.0  # largest change, as a share of the range
    contrast: float = 0.0  # largest change of the factor about 1
    saturation: float = 0.0
    joint_pairs: tuple[tuple[int, int], ...] = ()  # joints that swap when mirrored
    min_visible: float = 0.1  # an object cut to less than this part of its mask is left out
    max_instances: int = 100  # G; the largest are kept
    mask_side: int = 112  # K, side of the stored masks
    num_joints: int = 0  # J
    keep_empty: bool = True  # pictures without objects train the background

    def __post_init__(self) -> None:
        if not self.short_sides or min(self.short_sides) < 1:
            raise SettingsError(f"data.short_sides: expected at least one positive side, got {self.short_sides}")
        if self.crop is not None and any(side % self.divisor for side in self.crop):
            raise SettingsError(f"data.crop: {self.crop} is not a multiple of the divisor {self.divisor}")

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """The padded size that pictures of this orientation share."""
        if self.crop is not None:
            return self.crop
        largest = max(self.short_sides) * (self.scale_jitter[1] if self.scale_jitter else 1.0)
        short, long = padded_shape(min(math.ceil(largest), self.long_side), self.long_side, self.divisor)
        return (short, long) if height <= width else (long, short)


def make_pipeline(
    dataset: Dataset,
    config: DataConfig,
    batch_size: int,
    *,
    training: bool,
    seed: int = 0,
    shuffle: bool | None = None,
    repeat: bool = False,
    drop_remainder: bool | None = None,
    with_truth: bool = True,
    start_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of a data set, exactly as `structures.batch_spec` states them.

    Every random choice for a picture comes from (seed, epoch, index), so a run can be repeated. Without a crop,
    landscape and portrait pictures are batched apart, each on its own canvas.

    Args:
        dataset: pictures and objects.
        config: sizes and augmentations.
        batch_size: pictures per batch.
        training: augment, and by default shuffle and drop an incomplete last batch (unless the set is smaller).
        seed: of order and augmentation.
        shuffle, drop_remainder: None: as `training` says.
        repeat: without end, a new order each epoch.
        with_truth: also the `gt_*` keys and `seed`.
        start_epoch: number of the first epoch.

    Raises:
        ValueError: there are no pictures. While iterating: a TensorFlow error whose text ends with the DataError,
            naming the picture.
    """
    indices = [i for i in range(len(dataset)) if config.keep_empty or not training or dataset.annotations(i)]
    if not indices:
        raise ValueError("make_pipeline: the data set has no pictures to show")
    shuffle = training if shuffle is None else shuffle
    drop_remainder = training and len(indices) >= batch_size if drop_remainder is None else drop_remainder
    load = _Loader(dataset, config, training, seed, with_truth)
    spec = batch_spec(
        None,
        *(config.crop if config.crop and training else (None, None)),
        max_instances=config.max_instances,
        mask_side=config.mask_side,
        num_joints=config.num_joints,
        with_truth=with_truth,
    )

    def order(epoch: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng([seed, int(epoch)]).permutation(indices) if shuffle else np.array(indices)
        return drawn.astype(np.int64)

    def epoch_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        drawn = tf.ensure_shape(tf.numpy_function(order, [epoch], tf.int64, stateful=False), [None])
        return tf.data.Dataset.from_tensor_slices(drawn).map(lambda index: (epoch, index))

    def load_one(epoch: tf.Tensor, index: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(load, [epoch, index], [s.dtype for s in spec.values()], stateful=False)
        return {
            name: tf.ensure_shape(value, s.shape[1:])
            for (name, s), value in zip(spec.items(), values, strict=True)
        }

    last_epoch = np.iinfo(np.int64).max if repeat else start_epoch + 1
    samples = tf.data.Dataset.range(start_epoch, last_epoch).flat_map(epoch_indices)
    samples = samples.map(load_one, num_parallel_calls=_PARALLEL_PICTURES, deterministic=True)
    if config.crop and training:
        batches = samples.batch(batch_size, drop_remainder=drop_remainder)
    else:
        batches = samples.group_by_window(
            lambda sample: _shape_key(sample["image"]),
            lambda _, group: group.batch(batch_size, drop_remainder=drop_remainder and repeat),
            window_size=batch_size,
        )
    return batches.prefetch(2)


def _shape_key(image: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(image, tf.int64)
    return shape[0] * 1_000_000 + shape[1]


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Batches that cover the data set once."""
    return max(1, math.ceil(len(dataset) / batch_size))


class _Loader:
    """One picture, from its index to the arrays of a batch row, in the order of `batch_spec`."""

    def __init__(self, dataset: Dataset, config: DataConfig, training: bool, seed: int, with_truth: bool) -> None:
        self.dataset, self.config, self.training = dataset, config, training
        self.seed, self.with_truth = seed, with_truth
        self.windows: Callable[[int], list] = functools.lru_cache(_CACHED_PICTURES)(self._windows)
        self.warned = False

    def _windows(self, index: int) -> list:
        height, width = self.dataset.shape(index)
        return [mask_window(a, height, width) for a in self.dataset.annotations(index)]

    def __call__(self, epoch: np.ndarray, index: np.ndarray) -> list[np.ndarray]:
        index = int(index)
        try:
            return self._load(int(epoch), index)
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"picture {self.dataset.image_reference(index)}: {type(error).__name__}: {error}") from error

    def _load(self, epoch: int, index: int) -> list[np.ndarray]:
        config = self.config
        image = self.dataset.load_image(index)
        original = image.shape[:2]
        annotations = self.dataset.annotations(index) if self.with_truth else ()
        joints = np.zeros((config.num_joints, 3), np.float32)
        sample = {
            "image": image,
            "boxes": np.array([a.box for a in annotations], np.float32).reshape(-1, 4),
            "class_ids": np.array([a.class_id for a in annotations], np.int32),
            "is_crowd": np.array([a.is_crowd for a in annotations], bool),
            "masks": self.windows(index) if self.with_truth else [],
            "keypoints": np.array(
                [joints if a.keypoints is None or not config.num_joints else a.keypoints for a in annotations],
                np.float32,
            ).reshape(len(annotations), config.num_joints, 3),
        }
        rng = np.random.default_rng([self.seed, epoch, index])
        sample = self._augment(sample, rng) if self.training else self._fit(sample, max(config.short_sides))
        height, width = sample["image"].shape[:2]
        canvas = config.canvas(height, width) if self.training else padded_shape(height, width, config.divisor)
        image_id = self.dataset.image_info[index]["id"]
        row = [
            pad_image(np.ascontiguousarray(sample["image"]), *canvas),
            np.int64(image_id if isinstance(image_id, (int, np.integer)) else index),
            np.array(original, np.int32),
            np.array([height, width], np.int32),
        ]
        if not self.with_truth:
            return row
        row += self._truth(sample, height, width)
        row.append(rng.integers(0, 2**31 - 1, 2, dtype=np.int32))
        if config.num_joints:
            row.append(self._pad(sample["keypoints"][self._chosen(sample)]))
        return row

    def _fit(self, sample: transforms.Sample, short_side: float) -> transforms.Sample:
        height, width = sample["image"].shape[:2]
        return transforms.resize(sample, *resized_shape(height, width, max(1, round(short_side)), self.config.long_side))

    def _augment(self, sample: transforms.Sample, rng: np.random.Generator) -> transforms.Sample:
        config = self.config
        short_side = float(rng.choice(config.short_sides))
        if config.scale_jitter is not None:
            short_side *= rng.uniform(*config.scale_jitter)
        if rng.random() < config.rotate90:
            sample = transforms.rotate90(sample, int(rng.integers(1, 4)))
        sample = self._fit(sample, short_side)
        if config.crop is not None:
            height, width = sample["image"].shape[:2]
            top, left = (int(rng.integers(0, max(n - c, 0) + 1)) for n, c in zip((height, width), config.crop, strict=True))
            sample = transforms.crop(sample, top, left, *config.crop, min_visible=config.min_visible)
        if rng.random() < config.flip_horizontal:
            sample = transforms.flip_horizontal(sample, config.joint_pairs)
        if rng.random() < config.flip_vertical:
            sample = transforms.flip_vertical(sample)
        return transforms.adjust_colour(
            sample,
            brightness=rng.uniform(-1, 1) * config.brightness,
            contrast=1.0 + rng.uniform(-1, 1) * config.contrast,
            saturation=1.0 + rng.uniform(-1, 1) * config.saturation,
        )

    def _chosen(self, sample: transforms.Sample) -> np.ndarray:
        boxes = sample["boxes"]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        chosen = np.flatnonzero(areas > 0)
        if len(chosen) > self.config.max_instances:
            if not self.warned:
                self.warned = True
                _LOG.warning(
                    "a picture has %d objects, data.max_instances is %d: the largest are kept",
                    len(chosen),
                    self.config.max_instances,
                )
            chosen = np.sort(chosen[np.argsort(-areas[chosen], kind="stable")[: self.config.max_instances]])
        return chosen

    def _truth(self, sample: transforms.Sample, height: int, width: int) -> list[np.ndarray]:
        side = self.config.mask_side
        chosen = self._chosen(sample)
        masks = np.zeros((self.config.max_instances, side, side), np.uint8)
        for slot, i in enumerate(chosen):
            bits, (y1, x1, y2, x2) = sample["masks"][i]
            if y2 > y1 and x2 > x1:
                cell = np.array([(y2 - y1) / bits.shape[0], (x2 - x1) / bits.shape[1]] * 2)
                box = (sample["boxes"][i] - [y1, x1, y1, x1]) / cell
                masks[slot] = crop_binary_mask(np.ascontiguousarray(bits), box, side)
        return [
            self._pad(sample["boxes"][chosen].astype(np.float32)),
            self._pad(sample["class_ids"][chosen].astype(np.int32)),
            masks,
            self._pad(sample["is_crowd"][chosen]),
            self._pad(np.ones(len(chosen), bool)),
        ]

    def _pad(self, values: np.ndarray) -> np.ndarray:
        padded = np.zeros((self.config.max_instances, *values.shape[1:]), values.dtype)
        padded[: len(values)] = values
        return padded
