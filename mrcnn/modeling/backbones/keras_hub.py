"""Networks of KerasHub as backbones: every `FeaturePyramidBackbone` the installed keras-hub has.

Convolutional networks take images of any size. Those that take square images of one size only (MiT, DINOv2, DINOv3) are
given images padded to that size, and what lies in the padding is cut off their feature maps. Plain vision transformers
(DINOv2, DINOv3) have one map, of stride 16 or resized to it; a pyramid is computed of their last map alone.
Ref: Exploring Plain Vision Transformer Backbones for Object Detection, arXiv 2203.16527, section 3.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.errors import InputError
from mrcnn.modeling.backbones import graph
from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.limits import counted_apart
from mrcnn.modeling.normalize import NormKind, PixelNorm

_STRIDE = 16  # of the only map of a plain vision transformer
_PYRAMID = "pyramid_"  # how layers begin that compute a pyramid of it
_NOT_STORED = ("name", "trainable", "dtype", "data_format", "image_shape", "input_shape")


@dataclasses.dataclass(frozen=True)
class KerasHubConfig(BackboneConfig):
    """Configuration of a network of KerasHub; needs `pip install "mrcnn-keras[keras-hub]"`.

    A preset is read once, when the config is made, for its network and its pixels: of a folder without a download.
    From then on the config holds the network itself, and a file with it is loaded where the preset is not.

    Attributes:
        preset: one of `keras_hub.models.FeaturePyramidBackbone.presets`, "resnet_50_imagenet", or a folder that
            `save_to_preset` wrote. May be left out where `network` is given.
        network: JSON of the network's class and arguments, as `from_network` writes it; "": the preset's.
        side: pixels a side of the largest image, for networks that take one size only, a multiple of 32; 0: none of
            those. `model.input.long_side` has to be no larger.
        norm: of the network's batch norm, if it has any: "frozen_bn", "bn", "sync_bn" or "gn"; a network with layer
            norm keeps it.
        pixel_norm: None: the preset's own; ImageNet's where it states none.

    Raises:
        ConfigError: keras-hub is not installed, no such preset, a preset of another kind of network, or a network
            without feature maps of the strides 4, 8, 16 and 32.
    """

    preset: str = ""
    network: str = ""
    side: int = 0
    norm: NormKind = "frozen_bn"
    epsilon: float = 0.0  # of the batch norm; 0: the network's own
    pixel_norm: PixelNorm = None  # type: ignore[assignment]  # replaced in __post_init__

    def __post_init__(self) -> None:
        if self.norm == "none":
            raise ConfigError("norm: expected frozen_bn, bn, sync_bn or gn, a network's batch norm cannot be left out")
        if self.side % 32 or self.side < 0:
            raise ConfigError(f"side: expected a multiple of 32, got {self.side}")
        pixels = None
        if not self.network:
            network, pixels = _read_preset(self.preset)
            object.__setattr__(self, "network", network)
        if self.pixel_norm is None:
            object.__setattr__(self, "pixel_norm", pixels or PixelNorm())

    @classmethod
    def from_network(cls, network: keras.Model, **fields: Any) -> KerasHubConfig:
        """The config of a backbone of KerasHub that is there already; its weights are not part of it.

        Args:
            network: a `keras_hub.models.FeaturePyramidBackbone`.
            fields: others of the config, e.g. `norm="bn"`.
        """
        return cls(network=_as_json(type(network).__name__, network.get_config()), **fields)

    @property
    def title(self) -> str:
        """The preset's name, or the network's class."""
        return Path(self.preset).name or str(json.loads(self.network)["class"])

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name."""
        return dict(self._anatomy().channels)

    def stage_of(self, layer_name: str) -> int | None:
        """The stage of a layer: n for what only c(n) and those after it are computed from; 1 for the stem.

        All blocks of a plain vision transformer are stage 2, the pyramid computed of them stage 5.
        """
        return self._anatomy().stages.get(layer_name)

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, channels] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        with counted_apart():
            maps = self._maps()
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = image
        side = maps.input.shape[1]
        if side is not None:
            x = PadToSide(self.side, name="pad_to_side")(x)
            if side != self.side:
                x = keras.layers.Resizing(side, side, name="resize")(x)
        features = graph.copied_onto(x, maps, self.norm, self.epsilon)
        if side is not None:
            features = {
                level: CutToImage(2 ** int(level[1:]), name=f"cut_{level}")([value, image])
                for level, value in features.items()
            }
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model

    def hub_network(self) -> keras.Model:
        """KerasHub's own network of this config, with random weights, its input of any size or of the fixed one."""
        described = json.loads(self.network)
        network_class = _network_class(str(described.get("class")), "network")
        arguments = described.get("config")
        if not isinstance(arguments, dict) or _has_objects(arguments):
            raise ConfigError('network: expected plain arguments of the network\'s class under "config"')
        return _of_any_size(network_class, arguments, len(self.pixel_norm.mean), self.side)

    def _maps(self) -> keras.Model:
        """From the network's own input to its feature maps c2..c5, under KerasHub's names."""
        network = self.hub_network()
        image = keras.tree.flatten(network.input)[0]
        outputs = list(network.pyramid_outputs.values())
        if outputs and all(len(value.shape) == 3 for value in outputs):
            return keras.Model(image, _pyramid(network.output, self.side // _STRIDE))
        levels = graph.levels_by_stride(image, outputs, f"KerasHub's {self.title}")
        return keras.Model(image, {level: levels[level] for level in LEVELS})

    def _anatomy(self) -> graph.Anatomy:
        return _anatomy(self)


@functools.lru_cache(maxsize=32)
def _anatomy(config: KerasHubConfig) -> graph.Anatomy:
    with counted_apart():
        maps = config._maps()
    anatomy = graph.anatomy_of(maps)
    pyramid = [name for name in anatomy.stages if name.startswith(_PYRAMID)]
    if pyramid:
        names = graph.stable_names(maps)
        first = next(names[layer.name] for layer in maps.layers if layer.weights)
        stages = {name: 1 if name == first else 5 if name in pyramid else 2 for name in anatomy.stages}
        anatomy = dataclasses.replace(anatomy, stages=stages)
    return anatomy


def _pyramid(tokens: keras.KerasTensor, cells: int) -> dict[str, keras.KerasTensor]:
    """Maps of strides 4 to 32 of a plain vision transformer's last tokens [B, others + cells * cells, channels].

    Ref: arXiv 2203.16527, section 3 ("simple feature pyramid").
    """
    layers = keras.layers
    channels = int(tokens.shape[-1])
    others = int(tokens.shape[1]) - cells * cells  # class token, registers
    c4 = layers.Cropping1D((others, 0), name=f"{_PYRAMID}tokens")(tokens)
    c4 = layers.Reshape((cells, cells, channels), name=f"{_PYRAMID}c4")(c4)
    c3 = layers.Conv2DTranspose(channels // 2, 2, strides=2, name=f"{_PYRAMID}c3")(c4)
    c2 = layers.Conv2DTranspose(channels // 2, 2, strides=2, name=f"{_PYRAMID}c2_half")(c4)
    c2 = layers.LayerNormalization(epsilon=1e-6, name=f"{_PYRAMID}c2_norm")(c2)
    c2 = layers.Activation("gelu", name=f"{_PYRAMID}c2_gelu")(c2)
    c2 = layers.Conv2DTranspose(channels // 4, 2, strides=2, name=f"{_PYRAMID}c2")(c2)
    return {"c2": c2, "c3": c3, "c4": c4, "c5": layers.MaxPooling2D(2, name=f"{_PYRAMID}c5")(c4)}


def _of_any_size(network_class: Any, arguments: dict[str, Any], channels: int, side: int) -> keras.Model:
    """A network for images of any size; where it takes one size only, for those of `side`."""
    names = inspect.signature(network_class).parameters
    shape = "image_shape" if "image_shape" in names else "input_shape"
    patch = arguments.get("patch_size")
    if patch is None:
        try:
            return network_class(**arguments, **{shape: (None, None, channels)})
        except TypeError:  # arithmetic with a side that is None
            if not side:
                raise ConfigError(_needs_side(network_class)) from None
            return network_class(**arguments, **{shape: (side, side, channels)})
    if not side:
        raise ConfigError(_needs_side(network_class))
    fixed = side // _STRIDE * int(patch)
    return network_class(**arguments, **{shape: (fixed, fixed, channels)})


def _needs_side(network_class: Any) -> str:
    return (
        f"side: KerasHub's {network_class.__name__} takes square images of one size only; expected that size,"
        " a multiple of 32 no smaller than model.input.long_side"
    )


def library() -> Any:
    """The module keras_hub.

    Raises:
        ConfigError: it is not installed, or cannot be imported.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ConfigError(
            f'backbones of KerasHub need keras-hub: pip install "mrcnn-keras[keras-hub]" ({error})'
        ) from error
    return keras_hub


def _network_class(name: str, where: str) -> Any:
    """A class of `keras_hub.models` by its name."""
    models = library().models
    base = models.FeaturePyramidBackbone
    chosen = getattr(models, name, None)
    if not isinstance(chosen, type) or not issubclass(chosen, base) or chosen is base:
        known = [n for n, value in vars(models).items() if isinstance(value, type) and issubclass(value, base)]
        known = sorted(set(known) - {base.__name__})
        raise ConfigError(f"{where}: expected a network with a feature pyramid ({', '.join(known)}), got {name}")
    return chosen


def _read_preset(preset: str) -> tuple[str, PixelNorm | None]:
    """The network of a preset as JSON, and the pixels it was trained on if it states them."""
    folder = Path(preset)
    if preset and folder.is_dir():
        described = _json_of(folder / "config.json")
        name, arguments = described.get("class_name"), described.get("config")
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise ConfigError(f"{folder / 'config.json'}: expected class_name and config of a KerasHub network")
        _network_class(name, f"preset {preset}")
        return _as_json(name, arguments), _pixels_of_folder(folder)
    models = library().models
    presets = models.FeaturePyramidBackbone.presets
    if preset not in presets:
        other = preset in models.Backbone.presets
        what = "is of a network without a feature pyramid" if other else "is neither a preset of KerasHub nor a folder"
        raise ConfigError(f"preset: {preset!r} {what}; nearest of {len(presets)}: {_nearest(preset, presets)}")
    try:
        network = models.FeaturePyramidBackbone.from_preset(preset, load_weights=False)
        converter = library().layers.ImageConverter.from_preset(preset)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"preset {preset}: cannot be read: {type(error).__name__}: {reason}") from error
    return _as_json(type(network).__name__, network.get_config()), _pixels(converter.scale, converter.offset)


def _nearest(name: str, known: Iterable[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.0))


def _json_of(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected an object, got {type(value).__name__}")
    return value


def _as_json(name: str, arguments: dict[str, Any]) -> str:
    kept = {key: value for key, value in arguments.items() if key not in _NOT_STORED}
    if _has_objects(kept):
        raise ConfigError(f"KerasHub's {name} is made of other networks, which a backbone cannot be")
    return json.dumps({"class": name, "config": kept}, sort_keys=True)


def _has_objects(value: Any) -> bool:
    """Whether arguments hold descriptions of Python objects, which Keras would make."""
    if isinstance(value, dict):
        return "class_name" in value or any(map(_has_objects, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_objects, value))


def _pixels_of_folder(folder: Path) -> PixelNorm | None:
    for name, inner in (("image_converter.json", ()), ("preprocessor.json", ("config", "image_converter"))):
        if (folder / name).is_file():
            described: Any = _json_of(folder / name)
            for key in (*inner, "config"):
                described = described.get(key) if isinstance(described, dict) else None
            if isinstance(described, dict):
                return _pixels(described.get("scale"), described.get("offset"))
    return None


def _pixels(scale: Any, offset: Any) -> PixelNorm | None:
    """pixel * scale + offset as (pixel - mean) / std; None where nothing is stated."""
    if scale is None and offset is None:
        return None
    scales, offsets = (
        [float(default)] * 3
        if value is None
        else [float(v) for v in (value if isinstance(value, list | tuple) else [value] * 3)]
        for value, default in ((scale, 1.0), (offset, 0.0))
    )
    mean = tuple(-o / s for s, o in zip(scales, offsets, strict=True))
    return PixelNorm(mean=mean, std=tuple(1.0 / s for s in scales))


@keras.saving.register_keras_serializable("mrcnn")
class PadToSide(keras.layers.Layer):
    """Images [B, H, W, channels] padded with zeros, right and below, to [B, side, side, channels].

    Args:
        side: pixels; an image may not be larger.

    Raises:
        InputError: an image is larger; where its size is known only when the graph runs, TensorFlow's
            InvalidArgumentError.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """See the class."""
        known = [n for n in image.shape[1:3] if n is not None]
        message = f"the backbone takes images of at most {self.side} pixels a side (model.backbone.side)"
        if max(known, default=0) > self.side:
            raise InputError(f"{message}, got {list(image.shape[1:3])}")
        shape = tf.shape(image)
        with tf.control_dependencies([tf.debugging.assert_less_equal(shape[1:3], self.side, message=message)]):
            padded = tf.pad(image, [[0, 0], [0, self.side - shape[1]], [0, self.side - shape[2]], [0, 0]])
        return tf.ensure_shape(padded, [None, self.side, self.side, image.shape[-1]])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[B, side, side, channels]."""
        return (input_shape[0], self.side, self.side, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable("mrcnn")
class CutToImage(keras.layers.Layer):
    """[map [B, h, w, channels], image [B, H, W, c]] -> the map's part [B, ceil(H/stride), ceil(W/stride), channels].

    Args:
        stride: pixels per cell of the map.
    """

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """See the class."""
        value, image = inputs
        height, width = (-(-tf.shape(image)[axis] // self.stride) for axis in (1, 2))
        cut = value[:, :height, :width]
        return tf.ensure_shape(cut, self.compute_output_shape([value.shape, image.shape]))

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, ...]:
        """See the class; sides that are not known stay so."""
        value, image = input_shape
        height, width = (None if image[axis] is None else -(-image[axis] // self.stride) for axis in (1, 2))
        return (value[0], height, width, value[-1])

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "stride": self.stride}
