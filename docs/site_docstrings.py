"""How the docs' generator is to read our docstrings: `Example:` holds code, and `height, width:` are two arguments.

Ref: mkdocstrings.github.io/griffe, "Extensions".
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_SEVERAL = re.compile(r"^(\s+)(\w+(?:, \w+)+): ", re.MULTILINE)


def readable(text: str) -> str:
    """A docstring in the form that Google's style has.

    Example:
        >>> readable("Args:\\n    a, b: of both.")
        'Args:\\n    a: see `b`.\\n    b: of both.'
    """

    def split(match: re.Match[str]) -> str:
        *others, last = match[2].split(", ")
        return "".join(f"{match[1]}{name}: see `{last}`.\n" for name in others) + f"{match[1]}{last}: "

    return _SEVERAL.sub(split, re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE))


class Docstrings(Extension):
    """Changes docstrings as they are read; the sources stay."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Of every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
