"""How far numbers of a dtype may lie from exact ones: one table for all tests. It is never loosened for a test."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Tolerance(NamedTuple):
    """Of one dtype."""

    rounding: float  # relative: what one rounding of an exact float32 result to the dtype changes at most
    relative: float  # of a computation in the dtype, against the same in exact arithmetic
    absolute: float  # the same, where the result is near zero


TOLERANCES = {
    "float64": Tolerance(0.0, 1e-12, 1e-12),
    "float32": Tolerance(0.0, 1e-5, 1e-5),
    "float16": Tolerance(2.0**-10, 1e-2, 1e-2),
    "bfloat16": Tolerance(2.0**-7, 5e-2, 5e-2),
}


def tolerance_of(dtype: Any) -> Tolerance:
    """The tolerance of a dtype of TensorFlow or NumPy, of its name, or of a Keras policy such as "mixed_float16"."""
    name = dtype.removeprefix("mixed_") if isinstance(dtype, str) else tf.as_dtype(dtype).name
    return TOLERANCES[name]


def assert_close(actual: Any, expected: Any, absolute: float | None = None, message: str = "") -> None:
    """`actual` against `expected`, as closely as the dtype of `actual` allows; whole numbers and booleans exactly.

    Args:
        actual: tensor or array.
        expected: tensor or array of the same shape.
        absolute: in place of the table's, for values of another scale.
        message: what is compared.
    """
    actual = tf.convert_to_tensor(actual)
    if not actual.dtype.is_floating:
        np.testing.assert_array_equal(actual.numpy(), np.asarray(expected), err_msg=message)
        return
    tolerance = tolerance_of(actual.dtype)
    np.testing.assert_allclose(
        tf.cast(actual, tf.float64).numpy(),
        tf.cast(expected, tf.float64).numpy(),
        rtol=tolerance.relative,
        atol=tolerance.absolute if absolute is None else absolute,
        err_msg=message,
    )
