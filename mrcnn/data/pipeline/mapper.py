"""The view of each image: a sample at the size at which it goes onto the canvas, augmented or only resized."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mrcnn.data import transforms
from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline.augment import augment, checked
from mrcnn.data.pipeline.config import DataConfig
from mrcnn.data.pipeline.reader import SampleReader
from mrcnn.data.transforms import Sample
from mrcnn.preprocessing import InputConfig

logger = logging.getLogger("mrcnn")

_MAX_SEED = 2**31 - 1


class View(NamedTuple):
    """One image as training or inference sees it."""

    sample: Sample
    original_shape: tuple[int, int]  # (height, width) of the image's file
    seed: np.ndarray  # i64[2], of what the model draws for it


class SampleMapper:
    """Makes the view of an image in an epoch; the same arguments give the same view. Safe between threads.

    Args:
        dataset: images and objects.
        model_input: how images are resized.
        config: how they are augmented.
        training: augment.
        seed: of the augmentations.
        with_ground_truth: read objects too.
        cache_bytes: decoded images and masks kept in memory.
        augmentation: applied to training samples after those of `config`.

    Attributes:
        as_inference: nothing is random: images are those of inference, canvas and decoding included.
    """

    def __init__(
        self,
        dataset: Dataset,
        model_input: InputConfig,
        config: DataConfig,
        *,
        training: bool,
        seed: int,
        with_ground_truth: bool,
        cache_bytes: int,
        augmentation: Callable[[Sample, np.random.Generator], Sample] | None = None,
    ) -> None:
        self.dataset, self.model_input, self.config = dataset, model_input, config
        self.training, self.seed, self.augmentation = training, seed, augmentation
        self.as_inference = not training or (not config.is_random and augmentation is None)
        self._reader = SampleReader(dataset, config.num_joints, with_ground_truth, cache_bytes, config.semantic_maps)
        self._warned = False

    def largest_content(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which an image is resized at most, before a crop."""
        if not self.training:
            return self.model_input.content_size(height, width)
        short = max(self.config.short_sides, default=None)
        highest = self.config.scale_jitter[1] if self.config.scale_jitter else 1.0
        return self.model_input.content_size(height, width, short, highest)

    def __call__(self, epoch: int, index: int, canvas: tuple[int, int]) -> View:
        """The view of image number `index` in an epoch, at most as large as the canvas."""
        rng = np.random.default_rng([self.seed, epoch if self.training else 0, index])
        seed = rng.integers(0, _MAX_SEED, 2)
        sample, shape = self._reader.read(index, self._enough(index))
        if self.training:
            sample = self._augment(sample, rng, canvas, shape)
        else:
            content = self.model_input.content_size(*shape)
            sample = transforms.resize(sample, *content, self.model_input.interpolation)
        return View(self._limit(sample, index), shape, seed)

    def _augment(
        self, sample: Sample, rng: np.random.Generator, canvas: tuple[int, int], shape: tuple[int, int]
    ) -> Sample:
        sample = augment(sample, self.config, self.model_input, rng, canvas, shape)
        if self.augmentation is not None:
            name = getattr(self.augmentation, "__name__", type(self.augmentation).__name__)
            sample = checked(self.augmentation(sample, rng), sample["image"], canvas, name)
        if self.config.copy_paste and rng.random() < self.config.copy_paste:
            sample = self._paste_another(sample, rng, canvas)
        return sample

    def _paste_another(self, sample: Sample, rng: np.random.Generator, canvas: tuple[int, int]) -> Sample:
        """Some objects of an image drawn from the whole set, on top of a view that is ready."""
        other = int(rng.integers(len(self.dataset)))
        source, shape = self._reader.read(other, self._enough(other))
        source = augment(source, self.config, self.model_input, rng, canvas, shape)
        chosen = transforms.draw_subset(rng, np.flatnonzero(~source["is_crowd"]))
        return transforms.paste(sample, transforms.select(source, chosen), self.config.min_visible)

    def _enough(self, index: int) -> tuple[int, int] | None:
        """(height, width) at which it is enough to decode an image; None: at its own.

        A JPEG much larger than training can make it is decoded at a part of its size, which is much faster. Not where
        the resize is not antialiased: it would make other pixels.
        """
        antialiased = self.model_input.interpolation == "antialias_u8"
        if self.as_inference or not antialiased or not self._reader.reads_files:
            return None
        height, width = self.dataset.image_shape(index)
        short = max(self.config.short_sides, default=None)
        highest = max(1.0, self.config.scale_jitter[1]) if self.config.scale_jitter else 1.0
        content = self.model_input.content_size(height, width, short)
        return math.ceil(content[0] * highest), math.ceil(content[1] * highest)

    def _limit(self, sample: Sample, index: int) -> Sample:
        """Without boxes of no area, and at most `max_instances` objects: crowd regions go first, then the smallest."""
        boxes = sample["boxes"]
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = np.flatnonzero((sides > 0).all(axis=1))
        most = self.config.max_instances
        if len(keep) > most:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "image %r has %d objects, the %d largest are kept (data.max_instances); logged once",
                    self.dataset.image_ids[index],
                    len(keep),
                    most,
                )
            keep = keep[np.lexsort([-sides[keep].prod(axis=1), sample["is_crowd"][keep]])[:most]]
        return sample if len(keep) == len(boxes) else transforms.select(sample, keep)
