"""What stands between backbone and heads: the interface of a neck, and the neck that does nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import keras

from mrcnn.base_config import BaseConfig, ConfigError


@dataclasses.dataclass(frozen=True)
class NeckConfig(BaseConfig):
    """Base of the config of necks."""

    components: ClassVar[str | None] = "mrcnn.modeling.necks"
    abstract: ClassVar[bool] = True

    def build(self, in_channels: Mapping[str, int], strides: Mapping[str, int], name: str = "neck") -> Neck:
        """The layer with its weights created.

        Args:
            in_channels: channels of every feature map of the backbone, by name.
            strides: pixels per cell of every feature map of the backbone, by name.
            name: layer name.

        Raises:
            ConfigError: a level the backbone does not have, or maps that do not fit together.
        """
        raise NotImplementedError


class Neck(keras.layers.Layer):
    """Feature maps of a backbone to the maps that RPN and heads see.

    `call` takes a dict of maps [B, ceil(H / stride), ceil(W / stride), in_channels[name]] and returns a dict of maps
    [B, ceil(H / stride), ceil(W / stride), channels] at `strides`.
    """

    built: bool

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of each map that comes out, by name, fine to coarse."""
        raise NotImplementedError

    @property
    def channels(self) -> int:
        """Channels of every map that comes out."""
        raise NotImplementedError


def check_levels(levels: tuple[str, ...], available: Mapping[str, int], field: str) -> None:
    """Raise ConfigError if a level is not among the backbone's maps."""
    absent = [level for level in levels if level not in available]
    if absent or not levels:
        raise ConfigError(
            f"{field} and backbone: {', '.join(absent) or 'empty'}; the backbone has {', '.join(available) or 'no map'}"
        )
