"""How images become training samples: augmentation and sampling. Their size is the model's, see `preprocessing`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.data.augmentations.base import AugmentationConfig
from mrcnn.data.augmentations.color import ColorJitter
from mrcnn.data.augmentations.flip import RandomFlip


@dataclasses.dataclass(frozen=True)
class DataConfig(BaseConfig):
    """How images become training samples. Augmentations are off at 0, None or (); evaluation never augments."""

    short_sides: tuple[int, ...] = ()  # shorter sides in pixels, one drawn per image; (): the model's input.short_side
    crop: tuple[int, int] | None = None  # (height, width) of a random window of the resized image
    scale_jitter: tuple[float, float] | None = None  # (low, high) factor on top of the resize
    # Which factors are likely: "log_uniform": halves and doubles alike; "uniform": rather large ones, as where
    # large-scale jitter comes from. Ref: Simple Copy-Paste, arXiv 2012.07177, section 3.
    scale_distribution: Literal["log_uniform", "uniform"] = "log_uniform"
    flip_horizontal: float = 0.5  # probability
    flip_vertical: float = 0.0  # probability
    rotate90: float = 0.0  # probability of one to three quarter turns (only half turns where the shape must stay)
    brightness: float = 0.0  # 0.2: factor within 1 / 1.2 to 1.2
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # part of a full turn, either way
    augmentations: tuple[AugmentationConfig, ...] = ()  # further ones, applied in this order after those above
    copy_paste: float = 0.0  # probability that objects of another image, augmented likewise, are put on top
    max_instances: int = 100  # G; of more objects the largest are kept
    mask_side: int = 112  # K
    full_masks: bool = False  # masks in the whole image too: G x height x width bytes an image
    rotated_boxes: bool = False  # true boxes as rectangles of least area around the masks too, for a rotated RPN
    num_joints: int = 0  # J; 0: no keypoints
    semantic_maps: bool = False  # the class of stuff of every pixel, for a panoptic model
    aspect_grouping: bool = True  # landscape and portrait images never share a batch
    min_visible: float = 0.1  # objects of which a crop leaves less are dropped
    keep_empty: bool = True  # train on images without objects too
    repeat_threshold: float = 0.0  # images of classes on a smaller part of the images are shown more often; 0: none

    def __post_init__(self) -> None:
        for name in ("max_instances", "mask_side"):
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

    @property
    def flip(self) -> RandomFlip:
        """The fields on flips as the augmentation they stand for."""
        return RandomFlip(self.flip_horizontal, self.flip_vertical)

    @property
    def color(self) -> ColorJitter:
        """The fields on color as the augmentation they stand for."""
        return ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)

    @property
    def is_random(self) -> bool:
        """Whether anything changes an image from one epoch to the next."""
        random = (*dataclasses.astuple(self.flip), *dataclasses.astuple(self.color), self.rotate90, self.copy_paste)
        several_sizes = bool(self.short_sides) or self.scale_jitter is not None or self.crop is not None
        return several_sizes or bool(self.augmentations) or any(amount > 0 for amount in random)

    def size_range(self, short_side: int) -> tuple[float, float]:
        """The smallest and the largest shorter side that training resizes to, for a model's `input.short_side`."""
        sides = self.short_sides or (short_side,)
        low, high = self.scale_jitter or (1.0, 1.0)
        return min(sides) * low, max(sides) * high
