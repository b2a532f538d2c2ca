"""The base class of every error the package raises on purpose.

Each subclass also derives from the built-in error a caller would catch (`ValueError`, `RuntimeError`), so that code
that knows nothing of this package handles it, and `except mrcnn.MrcnnError` handles exactly what the package reports.
"""

from __future__ import annotations


class MrcnnError(Exception):
    """Something the user can mend: the message names what is wrong, where, what was expected and what to do."""


class InputError(MrcnnError, ValueError):
    """An argument cannot be used; the message names it and what was expected."""


class DependencyError(MrcnnError, ImportError):
    """An optional package is not installed; the message says which and how to install it."""


class FileError(MrcnnError, OSError):
    """A file cannot be written: no space, no permission, a folder in its place; `errno` and `filename` say which."""

    def __str__(self) -> str:
        return super().__str__() if self.filename is None else f"{self.strerror}: {self.filename}"
