"""Changes of brightness, contrast, saturation and hue."""

from __future__ import annotations

import dataclasses

import numpy as np

from mrcnn.base_config import ConfigError
from mrcnn.data import transforms
from mrcnn.data.augmentations.base import AugmentationConfig
from mrcnn.data.transforms import Sample


@dataclasses.dataclass(frozen=True)
class ColorJitter(AugmentationConfig):
    """Changes the colors of images; objects are unchanged. See `transforms.adjust_color` for the four amounts."""

    brightness: float = 0.0  # 0.2: factor from 1 / 1.2 to 1.2, log-uniform
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # part of a full turn, either way

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue"):
            if getattr(self, name) < 0:
                raise ConfigError(f"ColorJitter.{name}: expected at least 0, got {getattr(self, name)}")

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See the base class."""
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            return sample
        amounts = transforms.draw_color(rng, self.brightness, self.contrast, self.saturation, self.hue)
        return transforms.adjust_color(sample, *amounts)
