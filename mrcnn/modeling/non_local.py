"""Non-local block: every place of a map looks at all others. Ref: Non-local Neural Networks, arXiv 1711.07971."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import keras
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.modeling.initializers import normal_initializer
from mrcnn.modeling.layers import ConvNorm
from mrcnn.ops.attention import attend
from mrcnn.ops.classes import known_shape
from mrcnn.structures.tensors import Shape, known_sizes


@dataclasses.dataclass(frozen=True)
class NonLocalConfig(BaseConfig):
    """Configuration of a non-local block with the embedded Gaussian; defaults are the paper's."""

    reduction: int = 2  # the block works on the channels that come in divided by this. Ref: section 3.3
    subsample: bool = True  # keys and values are max-pooled 2 x 2: a quarter of the products. Ref: section 3.3
    scaled: bool = False  # products are divided by the square root of their length, as in the authors' code
    # At the block's end, its scale 0 at first: a new block changes nothing, and fits into a network that is trained
    # already. "eval_bn" is a scale and a shift that train, without statistics of a batch; "none": the last kernel is 0
    # at first. Ref: section 4.1
    norm: Literal["eval_bn", "bn", "sync_bn", "gn", "none"] = "eval_bn"
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ConfigError(f"non_local.reduction: expected at least 1, got {self.reduction}")


@keras.saving.register_keras_serializable("mrcnn")
class NonLocalBlock(keras.layers.Layer):
    """x + norm(W softmax(theta(x) phi(x)) g(x)), with 1x1 convolutions theta, phi, g and W.

    Memory grows with the map, not with its square, see `ops.attention.attend`.

    Args:
        config: of the block.

    Raises:
        ConfigError: `reduction` does not divide the channels that come in.
    """

    def __init__(self, config: NonLocalConfig | dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = NonLocalConfig.from_dict(config) if isinstance(config, dict) else config or NonLocalConfig()

    def build(self, input_shape: Shape) -> None:
        """Create all weights."""
        config, (channels,) = self.config, known_sizes(input_shape[-1:])
        if channels % config.reduction:
            raise ConfigError(f"non_local.reduction: {config.reduction} does not divide the {channels} channels")
        width = channels // config.reduction

        def convolution(filters: int, name: str, **options: Any) -> ConvNorm:
            options = {"kernel_initializer": normal_initializer(0.01), **options}
            return ConvNorm(filters, name=name, dtype=self.dtype_policy, **options)

        self.theta, self.phi, self.g = (convolution(width, name) for name in ("theta", "phi", "g"))
        first = {"kernel_initializer": "zeros"} if config.norm == "none" else {}
        self.out = convolution(channels, "out", norm=config.norm, epsilon=config.epsilon, **first)
        for conv in (self.theta, self.phi, self.g):
            conv.build(input_shape)
        self.out.build((*input_shape[:-1], width))
        if self.out.norm is not None:
            self.out.norm.gamma.assign(tf.zeros(self.out.norm.gamma.shape))
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[B, H, W, channels] -> [B, H, W, channels]."""
        theta, phi, g = self.theta(inputs), self.phi(inputs), self.g(inputs)
        if self.config.subsample:
            phi, g = _pooled(phi), _pooled(g)
        if self.config.scaled:
            theta *= theta.shape[-1] ** -0.5
        mixed = tf.reshape(attend(*(_flat(x) for x in (theta, phi, g))), tf.shape(theta))
        mixed = tf.ensure_shape(mixed, theta.shape)
        return inputs + self.out(mixed, training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "config": self.config.to_dict()}


def _flat(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, H * W, C]."""
    batch, height, width, channels = known_shape(x)
    return tf.reshape(x, [batch, height * width, channels])


def _pooled(x: tf.Tensor) -> tf.Tensor:
    """The maximum of every 2 x 2 cells, [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C]; fewer at an odd edge.

    Not tf.nn.max_pool2d, which in a graph aborts the process where there is no RoI.
    """
    batch, height, width, channels = known_shape(x)
    padded = tf.pad(x, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]], constant_values=x.dtype.min)
    cells = tf.reshape(padded, [batch, -(-height // 2), 2, -(-width // 2), 2, channels])
    return tf.reduce_max(cells, [2, 4])
