"""Nested containers: names of leaves, and bounds on depth, number and names."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from mrcnn.weights.containers import MAX_DEPTH, leaves, set_items, short

ARRAY = np.zeros(2)


def test_names_are_joined_with_dots() -> None:
    root = {"model": {"fc": [ARRAY, ARRAY]}, b"cfg": b"text", 3: 1.5, "none": None}
    wanted, plain = leaves(root, np.ndarray)
    assert list(wanted) == ["model.fc.0", "model.fc.1"]
    assert plain == {"cfg": "text", "3": 1.5}


def test_two_leaves_of_one_name() -> None:
    with pytest.raises(ValueError, match=r"two tensors named a\.b"):
        leaves({"a": {"b": ARRAY}, "a.b": ARRAY}, np.ndarray)


def _nested(depth: int) -> Any:
    root: Any = ARRAY
    for _ in range(depth):
        root = [root]
    return root


def test_depth_is_bounded() -> None:
    assert len(leaves(_nested(MAX_DEPTH), np.ndarray)[0]) == 1
    with pytest.raises(MemoryError):
        leaves(_nested(MAX_DEPTH + 1), np.ndarray)


def test_visits_and_names_are_bounded() -> None:
    shared: Any = [ARRAY]
    for _ in range(30):
        shared = [shared, shared]
    loop: list[Any] = []
    loop.append(loop)
    long_names = [{"n" * 1000: 1}] * 20_000
    for root in (shared, loop, long_names, {"n" * 2000: ARRAY}, [b"x" * 60_000] * 1_000):
        with pytest.raises(MemoryError):
            leaves(root, np.ndarray)


@pytest.mark.parametrize("key", [(1, (2,)), ((),), (1,) * 17, [1], {}, ARRAY])
def test_only_short_keys_are_hashed(key: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match="a key that is no text or number"):
        set_items({}, [key, 1])


def test_simple_keys() -> None:
    target: dict[Any, Any] = {}
    set_items(target, ["a", 1, b"b", 2, 3, 4, None, 5, ("a", 1), 6, 1.5, 7])
    assert target == {"a": 1, b"b": 2, 3: 4, None: 5, ("a", 1): 6, 1.5: 7}


def test_a_value_in_a_message_is_short() -> None:
    shared: Any = ("x" * 1000,)
    for _ in range(40):
        shared = (shared, shared)
    assert len(short(shared)) <= 80
