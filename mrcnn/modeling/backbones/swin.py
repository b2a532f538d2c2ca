"""Swin Transformers T, S, B, L: attention in windows of 7 x 7 cells, which every other block shifts by half a window.

Ref: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, arXiv 2103.14030, section 3. As in its
detectors, maps are padded to whole windows and each stage's map passes a layer norm of its own.
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
from mrcnn.modeling.initializers import first_kernel
from mrcnn.modeling.layers import CellDense, exact_gelu
from mrcnn.modeling.normalize import NormKind
from mrcnn.ops.windows import from_windows, pad_to_multiple, to_windows
from mrcnn.structures.tensors import Shape, Tensor, known_sizes

_MAX_BLOCKS, _MAX_WIDTH, _MAX_WINDOW, _MAX_RATIO = 64, 1024, 64, 16  # a config comes from a file as well
_PATCH = 4
_OTHER_REGION = -100.0  # added to the score of a pair of cells that are no neighbors, as in the published code
_SIZES: dict[tuple[tuple[int, ...], tuple[int, ...], int], str] = {
    ((2, 2, 6, 2), (3, 6, 12, 24), 96): "T",
    ((2, 2, 18, 2), (3, 6, 12, 24), 96): "S",
    ((2, 2, 18, 2), (4, 8, 16, 32), 128): "B",
    ((2, 2, 18, 2), (6, 12, 24, 48), 192): "L",
}


@dataclasses.dataclass(frozen=True)
class SwinConfig(BackboneConfig):
    """Configuration of a Swin Transformer; the defaults are those of Swin-T.

    Example:
        >>> SwinConfig(depths=(2, 2, 18, 2)).title
        'Swin S'
    """

    norm: NormKind = "none"  # there is no batch norm in it
    epsilon: float = 1e-5  # of the layer norms
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks of each of the four stages
    num_heads: tuple[int, ...] = (3, 6, 12, 24)  # of the attention in each
    width: int = 96  # channels of the first stage, doubled with each that follows
    window: int = 7  # side of a window, cells
    mlp_ratio: int = 4  # channels between a block's two dense layers, in parts of its own
    # Probability that what the last block adds is left out of an image in training; of earlier ones in proportion.
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if len(self.depths) != 4 or len(self.num_heads) != 4:
            raise ConfigError(
                f"backbone: expected four depths and four num_heads, got {self.depths} and {self.num_heads}"
            )
        for name, values, most in (
            ("depths", self.depths, _MAX_BLOCKS),
            ("width", (self.width,), _MAX_WIDTH),
            ("window", (self.window,), _MAX_WINDOW),
            ("mlp_ratio", (self.mlp_ratio,), _MAX_RATIO),
        ):
            if not all(1 <= value <= most for value in values):
                raise ConfigError(f"backbone.{name}: expected 1 to {most}, got {getattr(self, name)}")
        widths = tuple(self.channels.values())
        if not all(n >= 1 and width % n == 0 for n, width in zip(self.num_heads, widths, strict=True)):
            raise ConfigError(f"backbone.num_heads: expected divisors of the channels {widths}, got {self.num_heads}")
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"backbone.drop_path: expected a number from 0 to below 1, got {self.drop_path}")
        if self.norm != "none":
            raise ConfigError(f'backbone.norm: a Swin has layer norms, expected "none", got {self.norm!r}')

    @property
    def title(self) -> str:
        """E.g. "Swin T"; with other depths, heads or width these numbers."""
        name = _SIZES.get((self.depths, self.num_heads, self.width), f"{self.depths} {self.num_heads} {self.width}")
        return f"Swin {name}" + (f" window {self.window}" if self.window != 7 else "")

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name c2..c5."""
        return {level: self.width * 2**i for i, level in enumerate(LEVELS)}

    def build(self, name: str = "backbone") -> keras.Model:
        """The network: images [B, H, W, 3] -> {"c2": ..., "c5": ...}; see `BackboneConfig.build`.

        H and W are any: zeros are added below and at the right where a stride or a window does not fit.
        """
        image = keras.Input((None, None, len(self.pixel_norm.mean)), name="image")
        x = PadToMultiple(_PATCH, name="stem_pad")(image)
        stem = keras.layers.Conv2D(self.width, _PATCH, _PATCH, kernel_initializer=_kernel(), name="stem_conv")
        x = self._norm("stem_norm")(stem(x))
        features: dict[str, Any] = {}
        rates = iter(np.linspace(0.0, self.drop_path, sum(self.depths)).tolist())
        for stage, (depth, num_heads) in enumerate(zip(self.depths, self.num_heads, strict=True), start=2):
            width = self.channels[f"c{stage}"]
            if stage > 2:
                x = MergeCells(name=f"stage{stage}_down_merge")(x)
                x = self._norm(f"stage{stage}_down_norm")(x)
                x = _dense(width, f"stage{stage}_down_reduce", use_bias=False)(x)
            for block in range(depth):
                shift = self.window // 2 if block % 2 else 0
                x = self._block(x, width, num_heads, shift, next(rates), f"stage{stage}_block{block + 1}")
            features[f"c{stage}"] = self._norm(f"stage{stage}_out_norm")(x)
        model = keras.Model(image, features, name=name)
        freeze_stages(model, self)
        return model

    def _norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(epsilon=self.epsilon, name=name)

    def _block(self, x: Any, width: int, num_heads: int, shift: int, rate: float, name: str) -> Any:
        """x + attention(norm(x)), then x + mlp(norm(x)). Ref: section 3.2, equation 3."""
        y = self._norm(f"{name}_norm1")(x)
        y = WindowAttention(num_heads, self.window, shift, name=f"{name}_attention")(y)
        x = add_residual(x, y, rate, f"{name}_attention")
        y = self._norm(f"{name}_norm2")(x)
        y = _dense(self.mlp_ratio * width, f"{name}_expand", activation=exact_gelu)(y)
        y = _dense(width, f"{name}_project")(y)
        return add_residual(x, y, rate, f"{name}_mlp")


def _kernel() -> keras.initializers.Initializer:
    return first_kernel(keras.initializers.TruncatedNormal(stddev=0.02))


def _dense(width: int, name: str, **arguments: Any) -> keras.layers.Layer:
    return CellDense(width, kernel_initializer=_kernel(), name=name, **arguments)


@keras.saving.register_keras_serializable("mrcnn")
class PadToMultiple(keras.layers.Layer):
    """Zeros below and at the right of a map, up to a multiple of a number of cells.

    Args:
        multiple: of height and width.
    """

    def __init__(self, multiple: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H rounded up, W rounded up, C]."""
        return pad_to_multiple(inputs, self.multiple)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input with its sides rounded up."""
        batch, *sides, channels = input_shape
        height, width = (None if side is None else -(-side // self.multiple) * self.multiple for side in sides)
        return batch, height, width, channels

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("mrcnn")
class MergeCells(keras.layers.Layer):
    """The channels of each 2 x 2 cells side by side, row by row; zeros stand in for cells beyond the map.

    The order of the four is this package's; weights made elsewhere have another one. Ref: section 3.1, patch merging.
    """

    def call(self, inputs: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), 4 C]."""
        return tf.nn.space_to_depth(pad_to_multiple(inputs, 2), 2)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Half the sides, four times the channels."""
        batch, *sides, channels = input_shape
        height, width = (None if side is None else -(-side // 2) for side in sides)
        return batch, height, width, None if channels is None else 4 * channels


@keras.saving.register_keras_serializable("mrcnn")
class WindowAttention(keras.layers.Layer):
    """Multi-head attention among the cells of each window, with a bias for each relative position.

    The map is padded below and at the right to whole windows with zeros, which take part like cells. With a shift the
    windows begin that many cells further down and to the right; the strips that this leaves over at the two borders are
    put together to windows of cells from both, where only cells of one strip see each other.

    Its weights are `qkv` (queries, keys, values, each of all heads), `project`, and `position_bias` f32[(2 window -
    1)^2, heads], whose row is that of (dy, dx), each from -(window - 1) to window - 1, dx fastest.

    Args:
        num_heads: heads; must divide the channels.
        window: side of a window, cells.
        shift: cells; 0: none.

    Ref: arXiv 2103.14030, section 3.2 and figure 4.
    """

    def __init__(self, num_heads: int, window: int = 7, shift: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= shift < window:
            raise ValueError(f"WindowAttention: expected a shift from 0 to below {window}, got {shift}")
        self.num_heads, self.window, self.shift = num_heads, window, shift

    def build(self, input_shape: Shape) -> None:
        """Create the two dense layers and the bias of positions."""
        (channels,) = known_sizes(input_shape[-1:])
        if channels % self.num_heads:
            raise ValueError(f"WindowAttention: {self.num_heads} heads do not divide the {channels} channels")
        self.channels = channels
        self.qkv = _dense(3 * channels, "qkv", dtype=self.dtype_policy)
        self.project = _dense(channels, "project", dtype=self.dtype_policy)
        for layer in (self.qkv, self.project):
            layer.build((None, None, channels))
        rows = (2 * self.window - 1) ** 2
        self.position_bias = self.add_weight(
            name="position_bias", shape=(rows, self.num_heads), initializer=_kernel(), autocast=False
        )

    def call(self, inputs: Tensor) -> Tensor:
        """[B, H, W, channels] -> same shape."""
        side, cells, heads = self.window, self.window**2, self.num_heads
        depth = self.channels // heads
        x = _roll(pad_to_multiple(inputs, side), self.shift)
        shape = tf.shape(x)
        batch, rows, columns = shape[0], shape[1] // side, shape[2] // side
        number = batch * rows * columns
        x = tf.reshape(to_windows(x, side), [number, cells, self.channels])
        qkv = tf.reshape(self.qkv(x), [number, cells, 3, heads, depth])
        q, k, v = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))  # each [number, heads, cells, depth]
        scores = tf.matmul(q * tf.cast(depth**-0.5, q.dtype), k, transpose_b=True)  # [number, heads, cells, cells]
        scores = tf.cast(scores, tf.float32) + self._bias()
        if self.shift:
            apart = self._apart(rows, columns)[tf.newaxis, :, tf.newaxis]  # [1, rows * columns, 1, cells, cells]
            scores = tf.reshape(scores, [batch, rows * columns, heads, cells, cells]) + apart
            scores = tf.reshape(scores, [number, heads, cells, cells])
        y = tf.matmul(tf.cast(tf.nn.softmax(scores), v.dtype), v)  # [number, heads, cells, depth]
        y = self.project(tf.reshape(tf.transpose(y, [0, 2, 1, 3]), [number, cells, self.channels]))
        y = from_windows(tf.reshape(y, [number, side, side, self.channels]), batch, shape[1], shape[2])
        y = _unroll(y, self.shift)[:, : tf.shape(inputs)[1], : tf.shape(inputs)[2]]
        return tf.ensure_shape(y, inputs.shape)

    def _bias(self) -> Tensor:
        """f32[heads, cells, cells], of each pair of cells by their relative position."""
        y, x = np.divmod(np.arange(self.window**2), self.window)
        dy, dx = (a[:, None] - a + self.window - 1 for a in (y, x))
        table = tf.transpose(tf.convert_to_tensor(self.position_bias))
        return tf.gather(table, dy * (2 * self.window - 1) + dx, axis=1)

    def _apart(self, rows: Tensor, columns: Tensor) -> Tensor:
        """f32[rows * columns, cells, cells], what is added to the score of two cells: 0, or much below where a shift
        brought them into one window from both ends of the map."""

        def strips(windows: Tensor) -> Tensor:  # i32[windows, side], which part of the map a row of cells is of
            size = windows * self.window
            at = tf.range(size)
            part = tf.cast(at >= size - self.window, tf.int32) + tf.cast(at >= size - self.shift, tf.int32)
            return tf.reshape(part, [windows, self.window])

        part = 3 * strips(rows)[:, tf.newaxis, :, tf.newaxis] + strips(columns)[tf.newaxis, :, tf.newaxis, :]
        part = tf.reshape(part, [rows * columns, self.window**2])
        return tf.where(part[:, :, tf.newaxis] == part[:, tf.newaxis], 0.0, _OTHER_REGION)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "num_heads": self.num_heads, "window": self.window, "shift": self.shift}


def _roll(x: Tensor, shift: int) -> Tensor:
    """The first rows and columns put behind the others; of slices, for which every format has operators."""
    if not shift:
        return x
    x = tf.concat([x[:, shift:], x[:, :shift]], 1)
    return tf.concat([x[:, :, shift:], x[:, :, :shift]], 2)


def _unroll(x: Tensor, shift: int) -> Tensor:
    """`_roll` undone."""
    if not shift:
        return x
    x = tf.concat([x[:, -shift:], x[:, :-shift]], 1)
    return tf.concat([x[:, :, -shift:], x[:, :, :-shift]], 2)
