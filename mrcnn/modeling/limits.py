"""A limit on the variables of a model that is built from a config somebody else wrote."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from mrcnn.errors import MrcnnError


class TooManyVariablesError(MrcnnError, ValueError):
    """A model has more variables, or more values in them, than it may have; nothing of that size was allocated."""


_counts: contextvars.ContextVar[tuple[list[int], ...]] = contextvars.ContextVar("counts", default=())
"""Variables and values made so far, of each limit that holds here."""


@contextlib.contextmanager
def counted_apart() -> Iterator[None]:
    """Inside, every limit that holds is counted from zero: for a network that is only looked at, not part of a model.

    Example:
        >>> import keras
        >>> with limited_variables(4, 120):
        ...     with counted_apart():
        ...         keras.layers.Dense(2).build((None, 50))
        ...     keras.layers.Dense(2).build((None, 50))
    """
    active = _counts.get()
    before = [list(made) for made in active]
    for made in active:
        made[:] = [0, 0]
    try:
        yield
    finally:
        for made, values in zip(active, before, strict=True):
            made[:] = values


@contextlib.contextmanager
def limited_variables(number: int, values: int) -> Iterator[None]:
    """Inside, variables may be made up to a number of them and of their values.

    The shape of each variable is looked at before its memory is taken.

    Args:
        number: of variables.
        values: in all of them together.

    Raises:
        TooManyVariablesError: at the first variable beyond.

    Example:
        >>> import keras
        >>> with limited_variables(2, 100):
        ...     keras.layers.Dense(50).build((None, 50))
        Traceback (most recent call last):
        ...
        mrcnn.modeling.limits.TooManyVariablesError: a variable of shape [50, 50], expected at most 100 values in all
    """
    made, graph = [0, 0], tf.Graph()

    def create(next_creator: Any, **kwargs: Any) -> Any:
        shape = _shape(kwargs.get("initial_value"), graph)
        made[0] += 1
        made[1] += tf.TensorShape(shape).num_elements() or 0
        if made[0] > number:
            raise TooManyVariablesError(f"more than the expected {number} variables")
        if made[1] > values:
            raise TooManyVariablesError(f"a variable of shape {list(shape)}, expected at most {values} values in all")
        return next_creator(**kwargs)

    token = _counts.set((*_counts.get(), made))
    try:
        with tf.variable_creator_scope(create):
            yield
    finally:
        _counts.reset(token)


def _shape(initial_value: Any, graph: tf.Graph) -> Any:
    """The shape of what a variable begins with; what an initializer makes is traced, not computed."""
    if callable(initial_value):
        for cell in getattr(initial_value, "__closure__", None) or ():  # Keras closes over the variable it makes
            if isinstance(cell.cell_contents, keras.Variable):
                return cell.cell_contents.shape
        with graph.as_default():
            return initial_value().shape
    return tf.convert_to_tensor(initial_value).shape
