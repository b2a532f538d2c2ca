"""A neck that does nothing, for models without a pyramid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.necks.base import Neck, NeckConfig, check_levels
from mrcnn.structures.tensors import Shape


@dataclasses.dataclass(frozen=True)
class PassThroughConfig(NeckConfig):
    """Configuration of a model without a pyramid: RPN and heads see the backbone's own maps.

    Ref: Mask R-CNN, section 3, "C4"; with a dilated res5 and level c5 it is detectron2's "DC5".
    """

    levels: tuple[str, ...] = ("c4",)

    def build(self, in_channels: Mapping[str, int], strides: Mapping[str, int], name: str = "neck") -> PassThrough:
        """The layer; see `NeckConfig.build`."""
        check_levels(self.levels, in_channels, "neck.levels")
        if len({in_channels[level] for level in self.levels}) != 1:
            present = ", ".join(f"{level} {in_channels[level]}" for level in self.levels)
            raise ConfigError(f"neck.levels: RPN and heads need maps of equal channels, got {present}")
        return PassThrough(self, in_channels, strides, name=name)


@keras.saving.register_keras_serializable("mrcnn")
class PassThrough(Neck):
    """Hands the backbone's maps of the named levels on under their names. No weights."""

    def __init__(
        self,
        config: PassThroughConfig | dict[str, Any],
        in_channels: Mapping[str, int],
        in_strides: Mapping[str, int],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = PassThroughConfig.from_dict(config) if isinstance(config, dict) else config
        self.in_channels, self.in_strides = dict(in_channels), dict(in_strides)
        self.built = True

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of each map that comes out, by name."""
        return {level: self.in_strides[level] for level in self.config.levels}

    @property
    def channels(self) -> int:
        """Channels of every map that comes out."""
        return self.in_channels[self.config.levels[0]]

    def call(self, features: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """The named maps, unchanged."""
        del training
        return {level: features[level] for level in self.config.levels}

    def compute_output_shape(self, features_shape: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of the named maps."""
        return {level: tuple(features_shape[level]) for level in self.config.levels}

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {
            **super().get_config(),
            "config": self.config.to_dict(),
            "in_channels": dict(self.in_channels),
            "in_strides": dict(self.in_strides),
        }
