"""Mirroring."""

from __future__ import annotations

import dataclasses

import numpy as np

from mrcnn.base_config import ConfigError
from mrcnn.data import transforms
from mrcnn.data.augmentations.base import AugmentationConfig
from mrcnn.data.transforms import Sample


@dataclasses.dataclass(frozen=True)
class RandomFlip(AugmentationConfig):
    """Mirrors images with a probability; left and right joints are exchanged."""

    horizontal: float = 0.5  # probability
    vertical: float = 0.0

    def __post_init__(self) -> None:
        for name in ("horizontal", "vertical"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"RandomFlip.{name}: expected a probability, got {getattr(self, name)}")

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See the base class."""
        joint_order = sample.get("joint_order")
        if rng.random() < self.horizontal:
            sample = transforms.flip_horizontal(sample, joint_order)
        if rng.random() < self.vertical:
            sample = transforms.flip_vertical(sample, joint_order)
        return sample
