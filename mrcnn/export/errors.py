"""What goes wrong in exports, and packages that not everybody has installed."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from mrcnn.errors import MrcnnError


class ExportError(MrcnnError, RuntimeError):
    """A model that cannot be written in a format, a package that is missing, or a file that is no such model."""


def refuse_panoptic(model: Any) -> None:
    """Refuse a model with a semantic branch, where a format has no output for a map of every pixel.

    Raises:
        ExportError: names the field, and what exports the instances alone.
    """
    if getattr(model.config, "semantic_head", None) is not None:
        raise ExportError(
            "a panoptic model (model.semantic_head) cannot be exported in this format, which has no output for its"
            " stuff; mrcnn.detect_panoptic runs it"
        )


def require(name: str, extra: str) -> ModuleType:
    """An optional package.

    Raises:
        ExportError: it is not installed, or cannot be imported; names the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # a package built for another NumPy or protobuf fails in ways of its own
        raise ExportError(
            f'{name} cannot be imported ({type(error).__name__}: {error}); run: pip install "mrcnn-keras[{extra}]"'
        ) from error


def reason(error: BaseException) -> str:
    """The cause in one line, for a message that quotes it: the words of our own errors, the class and words of others.

    Example:
        >>> reason(KeyError("config")), reason(RuntimeError("no memory\\nand pages")), reason(RuntimeError())
        ("KeyError: 'config'", 'RuntimeError: no memory', 'RuntimeError')
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, MrcnnError) and lines:
        return lines[0]
    return ": ".join([type(error).__name__, *lines[:1]])
