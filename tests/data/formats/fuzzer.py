"""Structured fuzzing of annotation files: every field, one at a time, by values of other types and extremes."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

DELETED = object()

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 0.5, 1e9, -1e9, 1e308, -1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), "", "0", "text", "a\nb\x1b[2J", "\ud800", "\0", "x" * 300, "../../x",
    [], [[]], [[[]]], [None], [1], [1, 2], ["a", "b"], [1, "b"], [True, False], [[1, 2], [3, 4, 5]], [[1, 2], [3, 4]],
    [0, 0, 0, 0], [1, 2, 3, 4, 5], [1e308, 1e308, 1e308, 1e308], [float("nan")] * 4, [10**400] * 4, [1e9] * 6,
    [[1e9, 1, 2, 1e9, -1e9, 3]], [[float("inf")] * 6], [[10**400] * 6], [{"x": 1}], [{"x": "a", "y": None}] * 3,
    {}, {"a": 1}, {"size": None, "counts": None}, {"size": [10, 12], "counts": {}}, {"size": [10, 12], "counts": [120]},
    {"size": [10, 12], "counts": [2**62] * 4 + [120]}, {"size": [10, 12], "counts": [-1, 121]},
    {"size": [10, 12], "counts": [[1], [2, 3]]}, {"size": [10, 12], "counts": [1.5, 118.5]},
    {"size": [10, 12], "counts": "~~"}, {"size": [10, 12], "counts": "oooooooooooooooooooooooo"},
    {"size": ["a", "b"], "counts": "0"}, {"size": [float("inf"), 12], "counts": "0"},
    {"size": [10, 12, 3], "counts": "0"},
    {"size": [100_000, 100_000], "counts": [10**10]}, {"size": [-10, -12], "counts": [120]}, {"size": 5, "counts": "0"},
    {"size": [10, 12], "counts": [10**30]},
]  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value, containers included."""
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from places(value, (*path, index))


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The data with one value replaced, or deleted; what is on the way there is copied, the rest shared."""
    if not path:
        return None if value is DELETED else value
    first, rest = path[0], path[1:]
    changed = copy.copy(data)
    if value is DELETED and not rest:
        del changed[first]
    else:
        changed[first] = replaced(data[first], rest, value)
    return changed


def variants(data: Any, first: int = 0, step: int = 1) -> Iterator[tuple[str, Any]]:
    """(what was done, the data) for every place and value, or for every `step`-th from `first` on."""
    every = ((path, value) for path in places(data) for value in (DELETED, *VALUES))
    for path, value in itertools.islice(every, first, None, step):
        what = "deleted" if value is DELETED else repr(value)[:60]
        yield f"{'.'.join(map(str, path)) or 'all'}: {what}", replaced(data, path, value)
