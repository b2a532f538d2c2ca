"""The configuration text that checkpoints of mmdetection carry, as plain data, without running it.

mmdetection writes its configuration as a Python file. Here that text is parsed and never executed: assignments of
literals, lists, tuples, dicts and `dict(...)` are read, everything else becomes None.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any

_MAX_TEXT = 1 << 20  # characters
_MAX_NODES = 200_000


def read_config(text: str) -> dict[str, Any] | None:
    """The assignments at the top of a configuration file, by name.

    Args:
        text: Python source, of which nothing is executed.

    Returns:
        Plain data: numbers, texts, lists, tuples and dicts by name; None in place of an expression that is more than
        that. None if the text cannot be read at all.

    Example:
        >>> read_config("a = 1\\nb = dict(c=[a, -2.5], d=open('x'))")
        {'a': 1, 'b': {'c': [1, -2.5], 'd': None}}
    """
    if len(text) > _MAX_TEXT:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
        return _Reader().read(module)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class _Reader:
    """Turns expressions into plain data, as far as they are; counts what it makes."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.left = _MAX_NODES

    def read(self, module: ast.Module) -> dict[str, Any]:
        for statement in module.body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target = statement.targets[0]
                if isinstance(target, ast.Name):
                    self.names[target.id] = self.value(statement.value)
        return self.names

    def value(self, node: ast.expr) -> Any:
        self.left -= 1
        if self.left < 0:
            raise MemoryError
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, (ast.List, ast.Tuple)):
            items = [self.value(item) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        if isinstance(node, ast.Dict):
            pairs = [(key, item) for key, item in zip(node.keys, node.values, strict=True)]
            return {
                key.value: self.value(item)
                for key, item in pairs
                if isinstance(key, ast.Constant) and isinstance(key.value, (str, int))
            }
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            return {word.arg: self.value(word.value) for word in node.keywords if word.arg is not None}
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = self.value(node.operand)
            return -operand if isinstance(operand, (int, float)) else None
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        return None


def entry(config: Any, *path: str | int) -> Any:
    """What lies at a path of nested dicts and lists, or None where the path ends before.

    Example:
        >>> entry({"model": {"heads": [{"loss": "L1"}]}}, "model", "heads", 0, "loss")
        'L1'
    """
    for key in path:
        if isinstance(config, dict):
            config = config.get(key)
        elif isinstance(config, (list, tuple)) and isinstance(key, int) and -len(config) <= key < len(config):
            config = config[key]
        else:
            return None
    return config


def numbers(value: Any, count: int | None = None) -> tuple[float, ...] | None:
    """A list of (so many) finite numbers as a tuple; None for anything else."""
    if not isinstance(value, (list, tuple)) or (count is not None and len(value) != count) or not value:
        return None
    if not all(isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 1e9 for x in value):
        return None
    return tuple(float(x) for x in value)
