"""What every augmentation has in common."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from mrcnn.base_config import BaseConfig
from mrcnn.data.transforms import Sample


@dataclasses.dataclass(frozen=True)
class AugmentationConfig(BaseConfig):
    """One random change of training images and their objects, with its parameters.

    A recipe lists augmentations under `data.augmentations`. They run in that order, after the resize and those that
    `DataConfig` has fields for: crop, flips, turns and color. A subclass lives in a module of
    `mrcnn.data.augmentations`, or elsewhere and is then named "module:Class"; docs/extending/augmentation.md shows one.
    """

    components: ClassVar[str | None] = "mrcnn.data.augmentations"
    abstract: ClassVar[bool] = True

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """One random view of a sample.

        Args:
            sample: see `mrcnn.data.transforms.sample`; not to be changed in place. The image is uint8, or float32 from
                0 to 255 for a model whose `input.interpolation` is "linear", and its dtype must stay.
            rng: the only source of randomness; it is seeded per image and epoch, so that runs can be repeated.

        Returns:
            A sample whose boxes, windows, masks and keypoints still match its image, which may become smaller but not
            larger. Called from several threads at once.
        """
        raise NotImplementedError
