"""Multi-head attention with decomposed relative positions, plain and pooled, on a whole map or in its windows."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mrcnn.modeling.initializers import first_kernel
from mrcnn.modeling.layers import CellDense, ConvNorm
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
        layer = CellDense(width, kernel_initializer=transformer_kernel(), name=name, dtype=self.dtype_policy)
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


@keras.saving.register_keras_serializable("mrcnn")
class PoolingAttention(keras.layers.Layer):
    """Attention of pooled queries to pooled keys and values, of a window or of the map.

    Queries, keys and values of each head pass a depthwise 3x3 convolution with a stride and a layer norm; the pooled
    queries are added to what they attend to ("residual pooling"). Windows are those of the map that comes in: each has
    window / q_stride queries and window / kv_stride keys a side; maps are padded below and at the right with zeros.

    Its weights are `qkv`, `project`, `queries_depthwise`, `keys_depthwise` and `values_depthwise`, each with a norm,
    and the relative positions `rows` and `columns`, f32[2 grid - 1, width / heads], interpolated linearly to other
    sizes.

    Args:
        width: channels that come out.
        num_heads: heads; must divide the width.
        q_stride, kv_stride: of the pooled queries, and of keys and values.
        window: side of a window, cells, a multiple of both strides; 0: no windows.
        grid: side of the larger pooled map that relative positions are stored for.
        epsilon: of the norms.

    Ref: MViTv2, arXiv 2112.01526, section 4.1, figure 2.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        q_stride: int = 1,
        kv_stride: int = 1,
        *,
        window: int = 0,
        grid: int,
        epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"PoolingAttention: {num_heads} heads do not divide the {width} channels")
        if window % q_stride or window % kv_stride:
            raise ValueError(f"PoolingAttention: expected strides that divide the window {window}")
        self.width, self.num_heads, self.q_stride, self.kv_stride = width, num_heads, q_stride, kv_stride
        self.window, self.grid, self.epsilon = window, grid, epsilon

    def build(self, input_shape: Shape) -> None:
        """Create dense layers, convolutions and relative positions."""
        (channels,), depth = known_sizes(input_shape[-1:]), self.width // self.num_heads
        self.qkv = self._dense(channels, 3 * self.width, "qkv")
        self.project = self._dense(self.width, self.width, "project")
        self.queries_depthwise = self._pool(depth, self.q_stride, "queries_depthwise")
        self.keys_depthwise = self._pool(depth, self.kv_stride, "keys_depthwise")
        self.values_depthwise = self._pool(depth, self.kv_stride, "values_depthwise")
        for name in ("rows", "columns"):
            shape = (2 * self.grid - 1, depth)
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros", autocast=False))

    def _dense(self, channels: int, width: int, name: str) -> keras.layers.Layer:
        layer = CellDense(width, kernel_initializer=transformer_kernel(), name=name, dtype=self.dtype_policy)
        layer.build((None, None, None, channels))
        return layer

    def _pool(self, depth: int, stride: int, name: str) -> ConvNorm:
        layer = ConvNorm(
            None, 3, stride, depthwise=True, norm="ln", epsilon=self.epsilon, name=name, dtype=self.dtype_policy
        )
        layer.build((None, None, None, depth))
        return layer

    def call(self, inputs: Tensor) -> Tensor:
        """[B, H, W, channels] -> [B, ceil(H / q_stride), ceil(W / q_stride), width]."""
        batch, height, width, _ = known_shape(inputs)
        heads, depth = self.num_heads, self.width // self.num_heads
        qkv = tf.reshape(self.qkv(inputs), [batch, height, width, 3, heads, depth])
        qkv = tf.reshape(tf.transpose(qkv, [3, 0, 4, 1, 2, 5]), [3, batch * heads, height, width, depth])
        q, k, v = tf.unstack(qkv)
        q, k, v = self.queries_depthwise(q), self.keys_depthwise(k), self.values_depthwise(v)
        number, rows, columns, _ = known_shape(q)
        if self.window:
            k, v = (self._windows(x, self.window // self.kv_stride) for x in (k, v))
            side = self.window // self.q_stride
            padded = pad_to_multiple(q, side)
            size = known_shape(padded)
            y = from_windows(self._attend(to_windows(padded, side), k, v), number, size[1], size[2])
            y = y[:, :rows, :columns]
        else:
            y = self._attend(q, k, v)
        y = tf.transpose(tf.reshape(y + q, [batch, heads, rows, columns, depth]), [0, 2, 3, 1, 4])
        y = self.project(tf.reshape(y, [batch, rows, columns, self.width]))
        return tf.ensure_shape(y, self.compute_output_shape(inputs.shape))

    def _windows(self, x: Tensor, side: int) -> Tensor:
        return to_windows(pad_to_multiple(x, side), side)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries [N, h, w, depth] to keys and values [N, h', w', depth]; shape of the queries."""
        number, height, width, depth = known_shape(q)
        _, rows, columns, _ = known_shape(k)
        by_row = position_bias(q, tf.convert_to_tensor(self.rows), rows)
        turned = position_bias(tf.transpose(q, [0, 2, 1, 3]), tf.convert_to_tensor(self.columns), columns)
        places = [number, height * width, depth]
        y = attend_map(
            tf.reshape(q * tf.cast(depth**-0.5, q.dtype), places),
            tf.reshape(k, [number, rows * columns, depth]),
            tf.reshape(v, [number, rows * columns, depth]),
            tf.reshape(by_row, [*places[:2], rows]),
            tf.reshape(tf.transpose(turned, [0, 2, 1, 3]), [*places[:2], columns]),
        )
        return tf.reshape(y, [number, height, width, depth])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Sides divided by the stride of the queries, as many channels as the width."""
        batch, *sides, _ = input_shape
        height, width = (None if side is None else -(-side // self.q_stride) for side in sides)
        return batch, height, width, self.width

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        names = ("width", "num_heads", "q_stride", "kv_stride", "window", "grid", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
