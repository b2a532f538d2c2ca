"""Weight decay as a part of the loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

NOT_DECAYED = ("gamma", "beta")
"""Last parts of the paths of variables that no decay touches."""


def mean_square_penalty(variables: Iterable[Any], weight: float) -> tf.Tensor:
    """The sum over the variables of weight x mean(w^2), a loss term.

    Divided by the size of each array, such a decay is far weaker than the usual one: its gradient for an array of n
    elements is 2 x weight / n x w.

    Args:
        variables: those that train; gamma and beta of norms are left out.
        weight: of each term.

    Returns:
        f32[]. Empty: 0.

    Ref: matterport/Mask_RCNN, mrcnn/model.py, MaskRCNN.compile.

    Example:
        >>> kernel = tf.Variable([3.0, 1.0], name="kernel")
        >>> float(mean_square_penalty([kernel], 0.5))
        2.5
    """
    decayed = [v for v in variables if own_name(v) not in NOT_DECAYED]
    terms = [tf.reduce_mean(tf.square(tf.cast(tf.convert_to_tensor(v), tf.float32))) for v in decayed]
    return weight * tf.add_n(terms) if terms else tf.constant(0.0)


def own_name(variable: Any) -> str:
    """Last part of a variable's path: "kernel", "bias", "gamma"."""
    return getattr(variable, "path", variable.name).split(":")[0].rsplit("/", 1)[-1]
