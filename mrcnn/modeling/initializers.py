"""How kernels begin, and how not to draw millions of numbers that a file is about to replace."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras

_blank: contextvars.ContextVar[bool] = contextvars.ContextVar("mrcnn_blank_kernels", default=False)


@contextlib.contextmanager
def blank_kernels() -> Iterator[None]:
    """Inside, kernels of new layers are zeros: for models whose weights are all read from a file.

    Drawing the weights of a ResNet-50-FPN takes longer than reading them, and memory that TensorFlow does not give
    back.
    """
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


def first_kernel(initializer: Any) -> Any:
    """`initializer`, or zeros where kernels are to stay blank."""
    return keras.initializers.Zeros() if _blank.get() else initializer


def fan_out_initializer() -> keras.initializers.Initializer:
    """He et al.'s normal initialization by fan-out, as in the published training code of the heads."""
    return first_kernel(keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"))


def normal_initializer(stddev: float) -> keras.initializers.Initializer:
    """Normal initialization of an output layer: small, so that training starts near indifference."""
    return first_kernel(keras.initializers.RandomNormal(stddev=stddev))
