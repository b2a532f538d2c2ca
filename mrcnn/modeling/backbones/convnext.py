"""ConvNeXt T, S, B, L: convolutions of 7x7, one channel at a time, between layer norms and wide 1x1 layers.

Ref: A ConvNet for the 2020s, arXiv 2201.03545, section 2 and table 9; mmdetection's detectors put a layer norm behind
each stage.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import LEVELS, BackboneConfig, freeze_stages
from mrcnn.modeling.drop_path import add_residual
from mrcnn.modeling.layers import CellDense, exact_gelu
from mrcnn.modeling.normalize import NormKind

_MAX_BLOCKS, _MAX_WIDTH = 64, 4096  # a config comes from a file as well


@dataclasses.dataclass(frozen=True)
class ConvNeXtConfig(BackboneConfig):
    """Configuration of a ConvNeXt; the defaults are those of ConvNeXt-T.

    Example:
        >>> ConvNeXtConfig(depths=(3, 3, 27, 3)).title
        'ConvNeXt S'
    """

    norm: NormKind = "none"  # there is no batch norm in it
    epsilon: float = 1e-6  # of the layer norms
    depths: tuple[int, ...] = (3, 3, 9, 3)  # blocks of each of the four stages
    widths: tuple[int, ...] = (96, 192, 384, 768)  # channels of each
    layer_scale: float = 1e-6  # initial factor of what a block adds
    # Probability that what the last block adds is left out of an image in training; of earlier ones in proportion.
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if len(self.depths) != 4 or len(self.widths) != 4:
            raise ConfigError(f"backbone: expected four depths and four widths, got {self.depths} and {self.widths}")
        if not all(1 <= n <= _MAX_BLOCKS for n in self.depths) or not all(1 <= n <= _MAX_WIDTH for n in self.widths):
            raise ConfigError(
                f"backbone: expected depths from 1 to {_MAX_BLOCKS} and widths from 1 to {_MAX_WIDTH}, got"
                f" {self.depths} and {self.widths}"
            )
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"backbone.drop_path: expected a number from 0 to below 1, got {self.drop_path}")
        if self.norm != "none":
            raise ConfigError(f'backbone.norm: a ConvNeXt has layer norms, expected "none", got {self.norm!r}')

    @property
    def title(self) -> str:
        """E.g. "ConvNeXt T"; with other depths or widths these numbers."""
        sizes = {
            ("T", (3, 3, 9, 3), 96),
            ("S", (3, 3, 27, 3), 96),
            ("B", (3, 3, 27, 3), 128),
            ("L", (3, 3, 27, 3), 192),
        }
        known: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
            (depths, tuple(width * 2**i for i in range(4))): name for name, depths, width in sizes
        }
        return f"ConvNeXt {known.get((self.depths, self.widths), f'{self.depths} {self.widths}')}"

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name c2..c5."""
        return dict(zip(LEVELS, self.widths, strict=True))

    def layer_rates(self, decay: float) -> tuple[tuple[str, float], ...]:
        """Factors on the learning rate, for `train.layer_rates`: the further from the end, the smaller.

        The first two stages are a group of layers each, the third has groups of three blocks, the fourth is the last;
        what joins two stages goes with the one that follows, but before stage 4 with its first group. Norms of the
        feature maps have the whole rate.

        Args:
            decay: the factor from one group to the one before.

        Returns:
            (start of a path, factor).

        Ref: arXiv 2201.03545, appendix A.3; github.com/facebookresearch/ConvNeXt, object_detection.

        Example:
            >>> dict(ConvNeXtConfig().layer_rates(0.5))["backbone/stage4_block9_"]
            0.25
        """
        groups = -(-self.depths[2] // 3)
        last = 3 + groups  # number of the last group, 0 being the stem
        numbers = {"stem_": 0, "stage2_": 1, "stage3_": 2, "stage4_": 3, "stage5_": last}
        numbers |= {f"stage4_block{block + 1}_": 3 + block // 3 for block in range(self.depths[2])}
        rates = {start: decay ** (last + 1 - number) for start, number in numbers.items()}
        rates |= {f"stage{stage}_out_norm": 1.0 for stage in (2, 3, 4, 5)}
        return tuple((f"backbone/{start}", rate) for start, rate in rates.items())

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`.

        A side that is no multiple of 32 loses what is left of it at each stride.
        """
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = _conv(self.widths[0], 4, "stem_conv")(image)
        x = self._norm("stem_norm")(x)
        features = {}
        rates = iter(np.linspace(0.0, self.drop_path, sum(self.depths)).tolist())
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=2):
            if stage > 2:
                x = self._norm(f"stage{stage}_down_norm")(x)
                x = _conv(width, 2, f"stage{stage}_down_conv")(x)
            for block in range(1, depth + 1):
                x = self._block(x, width, next(rates), f"stage{stage}_block{block}")
            features[f"c{stage}"] = self._norm(f"stage{stage}_out_norm")(x)
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model

    def _norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(epsilon=self.epsilon, name=name)

    def _block(self, x: Any, width: int, rate: float, name: str) -> Any:
        """7x7 per channel, norm, 1x1 to four times the channels, GELU, 1x1 back, scale, plus the input."""
        y = keras.layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise")(x)
        y = self._norm(f"{name}_norm")(y)
        initializer = [keras.initializers.TruncatedNormal(stddev=0.02) for _ in range(2)]
        y = CellDense(4 * width, exact_gelu, kernel_initializer=initializer[0], name=f"{name}_expand")(y)
        y = CellDense(width, kernel_initializer=initializer[1], name=f"{name}_project")(y)
        y = LayerScale(self.layer_scale, name=f"{name}_scale")(y)
        return add_residual(x, y, rate, name)


def _conv(filters: int, side: int, name: str) -> keras.layers.Layer:
    """Cells of side x side pixels that do not overlap."""
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    return keras.layers.Conv2D(filters, side, side, kernel_initializer=initializer, name=name)


@keras.saving.register_keras_serializable("mrcnn")
class LayerScale(keras.layers.Layer):
    """A factor for each channel. Ref: Going deeper with Image Transformers, arXiv 2103.17239, section 2.

    Args:
        initial: value of all factors before training.
    """

    def __init__(self, initial: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Create the factors, f32[channels]."""
        self.gamma = self.add_weight(
            name="gamma", shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.initial)
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """[..., channels] -> same shape."""
        return inputs * tf.cast(self.gamma, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "initial": self.initial}
