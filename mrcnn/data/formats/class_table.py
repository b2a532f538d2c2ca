"""The classes of a data set while it is read: given beforehand, or those that occur."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mrcnn.text import printable


class ClassTable:
    """Names and class ids, which are provisional until all classes are known.

    Args:
        names: of the classes 1..C; None: those that occur.

    Attributes:
        is_open: whether a class that occurs is one.

    Example:
        >>> table = ClassTable()
        >>> table.add("dog"), table.add("cat"), table.add("dog"), table.find("cow")
        (1, 2, 1, 0)
        >>> table.final_order(str)
        ['cat', 'dog']
    """

    def __init__(self, names: Iterable[str] | None = None) -> None:
        self.is_open = names is None
        self._ids: dict[str, int] = {}
        self._category_ids: dict[str, int] = {}
        self._clean: dict[str, str] = {}  # by the name in the files
        for name in names or ():
            self.add(name)

    @property
    def names(self) -> tuple[str, ...]:
        """So far, without control characters."""
        return tuple(self._ids)

    @property
    def escaped(self) -> tuple[str, ...]:
        """Names in the files that hold control characters."""
        return tuple(name for name, clean in self._clean.items() if name != clean)

    def add(self, name: str, category_id: int | None = None) -> int:
        """The class id of a name, which is added if it is new."""
        clean = self._clean.setdefault(name, printable(name))
        if clean not in self._ids:
            self._ids[clean] = len(self._ids) + 1
            if category_id is not None:
                self._category_ids[clean] = category_id
        return self._ids[clean]

    def find(self, name: str) -> int:
        """The class id of a name; 0: it is not there."""
        return self._ids.get(self._clean.get(name, name), 0)

    def final_order(self, key: Callable[[str], Any] | None) -> list[str]:
        """The names of the classes 1..C: as given; those that occur sorted by a key, None: as they occurred."""
        return sorted(self._ids, key=key) if self.is_open and key is not None else list(self._ids)

    def category_ids(self, order: list[str]) -> list[int]:
        """The id in the files of each class; 1..C where not each has one of its own."""
        stated = [self._category_ids.get(name) for name in order]
        own = [number for number in stated if number is not None]
        return own if len(set(own)) == len(order) else list(range(1, len(order) + 1))
