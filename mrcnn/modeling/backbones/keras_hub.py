"""Networks of KerasHub as backbones: every `FeaturePyramidBackbone` the installed keras-hub has.

Convolutional networks take images of any size. Those that take square images of one size only (MiT, DINOv2, DINOv3) are
given images padded to that size, and what lies in the padding is cut off their feature maps. Plain vision transformers
(DINOv2, DINOv3) have one map, of stride 16 or resized to it; a pyramid is computed of their last map alone.
Ref: Exploring Plain Vision Transformer Backbones for Object Detection, arXiv 2203.16527, section 3.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from pathlib import Path
from typing import Any

import keras

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones import graph
from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.backbones.fixed_side import CutToImage, PadToSide
from mrcnn.modeling.backbones.keras_hub_preset import as_json, has_objects, network_class, read_preset
from mrcnn.modeling.limits import counted_apart
from mrcnn.modeling.normalize import NormKind, PixelNorm

_STRIDE = 16  # of the only map of a plain vision transformer
_PYRAMID = "pyramid_"  # how layers begin that compute a pyramid of it


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
            network, pixels = read_preset(self.preset)
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
        return cls(network=as_json(type(network).__name__, network.get_config()), **fields)

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
        chosen = network_class(str(described.get("class")), "network")
        arguments = described.get("config")
        if not isinstance(arguments, dict) or has_objects(arguments):
            raise ConfigError('network: expected plain arguments of the network\'s class under "config"')
        return _of_any_size(chosen, arguments, len(self.pixel_norm.mean), self.side)

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


def _of_any_size(chosen: Any, arguments: dict[str, Any], channels: int, side: int) -> keras.Model:
    """A network for images of any size; where it takes one size only, for those of `side`."""
    names = inspect.signature(chosen).parameters
    shape = "image_shape" if "image_shape" in names else "input_shape"
    patch = arguments.get("patch_size")
    if patch is None:
        try:
            return chosen(**arguments, **{shape: (None, None, channels)})
        except TypeError:  # arithmetic with a side that is None
            if not side:
                raise ConfigError(_needs_side(chosen)) from None
            return chosen(**arguments, **{shape: (side, side, channels)})
    if not side:
        raise ConfigError(_needs_side(chosen))
    fixed = side // _STRIDE * int(patch)
    return chosen(**arguments, **{shape: (fixed, fixed, channels)})


def _needs_side(network_class: Any) -> str:
    return (
        f"side: KerasHub's {network_class.__name__} takes square images of one size only; expected that size,"
        " a multiple of 32 no smaller than model.input.long_side"
    )
