"""Sampling: which of the labeled boxes enter the losses."""

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
