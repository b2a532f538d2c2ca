"""Multi-head attention with decomposed relative positions, on a whole map or in each of its windows."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mrcnn.modeling.initializers import first_kernel
from mrcnn.ops.classes import known_shape
from mrcnn.ops.map_attention import attend_map
from mrcnn.ops.positions import relative_positions
from mrcnn.ops.windows import from_windows, pad_to_multiple, to_windows
from mrcnn.structures.tensors import Shape, Tensor, known_sizes


def transformer_kernel() -> keras.initializers.Initializer:
    """How dense layers of a transformer begin. Ref: BERT, arXiv 1810.04805, and all that followed."""
    return first_kernel(keras.initializers.TruncatedNormal(stddev=0.02))


def position_bias(queries: Tensor, table: Tensor, keys: Any) -> Tensor:
    """What the rows that two cells lie in add to their score.

    For columns, hand over queries with rows and columns changed over.

    Args:
        queries: [N, rows, columns, depth].
        table: f32[L, depth], see `relative_positions`.
        keys: rows of the map of keys; int or i32[].

    Returns:
        [N, rows, columns, keys] in the dtype of the queries.

    Ref: MViTv2, arXiv 2112.01526, equation 5.
    """
    number, rows, columns, depth = known_shape(queries)
    embeddings = tf.cast(relative_positions(table, rows, keys), queries.dtype)  # [rows, keys, depth]
    by_row = tf.reshape(tf.transpose(queries, [1, 0, 2, 3]), [rows, number * columns, depth])
    products = tf.matmul(by_row, embeddings, transpose_b=True)
    return tf.transpose(tf.reshape(products, [rows, number, columns, keys]), [1, 0, 2, 3])


@keras.saving.register_keras_serializable("mrcnn")
class RelativeAttention(keras.layers.Layer):
    """Attention of every cell to every other of its window, or of the map.

    A map is padded below and at the right to whole windows with zeros, which take part like cells.

    Its weights are `qkv` (queries, keys, values, each of all heads), `project`, and with `grid` the relative positions
    `rows` and `columns`, f32[2 grid - 1, channels / heads], from far below to far above the key; they are interpolated
    linearly to other sizes of the map.

    Args:
        num_heads: heads; must divide the channels.
        window: side of a window, cells; 0: no windows.
        grid: side of the map or window that relative positions are stored for; 0: there are none.

    Ref: Exploring Plain Vision Transformer Backbones for Object Detection, arXiv 2203.16527, section 3.
    """

    def __init__(self, num_heads: int, window: int = 0, grid: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_heads < 1 or window < 0 or grid < 0:
            raise ValueError(f"RelativeAttention: impossible sizes: {num_heads} heads, window {window}, grid {grid}")
        self.num_heads, self.window, self.grid = num_heads, window, grid

    def build(self, input_shape: Shape) -> None:
        """Create the two dense layers and the relative positions."""
        (channels,) = known_sizes(input_shape[-1:])
        if channels % self.num_heads:
            raise ValueError(f"RelativeAttention: {self.num_heads} heads do not divide the {channels} channels")
        self.channels = channels
        self.qkv = self._dense(3 * channels, "qkv")
        self.project = self._dense(channels, "project")
        shape = (2 * self.grid - 1, channels // self.num_heads)
        for name in ("rows", "columns") if self.grid else ():
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros", autocast=False))

    def _dense(self, width: int, name: str) -> keras.layers.Layer:
        layer = keras.layers.Dense(width, kernel_initializer=transformer_kernel(), name=name, dtype=self.dtype_policy)
        layer.build((None, None, None, self.channels))
        return layer

    def call(self, inputs: Tensor) -> Tensor:
        """[B, H, W, channels] -> same shape."""
        if not self.window:
            return tf.ensure_shape(self._attend(inputs), inputs.shape)
        batch, height, width, _ = known_shape(inputs)
        padded = pad_to_multiple(inputs, self.window)
        _, rows, columns, _ = known_shape(padded)
        y = from_windows(self._attend(to_windows(padded, self.window)), batch, rows, columns)
        return tf.ensure_shape(y[:, :height, :width], inputs.shape)

    def _attend(self, x: Tensor) -> Tensor:
        """[N, H, W, channels] -> same shape."""
        number, height, width, _ = known_shape(x)
        heads, depth, cells = self.num_heads, self.channels // self.num_heads, height * width
        qkv = tf.reshape(self.qkv(x), [number, cells, 3, heads, depth])
        qkv = tf.reshape(tf.transpose(qkv, [2, 0, 3, 1, 4]), [3, number * heads, cells, depth])
        q, k, v = tf.unstack(qkv)
        y = attend_map(q * tf.cast(depth**-0.5, q.dtype), k, v, *self._positions(q, height, width))
        y = tf.transpose(tf.reshape(y, [number, heads, cells, depth]), [0, 2, 1, 3])
        return self.project(tf.reshape(y, [number, height, width, self.channels]))

    def _positions(self, queries: Tensor, height: Any, width: Any) -> tuple[Tensor, Tensor]:
        """What is added to scores by row and by column: [N, H * W, H] and [N, H * W, W]."""
        number, cells, depth = known_shape(queries)
        if not self.grid:
            return tuple(tf.zeros([number, cells, side], queries.dtype) for side in (height, width))
        on_map = tf.reshape(queries, [number, height, width, depth])
        rows = position_bias(on_map, tf.convert_to_tensor(self.rows), height)
        turned = position_bias(tf.transpose(on_map, [0, 2, 1, 3]), tf.convert_to_tensor(self.columns), width)
        columns = tf.transpose(turned, [0, 2, 1, 3])
        return tf.reshape(rows, [number, cells, height]), tf.reshape(columns, [number, cells, width])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "num_heads": self.num_heads, "window": self.window, "grid": self.grid}
