"""What every backbone has in common: its settings, and the convolution + norm + activation unit."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal

import keras
import tensorflow as tf

from mrcnn.modeling.initializers import first_kernel
from mrcnn.modeling.normalize import FrozenBatchNorm, NormKind, PixelNorm, make_norm
from mrcnn.ops.convolution import conv2d
from mrcnn.settings import Settings

LEVELS = ("c2", "c3", "c4", "c5")
_ACTIVATIONS = {None: tf.identity, "relu": tf.nn.relu, "relu6": tf.nn.relu6}


@dataclasses.dataclass(frozen=True)
class BackboneConfig(Settings):
    """Settings shared by all backbones.

    A backbone's layers are named "stem_..." (stage 1) and "stage2_..." to "stage5_..."; stage n yields feature map
    cn at stride 2^n.
    """

    norm: NormKind = "frozen_bn"
    epsilon: float = 1e-5  # of the norm
    freeze_at: int = 0  # stages up to this one do not train (1: the stem); 0: all train
    pixel_norm: PixelNorm = PixelNorm()

    @property
    def title(self) -> str:
        """What the network is called, with its size, e.g. "ResNet 50"."""
        return type(self).__name__.removesuffix("Config")

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature map, by name: c2..c5, or fewer."""
        raise NotImplementedError

    @property
    def strides(self) -> dict[str, int]:
        """Pixels per cell of each feature map, by name c2..c5."""
        return {level: 2 ** int(level[1:]) for level in LEVELS}

    def build(self, name: str = "backbone") -> keras.Model:
        """The backbone: pictures [B, H, W, 3] -> {"c2": [B, ceil(H/4), ceil(W/4), channels["c2"]], ... "c5"}."""
        raise NotImplementedError


def stage_of(layer_name: str) -> int | None:
    """The stage a layer belongs to by its name: 1 for "stem_conv1", 3 for "stage3_block2_conv1", else None."""
    match = re.match(r"stage(\d+)_", layer_name)
    if match:
        return int(match.group(1))
    return 1 if layer_name.startswith("stem_") else None


def freeze_stages(model: keras.Model, freeze_at: int) -> None:
    """Stop training of all layers up to and including stage `freeze_at`; 0 changes nothing."""
    for layer in model.layers:
        stage = stage_of(layer.name)
        if stage is not None and stage <= freeze_at:
            layer.trainable = False


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
        activation: None, "relu" or "relu6".
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
        if groups < 1 or (groups > 1 and (depthwise or filters % groups)):
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

    def build(self, input_shape: tuple) -> None:
        """Create the kernel and the norm's or the bias' vectors.

        The kernel is [k, k, in / groups, out], or [k, k, in, 1] when depthwise.
        """
        channels, k = input_shape[-1], self.kernel_size
        if channels % self.groups:
            raise ValueError(f"ConvNorm: {self.groups} groups do not divide the {channels} channels that come in")
        shape = (k, k, channels // self.groups, 1 if self.depthwise else self.filters)
        # autocast off: folding the norm happens in float32, then the product is cast.
        initializer = first_kernel(self.kernel_initializer)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=initializer, autocast=False)
        outputs = channels if self.depthwise else self.filters
        self.norm = make_norm(self.norm_kind, self.epsilon, "norm", self.momentum, self.dtype_policy, outputs)
        self.bias = None
        if self.norm is None:
            self.bias = self.add_weight(name="bias", shape=(outputs,), initializer="zeros")
        else:
            self.norm.build((*input_shape[:-1], outputs))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), out]."""
        kernel = tf.convert_to_tensor(self.kernel)
        folded = isinstance(self.norm, FrozenBatchNorm)
        if folded:
            scale, shift = self.norm.scale_shift()
            kernel = kernel * (scale[:, None] if self.depthwise else scale)
        outputs = self._convolve(inputs, tf.cast(kernel, inputs.dtype))
        if folded:
            outputs = tf.nn.bias_add(outputs, tf.cast(shift, outputs.dtype))
        elif self.norm is None:
            outputs = tf.nn.bias_add(outputs, tf.cast(self.bias, outputs.dtype))
        elif self.norm_kind == "gn":
            outputs = self.norm(outputs)
        else:
            outputs = self.norm(outputs, training=training)
        return _ACTIVATIONS[self.activation](outputs)

    def convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        """The convolution alone, [B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), out]."""
        return self._convolve(inputs, tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype))

    def _convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        padding: Any = "SAME"
        if self.padding == "symmetric" and self.stride > 1 and self.kernel_size > 1:
            side = [(self.kernel_size - 1) // 2] * 2
            padding = [[0, 0], side, side, [0, 0]]
        if self.depthwise:
            if padding == "SAME" and self.kernel_size > 3:
                return _large_depthwise(inputs, kernel, self.stride)
            return tf.nn.depthwise_conv2d(inputs, kernel, [1, self.stride, self.stride, 1], padding)
        return conv2d(inputs, kernel, self.stride, padding, self.groups, self.dilation)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
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


def _large_depthwise(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Depthwise convolution with SAME padding whose kernel gradient takes a quicker way on the CPU.

    oneDNN, which TensorFlow uses for SAME and VALID, takes twice as long as TensorFlow's own code for the kernel
    gradient at 5x5 (2.8 to 7.6 ms against 1.1 to 3.7 ms per layer of EfficientNet-Lite0 at 4 x 320 x 320, 2 cores),
    while it is quicker for 3x3 and for the input gradient. EXPLICIT padding is left to TensorFlow's own code.
    """
    strides = [1, stride, stride, 1]

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
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

    return convolve(inputs, kernel)
