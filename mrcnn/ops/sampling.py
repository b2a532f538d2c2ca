"""Sampling: which of the labeled boxes, and which classes, enter the losses."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from mrcnn.structures.tensors import Tensor


class SampledIndices(NamedTuple):
    """A fixed number of entries pointing into the labeled boxes, positives first."""

    index: Tensor  # i32[num], 0 in padded entries
    foreground: Tensor  # bool[num]
    valid: Tensor  # bool[num]


def sample_labels(labels: Tensor, num: int, positive_fraction: float, seed: Tensor) -> SampledIndices:
    """Draws at random, without replacement, at most `num` boxes with a bounded share of positives.

    Positives fill at most the first int(num * positive_fraction) entries; negatives fill those after the last
    positive. Entries for which there are not enough negatives stay invalid. Random keys and top_k keep all shapes
    static; compiles under XLA, with the same draw.

    Args:
        labels: i32[N], 1 positive, 0 negative, anything else is never drawn.
        num: entries of the result.
        positive_fraction: largest share of positives, 0 to 1.
        seed: i32[2], stateless seed; the same seed gives the same draw.

    Returns:
        `SampledIndices` of `num` entries.

    Empty: N < num, even N = 0, leaves the remaining entries invalid.

    Ref: Fast R-CNN, section 2.3.
    """
    max_positives = int(num * positive_fraction)
    # At least `num` candidates, so that top_k is defined whatever N is.
    labels = tf.pad(tf.cast(labels, tf.int32), [[0, num]], constant_values=-1)
    # Whole random bits, since XLA turns them into floats in [0, 1) by another rule; 24 of them fit float32 exactly.
    bits = tf.random.stateless_uniform(tf.shape(labels), seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")
    keys = tf.cast(tf.bitwise.bitwise_and(bits, 0xFFFFFF), tf.float32)
    is_positive, is_negative = labels == 1, labels == 0
    _, positives = tf.math.top_k(tf.where(is_positive, keys, -1.0), max_positives)
    _, negatives = tf.math.top_k(tf.where(is_negative, keys, -1.0), num)

    num_positives = tf.minimum(tf.math.count_nonzero(is_positive, dtype=tf.int32), max_positives)
    num_negatives = tf.math.count_nonzero(is_negative, dtype=tf.int32)
    entry = tf.range(num)
    foreground = entry < num_positives
    valid = foreground | (entry - num_positives < num_negatives)
    positives = tf.pad(positives, [[0, num - max_positives]])
    index = tf.where(foreground, positives, tf.gather(negatives, tf.maximum(entry - num_positives, 0)))
    return SampledIndices(tf.where(valid, index, 0), foreground, valid)


def sample_classes(present: Tensor, weights: Tensor, num: Tensor, seed: Tensor) -> Tensor:
    """The classes that are present in each image, and others drawn at random, without replacement, up to a number.

    Each draw takes one of the classes that are left with a probability proportional to its weight: those with the
    largest log(weight) + Gumbel noise. Compiles under XLA.

    Args:
        present: bool[B, C].
        weights: f32[C], from 0; a class of weight 0 is never drawn.
        num: i32[B], classes in all; an image in which more are present keeps these.
        seed: i32[B, 2], stateless seed of each image.

    Returns:
        bool[B, C].

    Ref: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.

    Example:
        >>> weights, seed = tf.constant([1.0, 0.0, 2.0]), tf.constant([[1, 2]])
        >>> sample_classes(tf.constant([[False, False, False]]), weights, tf.constant([2]), seed).numpy().tolist()
        [[True, False, True]]
    """

    def draw(of_image: Tensor) -> Tensor:
        return tf.random.stateless_uniform(tf.shape(weights), of_image, None, None, tf.int32, alg="philox")

    bits = tf.map_fn(draw, seed, fn_output_signature=tf.TensorSpec([None], tf.int32))
    # 23 of them, so that the middle of each step is exact in float32 and strictly between 0 and 1.
    uniform = (tf.cast(tf.bitwise.bitwise_and(bits, 0x7FFFFF), tf.float32) + 0.5) / float(1 << 23)
    keys = tf.where(present, float("inf"), tf.math.log(weights) - tf.math.log(-tf.math.log(uniform)))  # [B, C]
    order = tf.argsort(keys, axis=-1, direction="DESCENDING", stable=True)
    rank = tf.argsort(order, axis=-1)
    return present | ((rank < num[:, tf.newaxis]) & (keys > float("-inf")))
