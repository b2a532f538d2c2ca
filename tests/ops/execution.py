"""The three ways TensorFlow runs a function."""

import numpy as np
import tensorflow as tf

from tests.tolerances import assert_close


def in_every_mode(function, *inputs, atol=None, xla=True):
    """Runs eagerly, in a graph of unknown shapes, and compiled by XLA; asserts equality, returns the eager result."""
    inputs = [tf.convert_to_tensor(x) for x in inputs]
    eager = function(*inputs)
    signature = [tf.TensorSpec([None] * x.shape.rank, x.dtype) for x in inputs]
    others = {"graph": tf.function(function, input_signature=signature)}
    if xla:
        others["XLA"] = tf.function(function, jit_compile=True)
    for mode, other in others.items():
        for a, b in zip(tf.nest.flatten(eager), tf.nest.flatten(other(*inputs)), strict=True):
            assert a.dtype == b.dtype, mode
            assert_close(b, a, atol, mode)
    return tf.nest.map_structure(lambda x: x.numpy(), eager)


def random_boxes(rng, n, extent=64.0, smallest=1.0, largest=40.0):
    """f32[n, 4] with corners around a square image."""
    center = rng.uniform(0, extent, (n, 2))
    half = rng.uniform(smallest, largest, (n, 2)) / 2
    return np.concatenate([center - half, center + half], axis=-1).astype(np.float32)
