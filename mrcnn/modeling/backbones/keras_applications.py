"""Networks of `keras.applications` as backbones, by one name: "ConvNeXtTiny", "EfficientNetV2S", "MobileNetV3Large".

Where the feature maps are is read off the network's own graph: at each stride, the output of the last block. A block
ends where all paths meet in a sum or a concatenation (and the activation behind it). Where a stride has no such block,
the last of its narrowest maps is taken: an expansion to more channels belongs to the block that follows.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import keras

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.normalize import NormKind, PixelNorm, make_norm

_PROBE = 512  # pixels a side of the image whose maps say what stride each layer has

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
        network = _network(self.name, len(self.pixel_norm.mean))
        names = _stable_names(network)
        network = keras.models.clone_model(
            network, clone_function=lambda layer: self._norm_as_configured(layer, names[layer.name])
        )
        operations = network.operations
        features = {level: operations[index].output for level, index in _anatomy(self.name).levels.items()}
        model = keras.Model(network.input, features, name=name)
        freeze_stages(model, self)
        return model

    def _norm_as_configured(self, layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
        """Keras' batch norm as the norm of this config; any other layer as it is."""
        config = {**layer.get_config(), "name": name}
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer.__class__.from_config(config)
        channels = int(layer.moving_mean.shape[0])
        return make_norm(self.norm, self.epsilon or layer.epsilon, name, layer.momentum, channels=channels)


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Where a network's feature maps are.

    Attributes:
        levels: the operation whose output is each feature map, as its place in `network.operations`, by name.
        channels: of each feature map, by name.
        stages: of every layer up to the last feature map, by its stable name.
    """

    levels: dict[str, int]
    channels: dict[str, int]
    stages: dict[str, int]


def _network(name: str, channels: int = 3) -> keras.Model:
    """The network without its classifier and with random weights, for images of any size."""
    function: Callable[..., keras.Model] = getattr(keras.applications, name)
    options: dict[str, Any] = {"include_top": False, "weights": None, "input_shape": (None, None, channels)}
    if name.startswith(("ConvNeXt", "EfficientNetV2", "MobileNetV3")):
        options["include_preprocessing"] = False
    return function(**options)


def _stable_names(network: keras.Model) -> dict[str, str]:
    """Names of the operations that do not depend on what was built before.

    Keras numbers what has no name of its own through the whole process; here each kind is numbered through the network.
    """
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for operation in network.operations:
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(operation).__name__).lower()
        if re.fullmatch(rf"{kind}(_\d+)?", operation.name):
            counts[kind] = counts.get(kind, 0) + 1
            names[operation.name] = f"{kind}_{counts[kind]}"
        else:
            names[operation.name] = operation.name
    return names


@functools.lru_cache(maxsize=32)
def _anatomy(name: str) -> Anatomy:
    """Read off the graph of a network where its strides change.

    Raises:
        ConfigError: the network has no feature map of one of the strides 4, 8, 16 and 32.
    """
    network = _network(name)
    shapes = _shapes(network)
    strides = _strides(shapes)
    seams = _seams(network)
    levels = {
        level: index
        for level in LEVELS
        if (index := _end_of_stride(2 ** int(level[1:]), network, shapes, seams)) is not None
    }
    if len(levels) < len(LEVELS):
        present = sorted({_PROBE / shape[1] for shape in shapes if len(shape) == 4 and shape[1]})
        raise ConfigError(
            f"keras.applications.{name}: expected feature maps of strides 4, 8, 16 and 32; its maps have the strides"
            f" {', '.join(f'{stride:.4g}' for stride in present)}"
        )
    channels = {level: int(shapes[index][-1]) for level, index in levels.items()}
    names = _stable_names(network)
    stages = _stages(strides, levels, [bool(getattr(operation, "weights", ())) for operation in network.operations])
    by_name = {names[operation.name]: stage for operation, stage in zip(network.operations, stages, strict=False)}
    return Anatomy(levels, channels, by_name)


def _shapes(network: keras.Model) -> list[tuple[int, ...]]:
    """The shape of every operation's output for one image of the probe's size, computed without its weights."""
    probe = keras.Model(network.input, [operation.output for operation in network.operations])
    specs = probe.compute_output_spec(keras.KerasTensor((1, _PROBE, _PROBE, network.input.shape[-1])))
    return [tuple(spec.shape) for spec in specs]


def _strides(shapes: list[tuple[int, ...]]) -> list[int]:
    """Pixels per cell of each output; what is no such map (padding, a vector) has the one before it."""
    strides: list[int] = []
    for shape in shapes:
        side = shape[1] if len(shape) == 4 and shape[1] == shape[2] else 0
        stride = _PROBE // side if side and _PROBE % side == 0 and _PROBE // side <= 32 else 0
        strides.append(stride or (strides[-1] if strides else 1))
    return strides


def _seams(network: keras.Model) -> list[bool]:
    """Whether every path from the image to the end goes through an operation's output: the seams between blocks.

    In the order of computation it is so if, right after it, nothing but its output is still needed.
    """
    config = {layer["name"]: layer for layer in network.get_config()["layers"]}
    inputs = [sorted(set(_sources(config[operation.name]["inbound_nodes"]))) for operation in network.operations]
    readers: dict[str, int] = {}
    for sources in inputs:
        for source in sources:
            readers[source] = readers.get(source, 0) + 1
    needed: dict[str, int] = {}
    seams = []
    for operation, sources in zip(network.operations, inputs, strict=True):
        for source in sources:
            needed[source] -= 1
            if not needed[source]:
                del needed[source]
        seams.append(not needed)
        if readers.get(operation.name):
            needed[operation.name] = readers[operation.name]
    return seams


def _sources(nodes: Any) -> list[str]:
    """The operations whose outputs one of a functional model's config reads."""
    if isinstance(nodes, dict):
        history = nodes.get("keras_history")
        return [history[0]] if history else [name for value in nodes.values() for name in _sources(value)]
    if isinstance(nodes, list | tuple):
        return [name for value in nodes for name in _sources(value)]
    return []


def _end_of_stride(stride: int, network: keras.Model, shapes: list[tuple[int, ...]], seams: list[bool]) -> int | None:
    """The place of the operation that ends the last block of a stride; None if no seam has that stride."""
    operations = network.operations
    side = _PROBE // stride
    places = [i for i, shape in enumerate(shapes) if shape[1:-1] == (side, side) and seams[i]]
    merges = [n for n, i in enumerate(places) if type(operations[i]).__name__ in ("Add", "Concatenate")]
    if not merges:
        return max(places, key=lambda i: (-shapes[i][-1], i), default=None)
    end = merges[-1]
    while end + 1 < len(places) and type(operations[places[end + 1]]).__name__ in ("Activation", "ReLU"):
        end += 1
    return places[end]


def _stages(strides: list[int], levels: dict[str, int], has_weights: list[bool]) -> list[int]:
    """The stage of every operation up to the last feature map.

    The stem is all before stride 4. Of a network that divides by four at once, it is the first layer with weights.
    """
    ends = {index: int(level[1:]) for level, index in levels.items()}
    first = min(ends.values())
    stem_end = next((i for i, stride in enumerate(strides) if stride >= 4), 0)
    if not any(has_weights[:stem_end]):
        stem_end = has_weights.index(True) + 1
    stage = first
    stages: list[int] = []
    for index in range(max(ends) + 1):
        stages.append(1 if index < stem_end else stage)
        stage = ends.get(index, stage - 1) + 1
    return stages
