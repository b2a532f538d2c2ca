"""Nested containers that a file made, handled so that no size or depth of them can hurt."""

from __future__ import annotations

import pickle
import reprlib
from collections.abc import Iterable
from typing import Any

MAX_NODES = 1_000_000  # of all containers and their items
MAX_DEPTH = 64  # of containers in containers
MAX_NAME = 1024  # characters of one name
MAX_NAMES = 1 << 24  # characters of all names, which repeat those of the containers around


def short(value: Any) -> str:
    """A value for a message: its beginning, whatever its size."""
    return reprlib.repr(value)[:80]


def set_items(target: dict[Any, Any], items: Iterable[Any]) -> None:
    """Put key, value, key, value, ... into a dict.

    Raises:
        pickle.UnpicklingError: a key that is neither text, a number nor a short tuple of these. Only such are hashed:
            the hash of a deep tuple ends the process, that of a wide one the day.
    """
    parts = iter(items)
    for key in parts:
        simple = key if isinstance(key, tuple) else (key,)
        if len(simple) > 16 or not all(part is None or isinstance(part, (str, bytes, int, float)) for part in simple):
            raise pickle.UnpicklingError(f"a key that is no text or number ({short(key)})")
        target[key] = next(parts)


def leaves(root: Any, kinds: type | tuple[type, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What lies in nested containers, by names joined with dots.

    Args:
        root: what a pickle made.
        kinds: types of the leaves wanted.

    Returns:
        (leaves of those kinds, plain values beside them: text, numbers, booleans), in the order of the file.

    Raises:
        MemoryError: containers that contain each other very many times, or themselves, or names too long in all.
        ValueError: two leaves share a name.
    """
    wanted: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    visits = characters = 0
    stack = [("", root, 0)]
    while stack:
        prefix, node, depth = stack.pop()
        visits += 1
        if depth > MAX_DEPTH:
            raise MemoryError
        if isinstance(node, kinds):
            if prefix in wanted:
                raise ValueError(f"two tensors named {prefix[:80]}")
            wanted[prefix] = node
        elif isinstance(node, (dict, list, tuple)):
            items = dict.items(node) if isinstance(node, dict) else enumerate(node)
            below = []
            for key, value in items:
                name = _text(key)
                characters += len(prefix) + len(name) + 1
                visits += 1
                if len(prefix) + len(name) > MAX_NAME or characters > MAX_NAMES or visits > MAX_NODES:
                    raise MemoryError
                below.append((f"{prefix}.{name}" if prefix else name, value, depth + 1))
            stack.extend(reversed(below))
        elif isinstance(node, (str, bytes, int, float)):
            characters += len(node) if isinstance(node, bytes) else 0  # which are copied
            if characters > MAX_NAMES:
                raise MemoryError
            plain[prefix] = _text(node) if isinstance(node, bytes) else node
    return wanted, plain


def _text(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
