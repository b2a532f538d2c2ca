"""Networks of `keras.applications` as backbones, by one name: "ConvNeXtTiny", "EfficientNetV2S", "MobileNetV3Large".

Where the feature maps are is read off the network's own graph: at each stride, the output of the last block. A block
ends where all paths meet in a sum or a concatenation (and the activation behind it). Where a stride has no such block,
the last of its narrowest maps is taken: an expansion to more channels belongs to the block that follows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones import graph
from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.limits import counted_apart
from mrcnn.modeling.normalize import NormKind, PixelNorm

IMAGENET = PixelNorm()
"""(pixel - mean) / std with ImageNet's statistics, as torchvision trains."""
SYMMETRIC = PixelNorm(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
"""Pixels from -1 to 1."""
ABOUT_128 = PixelNorm(mean=(128.0, 128.0, 128.0), std=(128.0, 128.0, 128.0))
"""Pixels from -1 to 1, less half a level."""
CAFFE = PixelNorm(mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0), bgr=True)
"""BGR less its mean, as Caffe's networks were trained."""
RAW = PixelNorm(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""Pixels as they are: the network's first layers normalize them."""

_PIXELS: tuple[tuple[str, PixelNorm], ...] = (  # by the beginning of the name, the longest first
    ("EfficientNetV2B", IMAGENET),
    ("EfficientNetV2", ABOUT_128),
    ("EfficientNetB", RAW),
    ("ConvNeXt", IMAGENET),
    ("DenseNet", IMAGENET),
    ("MobileNet", SYMMETRIC),
    ("ResNet50V2", SYMMETRIC),
    ("ResNet101V2", SYMMETRIC),
    ("ResNet152V2", SYMMETRIC),
    ("ResNet", CAFFE),
    ("VGG", CAFFE),
    ("Xception", SYMMETRIC),
    ("Inception", SYMMETRIC),
    ("NASNet", SYMMETRIC),
)


@dataclasses.dataclass(frozen=True)
class KerasApplicationsConfig(BackboneConfig):
    """Configuration of a network of `keras.applications`.

    Attributes:
        name: of the function, e.g. "ConvNeXtTiny".
        norm: of the network's batch norm, if it has any: "frozen_bn", "bn", "sync_bn" or "gn"; a network with layer
            norm keeps it.
        pixel_norm: None: as the network was trained, from its own `preprocess_input`.

    Example:
        >>> KerasApplicationsConfig(name="MobileNetV3Small").pixel_norm.mean
        (127.5, 127.5, 127.5)
    """

    name: str = "ConvNeXtTiny"
    norm: NormKind = "frozen_bn"
    epsilon: float = 0.0  # of the batch norm; 0: the network's own
    pixel_norm: PixelNorm = None  # type: ignore[assignment]  # replaced in __post_init__

    def __post_init__(self) -> None:
        if self.name.startswith("_") or not callable(getattr(keras.applications, self.name, None)):
            known = [name for name in dir(keras.applications) if name[0].isupper()]
            raise ConfigError(f"name: keras.applications has no {self.name!r}; it has {', '.join(known)}")
        if self.pixel_norm is None:
            norm = next((norm for prefix, norm in _PIXELS if self.name.startswith(prefix)), IMAGENET)
            object.__setattr__(self, "pixel_norm", norm)
        if self.norm == "none":
            raise ConfigError("norm: expected frozen_bn, bn, sync_bn or gn, a network's batch norm cannot be left out")

    @property
    def title(self) -> str:
        """The network's name."""
        return self.name

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name."""
        return dict(_anatomy(self.name).channels)

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of each feature map, by name."""
        return {level: 2 ** int(level[1:]) for level in _anatomy(self.name).levels}

    def stage_of(self, layer_name: str) -> int | None:
        """The stage of a layer: n for what lies behind c(n-1), up to cn; 1 for the stem."""
        return _anatomy(self.name).stages.get(layer_name)

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        with counted_apart():
            original = network_of(self.name, len(self.pixel_norm.mean))
        network = graph.with_norm(original, self.norm, self.epsilon)
        operations = network.operations
        features = {level: operations[index].output for level, index in _anatomy(self.name).levels.items()}
        model = keras.Model(network.input, features, name=name)
        freeze_stages(model, self)
        return model


def network_of(name: str, channels: int = 3) -> keras.Model:
    """The network without its classifier and with random weights, for images of any size."""
    function: Callable[..., keras.Model] = getattr(keras.applications, name)
    options: dict[str, Any] = {"include_top": False, "weights": None, "input_shape": (None, None, channels)}
    if name.startswith(("ConvNeXt", "EfficientNetV2", "MobileNetV3")):
        options["include_preprocessing"] = False
    return function(**options)


@functools.lru_cache(maxsize=32)
def _anatomy(name: str) -> graph.Anatomy:
    """Read off the graph of a network where its strides change.

    Raises:
        ConfigError: the network has no feature map of one of the strides 4, 8, 16 and 32.
    """
    with counted_apart():
        network = network_of(name)
    shapes = graph.shapes(network)
    strides = graph.strides(shapes)
    seams = graph.seams(network)
    levels = {
        level: index
        for level in LEVELS
        if (index := graph.end_of_stride(2 ** int(level[1:]), network, shapes, seams)) is not None
    }
    if len(levels) < len(LEVELS):
        present = sorted({graph.PROBE / shape[1] for shape in shapes if len(shape) == 4 and shape[1]})
        raise ConfigError(
            f"keras.applications.{name}: expected feature maps of strides 4, 8, 16 and 32; its maps have the strides"
            f" {', '.join(f'{stride:.4g}' for stride in present)}"
        )
    channels = {level: int(shapes[index][-1]) for level, index in levels.items()}
    names = graph.stable_names(network)
    stages = graph.stages(
        strides, levels, [bool(getattr(operation, "weights", ())) for operation in network.operations]
    )
    by_name = {names[operation.name]: stage for operation, stage in zip(network.operations, stages, strict=False)}
    return graph.Anatomy(levels, channels, by_name)
