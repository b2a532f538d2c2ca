"""Layers that several components are built of: convolution, norm and activation, for maps and for RoIs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from mrcnn.modeling.initializers import fan_out_initializer, first_kernel
from mrcnn.modeling.normalize import FrozenBatchNorm, NormKind, make_norm
from mrcnn.ops.classes import known_shape
from mrcnn.ops.convolution import conv2d
from mrcnn.ops.custom_gradient import custom_gradient
from mrcnn.structures.tensors import Shape, known_sizes


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """0 below -3, 1 above 3, a line between. Ref: Searching for MobileNetV3, section 5.2."""
    return tf.nn.relu6(x + 3.0) / 6.0


_ACTIVATIONS = {
    None: tf.identity,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.nn.sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
}


@keras.saving.register_keras_serializable("mrcnn", name="exact_gelu")
def exact_gelu(x: tf.Tensor) -> tf.Tensor:
    """x times the probability that a normal variable is below x; not its approximation by tanh.

    Args:
        x: any float tensor.

    Returns:
        Same shape and dtype.

    Ref: Gaussian Error Linear Units, arXiv 1606.08415, section 2.

    Example:
        >>> exact_gelu(tf.constant([0.0, 1.0])).numpy().round(4).tolist()
        [0.0, 0.8413000106811523]
    """
    return keras.ops.gelu(x, approximate=False)


@keras.saving.register_keras_serializable("mrcnn")
class CellDense(keras.layers.Dense):
    """Keras' dense layer on the channels of each cell, as one product of matrices with the bias beside it.

    In this form TensorFlow computes product, bias and GELU in one pass (oneDNN), of bfloat16 in a third of the time.
    Weights, numbers and config are those of `keras.layers.Dense`.

    Example:
        >>> CellDense(5)(tf.zeros([1, 2, 3, 4])).shape.as_list()
        [1, 2, 3, 5]
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[..., in] -> [..., units]."""
        *cells, channels = known_shape(inputs)
        x = tf.matmul(tf.reshape(inputs, [-1, channels]), tf.convert_to_tensor(self.kernel))
        if self.bias is not None:
            x = tf.nn.bias_add(x, tf.convert_to_tensor(self.bias))
        x = tf.reshape(self.activation(x), [*cells, self.units])
        return tf.ensure_shape(x, [*inputs.shape[:-1], self.units])


@keras.saving.register_keras_serializable("mrcnn")
class ConvNorm(keras.layers.Layer):
    """Convolution, then norm, then activation.

    With frozen batch norm the scale is folded into the kernel: one pass over the feature map less in each direction,
    the same function and the same gradient. A bias exists only where there is no norm.

    Args:
        filters: output channels; ignored when `depthwise`.
        kernel_size: side of the kernel.
        stride: step in both directions.
        padding: "symmetric" pads (kernel_size - 1) / 2 on every side as Caffe and PyTorch do; "same" is TensorFlow's
            rule, which at stride 2 may pad less before than after.
        depthwise: one filter per input channel.
        groups: channels are split into this many groups that do not see each other. Ref: Aggregated Residual
            Transformations for Deep Neural Networks, section 3.3.
        dilation: cells between the kernel's taps; more than 1 goes with stride 1 only.
        norm, epsilon, momentum: see `make_norm`.
        activation: None, "relu", "relu6", "sigmoid", "hard_sigmoid" or "hard_swish".
        kernel_initializer: name, config or instance of a Keras initializer.
    """

    def __init__(
        self,
        filters: int | None,
        kernel_size: int = 1,
        stride: int = 1,
        *,
        padding: Literal["symmetric", "same"] = "symmetric",
        depthwise: bool = False,
        groups: int = 1,
        dilation: int = 1,
        norm: NormKind = "none",
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        activation: str | None = None,
        kernel_initializer: Any = "he_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (filters is None) != depthwise:
            raise ValueError("ConvNorm: filters is needed for a convolution and None for a depthwise one")
        if groups < 1 or (groups > 1 and (filters is None or filters % groups)):
            raise ValueError(f"ConvNorm: expected groups to divide the {filters} filters, got {groups}")
        if dilation < 1 or (dilation > 1 and (depthwise or stride > 1)):
            raise ValueError(f"ConvNorm: dilation {dilation} goes with stride 1 and not with depthwise")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"ConvNorm: unknown activation {activation!r}")
        self.filters, self.kernel_size, self.stride, self.padding = filters, kernel_size, stride, padding
        self.depthwise, self.activation = depthwise, activation
        self.groups, self.dilation = groups, dilation
        self.norm_kind, self.epsilon, self.momentum = norm, epsilon, momentum
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.norm: keras.layers.Layer | None = None

    def build(self, input_shape: Shape) -> None:
        """Create the kernel and the norm's or the bias' vectors.

        The kernel is [k, k, in / groups, out], or [k, k, in, 1] when depthwise.
        """
        (channels,), k = known_sizes(input_shape[-1:]), self.kernel_size
        if channels % self.groups:
            raise ValueError(f"ConvNorm: {self.groups} groups do not divide the {channels} channels that come in")
        shape = (k, k, channels // self.groups, self.filters or 1)
        # autocast off: folding the norm happens in float32, then the product is cast.
        initializer = first_kernel(self.kernel_initializer)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=initializer, autocast=False)
        outputs = channels if self.filters is None else self.filters
        self.norm = make_norm(self.norm_kind, self.epsilon, "norm", self.momentum, self.dtype_policy, outputs)
        self.bias = None
        if self.norm is None:
            self.bias = self.add_weight(name="bias", shape=(outputs,), initializer="zeros")
        else:
            self.norm.build((*input_shape[:-1], outputs))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), out]."""
        return self.apply_with(lambda kernel: self._convolve(inputs, kernel), inputs.dtype, training)

    def apply_with(
        self, convolve: Callable[[tf.Tensor], tf.Tensor], dtype: tf.DType, training: bool | None
    ) -> tf.Tensor:
        """Norm and activation of what `convolve` makes of the kernel in `dtype`, which may hold the norm's scale."""
        kernel = tf.convert_to_tensor(self.kernel)
        shift = None
        if isinstance(self.norm, FrozenBatchNorm):
            scale, shift = self.norm.scale_shift()
            kernel = kernel * (scale[:, None] if self.depthwise else scale)
        outputs = convolve(tf.cast(kernel, dtype))
        if shift is not None:
            outputs = tf.nn.bias_add(outputs, tf.cast(shift, outputs.dtype))
        elif self.norm is None:
            outputs = tf.nn.bias_add(outputs, tf.cast(self.bias, outputs.dtype))
        elif self.norm_kind in ("gn", "ln"):
            outputs = self.norm(outputs)
        else:
            outputs = self.norm(outputs, training=training)
        return _ACTIVATIONS[self.activation](outputs)

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        """The convolution alone, [B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), out]."""
        return self._convolve(inputs, tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype))

    def _convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if inputs.shape[0] == 0:  # outside of a graph TensorFlow gives of nothing the shape that came in
            return self._convolve(tf.pad(inputs, [[0, 1], [0, 0], [0, 0], [0, 0]]), kernel)[:0]
        padding: Any = "SAME"
        if self.padding == "symmetric" and self.stride > 1 and self.kernel_size > 1:
            side = [(self.kernel_size - 1) // 2] * 2
            padding = [[0, 0], side, side, [0, 0]]
        if self.depthwise and padding != "SAME":
            # TensorFlow 2.21 aborts the process when it optimizes a graph with such padding in the operation itself.
            inputs, padding = tf.pad(inputs, padding), "VALID"
        if self.depthwise:
            if padding == "SAME" and self.kernel_size > 3:
                return _large_depthwise(inputs, kernel, stride=self.stride)
            return tf.nn.depthwise_conv2d(inputs, kernel, [1, self.stride, self.stride, 1], padding)
        return conv2d(inputs, kernel, self.stride, padding, self.groups, self.dilation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """[B, ceil(H / stride), ceil(W / stride), out]."""
        batch, height, width, channels = input_shape
        height, width = (None if side is None else -(-side // self.stride) for side in (height, width))
        return batch, height, width, channels if self.depthwise else self.filters

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "depthwise": self.depthwise,
            "groups": self.groups,
            "dilation": self.dilation,
            "norm": self.norm_kind,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "activation": self.activation,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@custom_gradient
def _large_depthwise(inputs: tf.Tensor, kernel: tf.Tensor, *, stride: int) -> tuple[tf.Tensor, Any]:
    """Depthwise convolution with SAME padding whose kernel gradient takes a quicker way on the CPU.

    oneDNN, which TensorFlow uses for SAME and VALID, takes twice as long as TensorFlow's own code for the kernel
    gradient at 5x5 (2.8 to 7.6 ms against 1.1 to 3.7 ms per layer of EfficientNet-Lite0 at 4 x 320 x 320, 2 cores),
    while it is quicker for 3x3 and for the input gradient. EXPLICIT padding is left to TensorFlow's own code.
    """
    strides = [1, stride, stride, 1]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        to_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=strides, padding="SAME"
        )
        sides = [[0, 0]]
        for axis in (1, 2):  # what SAME pads; tensors where the size is open
            total = (tf.shape(upstream)[axis] - 1) * stride + kernel.shape[0] - tf.shape(inputs)[axis]
            total = tf.maximum(total, 0)
            sides.append([total // 2, total - total // 2])
        to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=tf.pad(inputs, [*sides, [0, 0]]),
            filter_sizes=tf.shape(kernel),
            out_backprop=upstream,
            strides=strides,
            padding="EXPLICIT",
            explicit_paddings=[0] * 8,
        )
        return to_inputs, to_kernel

    return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME"), gradient


def norm_of_rois(norm: keras.layers.Layer, x: tf.Tensor, valid: tf.Tensor, training: bool | None) -> tf.Tensor:
    """Applies a normalization layer to RoIs; batch statistics are those of the valid RoIs.

    Args:
        norm: any layer of `make_norm`.
        x: [N, ..., channels].
        valid: bool[N]; padded entries hold no image and would drag the statistics towards it.
        training: see `RoiHead.call`.

    Returns:
        [N, ..., channels] in the dtype of `x`.

    Empty: without any valid RoI the moving statistics stay as they are.
    """
    if not isinstance(norm, keras.layers.BatchNormalization):
        return norm(x)
    if not (training and norm.trainable):
        return norm(x, training=False)
    inputs = tf.cast(x, tf.float32)
    counted = tf.reshape(valid, [-1, *[1] * (len(x.shape) - 1)])
    replica = tf.distribute.get_replica_context()

    def total(values: tf.Tensor) -> tf.Tensor:
        # In two steps, as on the CPU TensorFlow sums in one running float32: RoIs are many, their bins few.
        per_roi = tf.reduce_sum(tf.where(counted, values, 0.0), list(range(1, len(x.shape) - 1)))  # [N, channels]
        own = tf.reduce_sum(per_roi, 0)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, own) if norm.synchronized and replica else own

    count = total(tf.ones_like(inputs))  # [channels]
    mean = total(inputs) / tf.maximum(count, 1.0)
    variance = total(tf.square(inputs - mean)) / tf.maximum(count, 1.0)
    for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
        moving.assign(tf.where(count > 0.0, norm.momentum * moving + (1.0 - norm.momentum) * value, moving))
    outputs = tf.nn.batch_normalization(inputs, mean, variance, norm.beta, norm.gamma, norm.epsilon)
    return tf.cast(outputs, x.dtype)


class RoiConv(ConvNorm):
    """A 3x3 convolution with norm and ReLU on RoIs."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, valid: tf.Tensor | None = None) -> tf.Tensor:
        """[N, h, w, in] -> [N, h, w, out]; `valid` bool[N], see `norm_of_rois`; None: all are."""
        if valid is None or not isinstance(self.norm, keras.layers.BatchNormalization):
            return super().call(inputs, training=training)
        outputs = self._convolve(inputs, tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype))
        return tf.nn.relu(norm_of_rois(self.norm, outputs, valid, training))


class ConvStack(keras.layers.Layer):
    """3x3 convolutions with ReLU, as the mask and keypoint heads and deep box heads use.

    Args:
        filters: output channels of each convolution; may be empty.
        norm: see `make_norm`; "none" gives the convolutions a bias.
        epsilon: of the norm.
    """

    def __init__(self, filters: Sequence[int], norm: NormKind = "none", epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convs = [
            RoiConv(
                f,
                3,
                norm=norm,
                epsilon=epsilon,
                activation="relu",
                kernel_initializer=fan_out_initializer(),
                name=f"conv{i}",
            )
            for i, f in enumerate(filters, start=1)
        ]

    def build(self, input_shape: Shape) -> None:
        """Create all weights."""
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[N, h, w, in] -> [N, h, w, filters[-1]]; `valid` bool[N], see `norm_of_rois`."""
        for conv in self.convs:
            x = conv(x, training=training, valid=valid)
        return x

    def compute_output_shape(self, input_shape: Shape, *_: Any) -> Shape:
        """[N, h, w, filters[-1]]."""
        for conv in self.convs:
            input_shape = conv.compute_output_shape(input_shape)
        return input_shape


def float32_output(x: tf.Tensor) -> tf.Tensor:
    """Predictions leave a component in float32, whatever the precision policy."""
    return tf.cast(x, tf.float32)
