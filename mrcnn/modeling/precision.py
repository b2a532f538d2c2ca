"""What a model computes in: float32, or half precision between its convolutions."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Iterator
from typing import Any, Literal, get_args

import keras

from mrcnn.errors import InputError
from mrcnn.hardware import bfloat16_instructions

_log = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16", "float16"]
StatedPrecision = Literal["float32", "bfloat16", "float16"]

_NAMES: dict[str, StatedPrecision] = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
_POLICIES = {name: policy for policy, name in _NAMES.items()}

_unchecked: weakref.WeakSet[Any] = weakref.WeakSet()
"""Models whose precision was chosen for them and has not been compared with float32 yet."""


def set_precision(model: Any, precision: Precision) -> None:
    """Make a model compute in another precision from its next call on.

    Weights stay float32, and so do box arithmetic, the logits of every head, and what follows from them: scores,
    non-maximum suppression, pasting. What changes is the features and the products they come from.

    Args:
        model: a `MaskRCNN`; changed in place.
        precision: "float32"; "bfloat16", which is up to twice as fast on CPUs with AVX512_BF16 or AMX and on GPUs from
            Ampere on, and slower elsewhere; "float16", for GPUs; or "auto": bfloat16 where `bfloat16_instructions`
            says that something is faster at it, and the first detections agree with those of float32 (see
            `mrcnn.detect`), else float32.

    Raises:
        InputError: another `precision`.

    Example:
        >>> model = mrcnn.MaskRCNN(config)  # doctest: +SKIP
        >>> set_precision(model, "bfloat16")  # doctest: +SKIP
        >>> precision_of(model)  # doctest: +SKIP
        'bfloat16'
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision: expected one of {', '.join(get_args(Precision))}, got {precision!r}")
    _unchecked.discard(model)
    if precision == "auto":
        instructions = bfloat16_instructions()
        precision = "bfloat16" if instructions else "float32"
        if instructions:
            _unchecked.add(model)
        _log.info("precision: %s (%s)", precision, instructions or "nothing here is faster in bfloat16")
    _assign(model, keras.dtype_policies.get(_POLICIES[precision]))


def precision_of(model: Any) -> StatedPrecision:
    """ "float32", "bfloat16" or "float16"; of what is no Keras model, such as an export, "float32"."""
    policy = getattr(model, "dtype_policy", None)
    return _NAMES.get(getattr(policy, "name", ""), "float32")


def copy_precision(source: Any, target: Any) -> None:
    """Give a model the precision of another; where that one's is still to be checked, this one's is too."""
    if precision_of(source) != precision_of(target):
        _assign(target, source.dtype_policy)
    if is_unchecked(source):
        _unchecked.add(target)


def is_unchecked(model: Any) -> bool:
    """Whether `set_precision` chose for this model, and its detections have not been compared with float32 yet."""
    return model in _unchecked


def mark_checked(model: Any) -> None:
    """Its precision is settled."""
    _unchecked.discard(model)


@contextlib.contextmanager
def in_precision(model: Any, precision: StatedPrecision) -> Iterator[None]:
    """What is traced of a model meanwhile computes in this precision; what is no Keras model computes as it does."""
    if not isinstance(model, keras.Model):
        yield
        return
    layers = [model, *model._flatten_layers(include_self=False)]
    policies = [layer.dtype_policy for layer in layers]
    _assign(model, keras.dtype_policies.get(_POLICIES[precision]))
    try:
        yield
    finally:
        for layer, policy in zip(layers, policies, strict=True):
            layer.dtype_policy = policy


def _assign(model: Any, policy: Any) -> None:
    for layer in (model, *model._flatten_layers(include_self=False)):
        if layer.dtype_policy.name in _NAMES:  # what a layer states of its own, such as integers, stays
            layer.dtype_policy = policy
    model.predict_function = model.test_function = None  # Keras' own graphs are of the former precision
