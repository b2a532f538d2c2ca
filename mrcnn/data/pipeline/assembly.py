"""The input pipeline as a `tf.data.Dataset`."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.data.augmenters import as_augmentation
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline.batches import BatchMaker
from mrcnn.data.pipeline.config import DataConfig
from mrcnn.data.pipeline.failures import Failures
from mrcnn.data.pipeline.mapper import SampleMapper
from mrcnn.data.pipeline.progress import calls
from mrcnn.data.pipeline.sampler import WHOLE, BatchSampler, Share, repeat_factors
from mrcnn.errors import InputError
from mrcnn.preprocessing import InputConfig, input_config

logger = logging.getLogger("mrcnn")

_ENDLESS = 2**62  # batches
_Make = Callable[[int, int], list[np.ndarray]]


def make_pipeline(
    dataset: Dataset,
    model: Any,
    config: DataConfig | None = None,
    batch_size: int = 1,
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
    failures: Failures | None = None,
) -> tf.data.Dataset:
    """Batches of a data set, for `model.fit`, `model.evaluate` or a loop of one's own.

    Without augmentation a training image is, bit for bit, what `mrcnn.detect` feeds the model.

    Args:
        dataset: images and objects.
        model: whose input the batches are: a model, a recipe or an `InputConfig`. It alone decides how images are
            resized and padded, and their dtype.
        config: augmentation and sampling; default: those of the recipe where one is given, else `DataConfig()`.
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
        start_batch: number of the first batch, with `repeat`: those before are skipped without being made.
        share: the rows of each batch to make, with `repeat`.
        workers: threads that make batches; default: cores, at most 4.
        cache_bytes: decoded images and masks kept in memory, those used last.
        augmentation: in training, after the augmentations of `config`: an augmenter of imgaug or Albumentations (see
            `data.augmenters`), or a function (sample, rng) -> sample. Size and type of images must stay.
        failures: keeps what threads raise as it was raised; see `Failures`.

    Returns:
        tf.data.Dataset of dicts as `structures.batch_spec` states; `image_id` is the record's id where all ids are
        integers, else the image's number in the set.

    Raises:
        InputError: `model` has no input config, `augmentation` is not safe for masks, or the batches cannot be made.
        DataError: the set is empty, or no batch would remain. While iterating, an image or annotation that cannot be
            used raises tf.errors.InvalidArgumentError, whose message holds that of the DataError with file and id;
            `failures` has the DataError itself.

    Example:
        >>> data = Dataset()
        >>> data.add_class("x", 1, "thing")
        >>> data.add_image("x", 1, None, width=40, height=30)
        >>> data.load_image = lambda index: np.zeros((30, 40, 3), np.uint8)
        >>> batches = make_pipeline(data, InputConfig(short_side=60), training=False)
        >>> next(iter(batches))["image"].shape
        TensorShape([1, 64, 96, 3])
    """
    _check_request(batch_size, repeat, start_batch, share)
    model_input = input_config(model)
    config = config or _data_config(model)
    if config.semantic_maps and with_ground_truth and not dataset.stuff_names:
        raise DataError(
            f"{dataset!r} ({dataset.path or 'no file'}): data.semantic_maps is set, but the set has no stuff_names:"
            " expected a data set with semantic maps, such as COCO panoptic"
        )
    if training:
        _warn_of_other_sizes(config, model_input)
    mapper = SampleMapper(
        dataset,
        model_input,
        config,
        training=training,
        seed=seed,
        with_ground_truth=with_ground_truth,
        cache_bytes=cache_bytes,
        augmentation=as_augmentation(augmentation) if training and augmentation is not None else None,
    )
    maker = BatchMaker(mapper, with_ground_truth)
    indices = _usable(dataset, config, training)
    repeats = repeat_factors(dataset, indices, config.repeat_threshold) if training and repeat else None
    shuffle = training if shuffle is None else shuffle
    sampler = BatchSampler(indices, maker.groups, batch_size, seed, shuffle, start_epoch, repeats)
    rows = batch_size // share.of
    if repeat:

        def make(_: int, number: int) -> list[np.ndarray]:
            batch, part = divmod(number, share.count)
            first = (share.first + part) * rows
            return maker(sampler.endless(start_batch + batch), slice(first, first + rows))

        return _assemble(make, None, maker.spec(rows), start_epoch, training, workers, failures)
    count = sampler.num_batches(drop_remainder)
    if count == 0:
        raise DataError(f"{dataset!r}: fewer images than a batch of {batch_size}, and drop_remainder leaves none")
    spec = maker.spec(rows if drop_remainder else None)
    return _assemble(
        lambda epoch, number: maker(sampler.epoch(epoch, drop_remainder)[number]),
        count,
        spec,
        start_epoch,
        training,
        workers,
        failures,
    )


def _check_request(batch_size: int, repeat: bool, start_batch: int, share: Share) -> None:
    if batch_size < 1:
        raise InputError(f"make_pipeline: batch_size must be at least 1, got {batch_size}")
    if batch_size % share.of:
        raise InputError(f"make_pipeline: a batch of {batch_size} images cannot be cut into {share.of} equal parts")
    if not repeat and (start_batch or share != WHOLE):
        raise InputError("make_pipeline: start_batch and share need repeat=True")


def _data_config(model: Any) -> DataConfig:
    """That of a recipe, or the default."""
    config = getattr(model, "data", None)
    return config if isinstance(config, DataConfig) else DataConfig()


def _warn_of_other_sizes(config: DataConfig, model_input: InputConfig) -> None:
    """Log that training never sees images of the size at which the model detects."""
    low, high = config.size_range(model_input.short_side)
    if not low <= model_input.short_side <= high:
        logger.warning(
            "training resizes the shorter side of images to %g to %g pixels, evaluation and detection to %d; set"
            " model.input.short_side, or data.short_sides and data.scale_jitter around it",
            low,
            high,
            model_input.short_side,
        )


def _usable(dataset: Dataset, config: DataConfig, training: bool) -> np.ndarray:
    """i64[n], the images to show."""
    indices = np.arange(len(dataset))
    if training and not config.keep_empty:
        indices = np.array([i for i in indices.tolist() if dataset.annotations(i)], np.int64)
    if not len(indices):
        raise DataError(f"{dataset!r} ({dataset.path or 'no file'}): there is no image to make batches of")
    return indices


def _assemble(
    make: _Make,
    count: int | None,
    spec: dict[str, tf.TensorSpec],
    start_epoch: int,
    training: bool,
    workers: int | None,
    failures: Failures | None,
) -> tf.data.Dataset:
    """Batches made by threads, in order.

    Args:
        make: (epoch, number of the batch) to its arrays, in the order of `spec`.
        count: batches of an epoch; None: no end.
        spec: of a batch.
        start_epoch: number of the first epoch.
        training: each iteration is an epoch of its own.
        workers: threads; None: cores, at most 4.
        failures: keeps what they raise.
    """
    epochs, failures = itertools.count(start_epoch), failures or Failures()

    def next_epoch(_: np.ndarray) -> np.int64:
        return np.int64(next(epochs) if training else start_epoch)

    def call(epoch: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
        with calls, failures.of_batch(int(epoch), int(number)):
            return make(int(epoch), int(number))

    def make_batch(epoch: tf.Tensor, number: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(call, [epoch, number], [s.dtype for s in spec.values()], stateful=False)
        for value, s in zip(values, spec.values(), strict=True):
            value.set_shape(s.shape)
        return dict(zip(spec, values, strict=True))

    def numbers(epoch: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(_ENDLESS if count is None else count).map(lambda number: (epoch, number))

    # Numbers, not `from_generator`, which calls Python once more when it is destroyed: see `progress.calls`.
    start = tf.data.Dataset.range(1).map(lambda i: tf.ensure_shape(tf.numpy_function(next_epoch, [i], tf.int64), []))
    batches = start.flat_map(numbers)
    batches = batches.map(make_batch, num_parallel_calls=workers or min(4, os.cpu_count() or 1), deterministic=True)
    cardinality = tf.data.INFINITE_CARDINALITY if count is None else count
    batches = batches.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(2)
    options = tf.data.Options()
    # The source is a Python function, which cannot be cut up by file or element.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.with_options(options)
