"""Names that matterport's modules had because they imported something, for scripts that take them from there."""

from __future__ import annotations

import importlib
import types
from typing import Any

import keras


def engine() -> types.ModuleType:
    """What Keras 2 had in its engine, as far as scripts use it."""
    module = types.ModuleType("engine")
    module.Layer = module.Network = keras.layers.Layer  # type: ignore[attr-defined]
    module.InputSpec, module.Model = keras.InputSpec, keras.Model  # type: ignore[attr-defined]
    return module


def imported(module: str, names: dict[str, str], name: str) -> Any:
    """A module's attribute that is imported when it is first asked for.

    Args:
        module: the name of the module that was asked.
        names: attribute -> "module" or "module:attribute" that it stands for.
        name: the attribute.

    Raises:
        AttributeError: there is none of this name, or what it stands for is not installed; the message says which.
    """
    if name not in names:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    source, _, attribute = names[name].partition(":")
    try:
        owner = importlib.import_module(source)
    except ImportError as error:
        raise AttributeError(f"{module}.{name} is {source}, which is not installed: pip install {source}") from error
    # `import IPython.display` binds IPython, with the part loaded.
    return getattr(owner, attribute) if attribute else importlib.import_module(source.partition(".")[0])
