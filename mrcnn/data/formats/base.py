"""`Format`: the base class of the readers of data sets, and the one that fits a file or folder.

A format is one file: a subclass of `Format` in this package, in an installed package that declares it in the entry
points `mrcnn.components`, or in any module that has been imported. Nothing lists them.
"""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import ClassVar

from mrcnn import components
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import short

_SEEN = 60  # bytes of a file, or names in a folder, that an error shows
_NAMES = 8


class Format(abc.ABC):
    """A layout of files that hold images and their objects.

    Class attributes:
        name: what people call it; unique, for `load_dataset(format=...)`.
        looks_for: how it is recognized, one phrase for messages.
    """

    abstract: ClassVar[bool] = True
    name: ClassVar[str] = ""
    looks_for: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.abstract = "abstract" in vars(cls) and cls.abstract

    @abc.abstractmethod
    def recognize(self, path: Path) -> bool:
        """Whether a file or folder is of this format, by its content; must not raise for any content."""

    @abc.abstractmethod
    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set.

        Args:
            path: of the file or folder.
            images: folder of the images; None: where the format has them.
            validate: refuse what training would refuse; False leaves it out and lists it in `Dataset.issues`.

        Raises:
            DataError: names the file, the record and the reason.
        """


def formats() -> dict[str, Format]:
    """Every known format by its name.

    Raises:
        ComponentError: two formats share a name.

    Example:
        >>> sorted(formats())[:2]
        ['coco', 'via']
    """
    known: dict[str, Format] = {}
    for qualified, cls in components.subclasses_of(Format, __package__).items():  # type: ignore[type-abstract]
        name = cls.name or qualified
        if name in known:
            other = components.name_of(type(known[name]))
            raise components.ComponentError(f"two formats are named {name!r}: {other} and {qualified}")
        known[name] = cls()
    return dict(sorted(known.items()))


def find_format(name: str) -> Format:
    """The format of a name, or of "module:Class".

    Raises:
        ComponentError: there is none; lists those there are.
    """
    known = formats()
    if name in known:
        return known[name]
    for candidate in known.values():
        if components.name_of(type(candidate)) == name:
            return candidate
    return components.find_class(name, Format, __package__, "format")()  # type: ignore[type-abstract]


def recognize(path: str | os.PathLike[str]) -> Format:
    """The one format that a file or folder is of.

    Raises:
        DataError: it is of none or of several; says what was looked for and what is there.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    known = formats()
    matches = [name for name, candidate in known.items() if candidate.recognize(path)]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise DataError(f"{path}: may be {' or '.join(matches)}; choose one by format=")
    looked_for = "; ".join(f"{name}: {candidate.looks_for}" for name, candidate in known.items())
    raise DataError(f"{path}: a data set in no known format; it is {_description(path)}; looked for {looked_for}")


def load_dataset(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    validate: bool = True,
) -> Dataset:
    """A data set in any known format.

    Args:
        path: of its file or folder.
        images: folder of the images; None: where the format has them.
        format: name of the format, see `formats`; None: recognized by its content.
        validate: refuse what training would refuse; False leaves it out and lists it in `Dataset.issues`.

    Raises:
        DataError: of no known format or of several; or the reader's: names the file, the record and the reason.
        ComponentError: no format is named `format`.
    """
    chosen = recognize(path) if format is None else find_format(format)
    return chosen.load(Path(path), None if images is None else Path(images), validate=validate)


def _description(path: Path) -> str:
    if path.is_dir():
        names = sorted(entry.name for entry in os.scandir(path))
        more = ", ..." if len(names) > _NAMES else ""
        return f"a folder with {', '.join(names[:_NAMES]) or 'nothing in it'}{more}"
    try:
        with open(path, "rb") as file:
            return f"a file that begins with {short(file.read(_SEEN))}"
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"


def holds_keys(path: Path, *keys: str) -> bool:
    """Whether a file of JSON mentions all of these keys; reads it in pieces and does not parse it.

    Example:
        >>> holds_keys(Path("no/such/file"), "images")
        False
    """
    wanted = {f'"{key}"'.encode() for key in keys}
    overlap = max(map(len, wanted))
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            block = file.read(_BLOCK)
            if not block.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
                return False
            while block and wanted:
                wanted = {key for key in wanted if key not in block}
                following = file.read(_BLOCK)
                block = block[-overlap:] + following if following else b""
    except OSError:
        return False
    return not wanted


_BLOCK = 2**20
