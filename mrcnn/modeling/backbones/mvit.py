"""Multiscale Vision Transformers MViTv2: attention whose queries, keys and values are pooled, in four stages.

Ref: MViTv2: Improved Multiscale Vision Transformers for Classification and Detection, arXiv 2112.01526, sections 3 and
4; as in its detectors, most blocks see windows ("hybrid window attention") and each stage's map passes a layer norm of
its own.
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
from mrcnn.modeling.layers import CellDense, ConvNorm, exact_gelu
from mrcnn.modeling.normalize import NormKind
from mrcnn.modeling.relative_attention import PoolingAttention, transformer_kernel
from mrcnn.structures.tensors import Shape, Tensor

_MAX_BLOCKS, _MAX_WIDTH, _MAX_SIDE, _MAX_RATIO = 128, 1024, 1024, 16  # a config comes from a file as well
_SIZES: dict[tuple[tuple[int, ...], int, int], str] = {
    ((1, 2, 5, 2), 96, 1): "T",
    ((1, 2, 11, 2), 96, 1): "S",
    ((2, 3, 16, 3), 96, 1): "B",
    ((2, 6, 36, 4), 144, 2): "L",
    ((4, 8, 60, 8), 192, 3): "H",
}


@dataclasses.dataclass(frozen=True)
class MViTConfig(BackboneConfig):
    """Configuration of an MViTv2; the defaults are those of MViTv2-T.

    Example:
        >>> MViTConfig(depths=(2, 3, 16, 3)).title
        'MViTv2 B'
    """

    norm: NormKind = "none"  # there is no batch norm in it
    epsilon: float = 1e-6  # of the layer norms
    depths: tuple[int, ...] = (1, 2, 5, 2)  # blocks of each of the four stages
    width: int = 96  # channels of the first stage, doubled with each that follows
    num_heads: int = 1  # of the attention in the first stage, doubled likewise
    mlp_ratio: int = 4  # channels between a block's two dense layers, in parts of its own
    kv_stride: int = 4  # of the pooled keys and values in the first stage, halved with each that follows
    window: int = 56  # side of a window in the first stage, cells, halved likewise; a multiple of 8
    grid: int = 56  # side of the first stage's map that relative positions are stored for, interpolated to others
    # Probability that what the last block adds is left out of an image in training; of earlier ones in proportion.
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if len(self.depths) != 4:
            raise ConfigError(f"backbone.depths: expected four numbers, got {self.depths}")
        for name, values, most in (
            ("depths", self.depths, _MAX_BLOCKS),
            ("width", (self.width,), _MAX_WIDTH),
            ("window", (self.window,), _MAX_SIDE),
            ("grid", (self.grid,), _MAX_SIDE),
            ("mlp_ratio", (self.mlp_ratio,), _MAX_RATIO),
        ):
            if not all(1 <= value <= most for value in values):
                raise ConfigError(f"backbone.{name}: expected 1 to {most}, got {getattr(self, name)}")
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ConfigError(
                f"backbone.num_heads: expected a divisor of backbone.width {self.width}, got {self.num_heads}"
            )
        if self.kv_stride not in (1, 2, 4, 8):
            raise ConfigError(f"backbone.kv_stride: expected 1, 2, 4 or 8, got {self.kv_stride}")
        if self.window % 8 or self.grid % 8:
            raise ConfigError(
                f"backbone: expected multiples of 8 as window and grid, got {self.window} and {self.grid}"
            )
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"backbone.drop_path: expected a number from 0 to below 1, got {self.drop_path}")
        if self.norm != "none":
            raise ConfigError(f'backbone.norm: an MViT has layer norms, expected "none", got {self.norm!r}')

    @property
    def title(self) -> str:
        """E.g. "MViTv2 T"; with other depths, width or heads these numbers."""
        sizes = (self.depths, self.width, self.num_heads)
        return f"MViTv2 {_SIZES.get(sizes, f'{self.depths} {self.width} {self.num_heads}')}"

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name c2..c5."""
        return {level: self.width * 2**i for i, level in enumerate(LEVELS)}

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`."""
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = ConvNorm(self.width, 7, 4, kernel_initializer=transformer_kernel(), name="stem_conv")(image)
        features: dict[str, Any] = {}
        rates = iter(np.linspace(0.0, self.drop_path, sum(self.depths)).tolist())
        for stage, depth in enumerate(self.depths):
            for block in range(depth):
                x = self._block(x, stage, block, next(rates))
            features[LEVELS[stage]] = self._norm(f"stage{stage + 2}_out_norm")(x)
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model

    def attention(self, stage: int, block: int, name: str) -> PoolingAttention:
        """The attention of a block, both numbers from 0.

        The first block of a stage halves the map and sees windows of the stage before; the last one of all stages but
        the first is global.
        """
        is_first, is_last = stage > 0 and block == 0, block == self.depths[stage] - 1
        q_stride = 2 if is_first else 1
        kv_stride = max(self.kv_stride >> stage, 1) * (2 if is_last and stage in (1, 2) else 1)
        before = stage - is_first  # whose map comes in
        side = self.grid >> before
        return PoolingAttention(
            self.width << stage,
            self.num_heads << stage,
            q_stride,
            kv_stride,
            window=0 if is_last and stage else self.window >> before,
            grid=max(side // q_stride, side // kv_stride),
            epsilon=self.epsilon,
            name=f"{name}_attention",
        )

    def _block(self, x: Any, stage: int, block: int, rate: float) -> Any:
        """x + attention(norm(x)), then x + mlp(norm(x)), the first x pooled and widened where the attention is."""
        name, width = f"stage{stage + 2}_block{block + 1}", self.width << stage
        normed = self._norm(f"{name}_norm1")(x)
        if stage and block == 0:
            x = _dense(width, f"{name}_skip")(normed)
            x = HalveMap(name=f"{name}_skip_pool")(x)
        x = add_residual(x, self.attention(stage, block, name)(normed), rate, f"{name}_attention")
        y = self._norm(f"{name}_norm2")(x)
        y = _dense(self.mlp_ratio * width, f"{name}_expand", exact_gelu)(y)
        return add_residual(x, _dense(width, f"{name}_project")(y), rate, f"{name}_mlp")

    def _norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(epsilon=self.epsilon, name=name)


def _dense(width: int, name: str, activation: Any = None) -> keras.layers.Layer:
    return CellDense(width, activation, kernel_initializer=transformer_kernel(), name=name)


@keras.saving.register_keras_serializable("mrcnn")
class HalveMap(keras.layers.Layer):
    """The maximum of 3 x 3 cells around every second one."""

    def call(self, inputs: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C]."""
        around = [[0, 0], [1, 1], [1, 1], [0, 0]]
        padded = tf.pad(inputs, around, constant_values=inputs.dtype.min)
        return tf.nn.max_pool2d(padded, 3, 2, "VALID")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Half the sides."""
        batch, *sides, channels = input_shape
        height, width = (None if side is None else -(-side // 2) for side in sides)
        return batch, height, width, channels
