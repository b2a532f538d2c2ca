"""A script's data set as the batches of training: each image with the masks that belong to it.

Scripts may draw an image anew whenever it is asked for, so `load_image(i)` and `load_mask(i)` are called one after the
other for every sample, as matterport did, and nothing is kept. One worker at a time uses a data set.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.matterport.batches import as_batch
from mrcnn.matterport.generator import Samples, batches_of

_AHEAD = 4  # batches made before they are asked for
_LOCKS: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()


def lock_of(dataset: Any) -> threading.Lock:
    """The lock that who asks a data set for a sample holds; the same for every call with that data set."""
    try:
        return _LOCKS.setdefault(dataset, threading.Lock())
    except TypeError:  # one that cannot be a key; no other thread of ours has it
        return threading.Lock()


class Feed:
    """Endless batches of a data set, made in a thread while the model works on those before.

    The first batch is made at once, so that what is wrong with the data is raised here.

    Args:
        dataset: the script's, after `prepare`.
        config: the script's.
        load_image_gt, backbone_shapes: the functions of `mrcnn.matterport.model`.
        augmentation: an augmenter of imgaug or Albumentations.
        plain_sources: sources whose images are not augmented.

    Attributes:
        error: what ended the batches, if anything did. Raised by `tf.data` it would be a text.
    """

    def __init__(
        self,
        dataset: Any,
        config: Any,
        load_image_gt: Any,
        backbone_shapes: Any,
        augmentation: Any = None,
        plain_sources: Sequence[str] = (),
    ) -> None:
        self.error: BaseException | None = None
        self._config, self._lock = config, lock_of(dataset)
        samples = Samples(
            load_image_gt,
            _plain,
            backbone_shapes,
            dataset,
            config,
            augmentation=augmentation,
            plain_sources=plain_sources,
        )
        self._lists = batches_of(samples, config, int(config.BATCH_SIZE))
        self._first: dict[str, np.ndarray] | None = self._make()
        self.spec = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in self._first.items()}
        if config.IMAGE_RESIZE_MODE not in ("square", "crop"):  # sizes of images differ from batch to batch
            for name, free in (("image", (1, 2)), ("rpn_match", (1,)), ("gt_full_masks", (2, 3))):
                if name in self.spec:
                    shape = [None if i in free else side for i, side in enumerate(self._first[name].shape)]
                    self.spec[name] = tf.TensorSpec(shape, self._first[name].dtype)

    def batches(self) -> tf.data.Dataset:
        """The batches, of the model's own form; see `structures.batch_spec`."""
        made = tf.data.Dataset.from_generator(self._iterate, output_signature=self.spec)
        return made.prefetch(_AHEAD)

    def _iterate(self) -> Iterator[dict[str, np.ndarray]]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        while True:
            try:
                batch = self._make()
            except BaseException as error:
                self.error = error
                raise
            yield batch

    def _make(self) -> dict[str, np.ndarray]:
        with self._lock:
            inputs, _ = next(self._lists)
        return as_batch(inputs, self._config, molded=False)


def _plain(image: np.ndarray, config: Any) -> np.ndarray:
    """Images stay as they are: the model takes the mean off itself."""
    del config
    return image
