"""A function of yours as the backbone: "package.module:function", from an image to its feature maps."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from mrcnn.base_config import ConfigError
from mrcnn.components import ComponentError, find_user_function
from mrcnn.modeling.backbones import graph
from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.limits import counted_apart
from mrcnn.modeling.normalize import NormKind, PixelNorm

_HANDED_OVER: dict[str, Callable[..., Any]] = {}
"""Functions that Python code handed over as such, by name; files cannot add to them."""


@dataclasses.dataclass(frozen=True)
class CallableConfig(BackboneConfig):
    """Configuration of a backbone that a function of yours makes of Keras layers.

    The function takes the image, a Keras tensor [B, H, W, channels] after `pixel_norm`, and returns feature maps, a
    list or a dict of Keras tensors [B, h, w, c]; None stands for none. The last one of each of the strides 4, 8, 16 and
    32 is used, whatever its name; maps of other strides are left out. One that has a parameter `stage5` or `train_bn`,
    as those written for matterport/Mask_RCNN have, is given them: True, and whether `norm` takes the statistics of
    batches.

    A function that only a file names, such as a recipe or a checkpoint, is called if its module is imported already, is
    named by `mrcnn --import`, or is declared by an installed package (see `mrcnn.components`), and if it is a public
    function of that module itself. No module of the standard library or of this package will do.

    Attributes:
        function: "package.module:function"; or the function itself, which its name then stands for.
        norm: in place of Keras' batch norm, if there is any: "frozen_bn", "bn", "sync_bn", "gn", ...; other norms stay.
            "none": batch norm stays as the function made it, too.
        epsilon: of the batch norm; 0: each layer's own.

    Raises:
        ConfigError: no such function, or, when the backbone is built, one that raises an exception, returns anything
            but feature maps or has none of one of the strides 4, 8, 16 and 32.

    Example:
        >>> def small(image):
        ...     maps, x = [], keras.layers.Conv2D(8, 3, strides=2, padding="same")(image)
        ...     for width in (8, 16, 32, 64):
        ...         x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        ...         maps.append(x)
        ...     return maps
        >>> CallableConfig(small).channels
        {'c2': 8, 'c3': 16, 'c4': 32, 'c5': 64}
    """

    function: str = ""
    norm: NormKind = "frozen_bn"
    epsilon: float = 0.0
    pixel_norm: PixelNorm = PixelNorm()

    def __init__(  # by hand, so that the function can be given by position, and as itself
        self,
        function: str | Callable[..., Any] = "",
        norm: NormKind = "frozen_bn",
        epsilon: float = 0.0,
        freeze_at: int = 0,
        pixel_norm: PixelNorm = PixelNorm(),  # noqa: B008 - frozen
    ) -> None:
        if callable(function):
            name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
            _HANDED_OVER[name] = function
            function = name
        values = {
            "function": function,
            "norm": norm,
            "epsilon": epsilon,
            "freeze_at": freeze_at,
            "pixel_norm": pixel_norm,
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self._resolve()

    @property
    def title(self) -> str:
        """The function's name."""
        return self.function.rpartition(":")[2]

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name."""
        return dict(self._anatomy().channels)

    def stage_of(self, layer_name: str) -> int | None:
        """The stage of a layer: n for what only c(n) and those after it are computed from; 1 for the stem."""
        return self._anatomy().stages.get(layer_name)

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, channels] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        network = self._network()
        model = keras.Model(network.input, network.output, name=name)
        freeze_stages(model, self)
        return model

    def _resolve(self) -> Callable[..., Any]:
        if self.function in _HANDED_OVER:
            return _HANDED_OVER[self.function]
        try:
            return find_user_function(self.function, "backbone")
        except ComponentError as error:
            raise ConfigError(f"function: {error}") from error

    def _network(self) -> keras.Model:
        takes_statistics = self.norm in ("bn", "sync_bn")
        with counted_apart():
            network = network_of(self._resolve(), self.function, len(self.pixel_norm.mean), takes_statistics)
        return graph.with_norm(network, self.norm, self.epsilon)

    def _anatomy(self) -> graph.Anatomy:
        return _anatomy(self._resolve(), self)


@functools.lru_cache(maxsize=32)
def _anatomy(function: Callable[..., Any], config: CallableConfig) -> graph.Anatomy:
    """Of the network a function makes; the function is part of what is remembered, as its name may change hands."""
    with counted_apart():
        return graph.anatomy_of(config._network())


def network_of(function: Callable[..., Any], name: str, channels: int, takes_statistics: bool) -> keras.Model:
    """The network from an image to the feature maps c2..c5 that a function computes of it.

    Raises:
        ConfigError: the function raises an exception, or returns anything but such maps; names the function.
    """
    image = keras.Input((None, None, channels), name="image")
    options = _options(function, {"stage5": True, "train_bn": takes_statistics})
    try:
        returned = function(image, **options)
    except Exception as error:
        raise ConfigError(f"backbone {name}: the function raised {type(error).__name__}: {error}") from error
    if isinstance(returned, Mapping):
        returned = list(returned.values())
    if not isinstance(returned, list | tuple):
        raise ConfigError(
            f"backbone {name}: expected a list or a dict of feature maps, got one {type(returned).__name__}"
        )
    # matterport's `resnet_graph` and functions like it say None of a stage that they leave out.
    maps = graph.levels_by_stride(image, [value for value in returned if value is not None], f"backbone {name}")
    return keras.Model(image, {level: maps[level] for level in LEVELS})


def _options(function: Callable[..., Any], known: dict[str, bool]) -> dict[str, bool]:
    """Those of the keywords that a function takes, by name."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return known
    return {name: value for name, value in known.items() if name in {parameter.name for parameter in parameters}}
