"""Stochastic depth: in training a block is left out of some images, the same ones for the same seeds.

Which ones is drawn from the seeds that a batch carries, as anchors and RoIs are, and not from a generator in the
layer: a run that resumes, and a batch that is dealt out to several devices, leaves out the same blocks.

Ref: Deep Networks with Stochastic Depth, arXiv 1603.09382, section 3.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from mrcnn.structures.tensors import Shape, Tensor

_STREAM = (0, -1)
"""Added to a seed: another stream than those of the RPN, the sampler and the heads."""
_draws: contextvars.ContextVar[Mapping[int, Tensor]] = contextvars.ContextVar("mrcnn_drop_path_draws")
"""Numbers from 0 to 1 for each image, by the id of the layer."""


@keras.saving.register_keras_serializable("mrcnn")
class DropPath(keras.layers.Layer):
    """What a block adds, multiplied by 0 for some images, and by 1 / (1 - rate) for the others.

    Outside of training, and outside of `drawn`, the layer hands on what it is given.

    Args:
        rate: probability of 0, from 0 to below 1.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"DropPath: expected a rate from 0 to below 1, got {rate}")
        self.rate = rate

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """[B, ...] -> same shape and dtype."""
        draw = _draws.get({}).get(id(self))
        if not training or draw is None:
            return inputs
        factor = tf.where(draw >= self.rate, 1.0 / (1.0 - self.rate), 0.0)  # [B]
        ones = [1] * (len(inputs.shape) - 1)
        return inputs * tf.cast(tf.reshape(factor, [-1, *ones]), inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "rate": self.rate}


def add_residual(x: Any, y: Any, rate: float, name: str) -> Any:
    """x + y of two outputs of Keras layers, y left out of some images in training.

    Args:
        x, y: [B, ...], of the same shape.
        rate: of `DropPath`; 0: y is never left out.
        name: what the names of the layers begin with.
    """
    if rate:
        y = DropPath(rate, name=f"{name}_drop")(y)
    return keras.layers.Add(name=f"{name}_add")([x, y])


def drop_paths(model: keras.Model) -> list[DropPath]:
    """The layers of a network that leave blocks out, in its order."""
    return [layer for layer in model.layers if isinstance(layer, DropPath)]


def draw(seed: Tensor, layers: int) -> Tensor:
    """A number from 0 to below 1 for each image and layer.

    Args:
        seed: i32[B, 2], of each image.
        layers: how many.

    Returns:
        f32[B, layers]; rows depend on their own seed only.

    Empty: B = 0 gives [0, layers].

    Example:
        >>> numbers = draw(tf.constant([[1, 2], [3, 4], [1, 2]]), 5).numpy()
        >>> numbers.shape, bool((numbers[0] == numbers[2]).all()), bool((numbers[0] == numbers[1]).any())
        ((3, 5), True, False)
    """

    def of_image(own: Tensor) -> Tensor:
        # Whole random bits, since XLA turns them into floats by another rule; 24 of them fit float32 exactly.
        bits = tf.random.stateless_uniform([layers], own, minval=None, maxval=None, dtype=tf.int32, alg="philox")
        return tf.cast(tf.bitwise.bitwise_and(bits, 0xFFFFFF), tf.float32) * 2.0**-24

    return tf.map_fn(of_image, seed + tf.constant(_STREAM), fn_output_signature=tf.TensorSpec([layers], tf.float32))


@contextlib.contextmanager
def drawn(layers: list[DropPath], numbers: Tensor) -> Iterator[None]:
    """Inside, the layers go by these numbers: what is below a layer's rate is left out.

    Args:
        layers: as `drop_paths` gives them.
        numbers: f32[B, number of layers].

    Example:
        >>> layer = DropPath(0.5)
        >>> with drawn([layer], tf.constant([[0.2], [0.9]])):
        ...     layer(tf.ones([2, 1]), training=True).numpy().tolist()
        [[0.0], [2.0]]
    """
    token = _draws.set({id(layer): numbers[:, i] for i, layer in enumerate(layers)})
    try:
        yield
    finally:
        _draws.reset(token)
