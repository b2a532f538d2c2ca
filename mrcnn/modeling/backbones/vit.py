"""Plain Vision Transformers B, L, H as backbones: one map of stride 16, attention in windows in most of the blocks.

Ref: Exploring Plain Vision Transformer Backbones for Object Detection (ViTDet), arXiv 2203.16527, section 3; An Image
is Worth 16x16 Words, arXiv 2010.11929, table 1.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import BackboneConfig, freeze_stages
from mrcnn.modeling.backbones.swin import PadToMultiple
from mrcnn.modeling.drop_path import add_residual
from mrcnn.modeling.layers import CellDense, ConvNorm, exact_gelu
from mrcnn.modeling.normalize import NormKind
from mrcnn.modeling.relative_attention import RelativeAttention, transformer_kernel
from mrcnn.ops.classes import known_shape
from mrcnn.ops.positions import resize_positions
from mrcnn.structures.tensors import Shape, Tensor, known_sizes

PATCH = 16
_LIMITS = {"depth": 128, "width": 8192, "window": 256, "grid": 1024, "position_grid": 1024, "mlp_ratio": 16}
_LEAST = {"window": 0, "grid": 0, "position_grid": 0}  # others: 1; a config comes from a file as well
_SIZES = {(12, 192, 3): "Ti", (12, 384, 6): "S", (12, 768, 12): "B", (24, 1024, 16): "L", (32, 1280, 16): "H"}


@dataclasses.dataclass(frozen=True)
class ViTConfig(BackboneConfig):
    """Configuration of a plain Vision Transformer; the defaults are those of ViTDet-B.

    Its only map is c4. For freezing its blocks count as stages 2 to 5, a quarter of them each; patches and absolute
    positions are stage 1.

    Example:
        >>> ViTConfig(depth=24, width=1024, num_heads=16, global_blocks=(5, 11, 17, 23)).title
        'ViT L'
    """

    norm: NormKind = "none"  # there is no batch norm in it
    epsilon: float = 1e-6  # of the layer norms
    depth: int = 12  # blocks
    width: int = 768  # channels
    num_heads: int = 12
    mlp_ratio: int = 4  # channels between a block's two dense layers, in parts of its own
    window: int = 14  # side of the windows of blocks that are not global, cells; 0: all blocks are global
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)  # counted from 0, whose attention sees the whole map
    # Side, in cells, of the map that global blocks store relative positions for, interpolated to other sizes of it; 0:
    # no block has relative positions.
    grid: int = 64
    position_grid: int = 14  # side of the map that absolute positions are stored for, in cells; 0: there are none
    # Probability that what the last block adds is left out of an image in training; of earlier ones in proportion.
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        for name, most in _LIMITS.items():
            least = _LEAST.get(name, 1)
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"backbone.{name}: expected {least} to {most}, got {getattr(self, name)}")
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ConfigError(
                f"backbone.num_heads: expected a divisor of backbone.width {self.width}, got {self.num_heads}"
            )
        if not all(0 <= block < self.depth for block in self.global_blocks):
            raise ConfigError(
                f"backbone.global_blocks: expected numbers below backbone.depth {self.depth}, got {self.global_blocks}"
            )
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"backbone.drop_path: expected a number from 0 to below 1, got {self.drop_path}")
        if self.norm != "none":
            raise ConfigError(f'backbone.norm: a ViT has layer norms, expected "none", got {self.norm!r}')

    @property
    def title(self) -> str:
        """E.g. "ViT B"; with another depth, width or number of heads these numbers."""
        sizes = (self.depth, self.width, self.num_heads)
        return f"ViT {_SIZES.get(sizes, 'x'.join(map(str, sizes)))}"

    @property
    def channels(self) -> dict[str, int]:
        """Channels of c4."""
        return {"c4": self.width}

    @property
    def strides(self) -> dict[str, int]:
        """16 pixels per cell of c4."""
        return {"c4": PATCH}

    def stage_of(self, layer_name: str) -> int | None:
        """See `BackboneConfig.stage_of`.

        Example:
            >>> [ViTConfig().stage_of(name) for name in ("stem_patches", "block1_norm1", "block12_expand")]
            [1, 2, 5]
        """
        match = re.match(r"block(\d+)_", layer_name)
        if match:
            return 2 + (int(match[1]) - 1) * 4 // self.depth
        return super().stage_of(layer_name)

    def layer_rates(self, decay: float) -> tuple[tuple[str, float], ...]:
        """Factors on the learning rate, for `train.layer_rates`: the further from the end, the smaller.

        Args:
            decay: the factor from one block to the one before.

        Returns:
            (start of a path, factor): patches and absolute positions first, then the blocks.

        Ref: BEiT, arXiv 2106.08254, appendix; ViTDet, arXiv 2203.16527, appendix A.2.

        Example:
            >>> ViTConfig(depth=2, global_blocks=()).layer_rates(0.5)
            (('backbone/stem_', 0.125), ('backbone/block1_', 0.25), ('backbone/block2_', 0.5))
        """
        names = ["backbone/stem_", *(f"backbone/block{number}_" for number in range(1, self.depth + 1))]
        return tuple((name, decay ** (self.depth + 1 - i)) for i, name in enumerate(names))

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c4": [B, ceil(H / 16), ceil(W / 16), width]}."""
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = PadToMultiple(PATCH, name="stem_pad")(image)
        x = ConvNorm(self.width, PATCH, PATCH, padding="same", kernel_initializer=_kernel(), name="stem_patches")(x)
        if self.position_grid:
            x = AbsolutePositions(self.position_grid, name="stem_positions")(x)
        rates = np.linspace(0.0, self.drop_path, self.depth).tolist()
        for block, rate in enumerate(rates):
            x = self._block(x, block, rate)
        model = keras.Model(image, {"c4": x}, name=name)
        freeze_stages(model, self)
        return model

    def _block(self, x: Any, block: int, rate: float) -> Any:
        """x + attention(norm(x)), then x + mlp(norm(x)). Ref: arXiv 2010.11929, equations 2 and 3."""
        name = f"block{block + 1}"
        window = 0 if block in self.global_blocks else self.window
        grid = (window or self.grid) if self.grid else 0
        y = self._norm(f"{name}_norm1")(x)
        y = RelativeAttention(self.num_heads, window, grid, name=f"{name}_attention")(y)
        x = add_residual(x, y, rate, f"{name}_attention")
        y = self._norm(f"{name}_norm2")(x)
        y = _dense(self.mlp_ratio * self.width, f"{name}_expand", exact_gelu)(y)
        return add_residual(x, _dense(self.width, f"{name}_project")(y), rate, f"{name}_mlp")

    def _norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(epsilon=self.epsilon, name=name)


_kernel = transformer_kernel


def _dense(width: int, name: str, activation: Any = None) -> keras.layers.Layer:
    return CellDense(width, activation, kernel_initializer=_kernel(), name=name)


@keras.saving.register_keras_serializable("mrcnn")
class AbsolutePositions(keras.layers.Layer):
    """Adds an embedding to each cell, interpolated bicubically where the map is of another size.

    Its weight is `embedding`, f32[grid, grid, channels].

    Args:
        grid: side of the map that embeddings are stored for, cells.
    """

    def __init__(self, grid: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = grid

    def build(self, input_shape: Shape) -> None:
        """Create the embeddings."""
        (channels,) = known_sizes(input_shape[-1:])
        self.embedding = self.add_weight(
            name="embedding", shape=(self.grid, self.grid, channels), initializer=_kernel(), autocast=False
        )

    def call(self, inputs: Tensor) -> Tensor:
        """[B, H, W, channels] -> same shape."""
        _, height, width, _ = known_shape(inputs)
        positions = resize_positions(tf.convert_to_tensor(self.embedding), height, width)
        return inputs + tf.cast(positions, inputs.dtype)[tf.newaxis]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "grid": self.grid}
