"""Every known format, and the one that a file or folder is of."""

from __future__ import annotations

import os
from pathlib import Path

from mrcnn import components
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.fields import short
from mrcnn.data.formats.splits import split_folders

_SEEN = 60  # bytes of a file, or names in a folder, that an error shows
_NAMES = 8
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive without a file",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
}


class NoFormatError(DataError):
    """A file or folder is of none of the known formats."""


def formats() -> dict[str, Format]:
    """Every known format by its name.

    Raises:
        ComponentError: two formats share a name.

    Example:
        >>> {"coco", "voc", "yolo"} <= set(formats())
        True
    """
    return components.instances_of(Format, __package__, "formats")  # type: ignore[type-abstract]


def list_formats() -> list[tuple[str, str, bool]]:
    """(name, how it is recognized, whether it can be written) of every known format.

    Example:
        >>> [name for name, _, is_writable in list_formats() if is_writable][:2]
        ['coco', 'cvat']
    """
    return [(name, f.looks_for, type(f).save is not Format.save) for name, f in formats().items()]


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
    raise NoFormatError(f"{path}: a data set in no known format; it is {_description(path)}; looked for {looked_for}")


def locate(path: Path, format: str | None) -> tuple[Format, dict[str, Path]]:
    """The format of a data set, and where each of its splits is."""
    if format is not None:
        chosen = find_format(format)
        if path.is_dir() and not chosen.recognize(path):
            folders = {name: folder for name, folder in split_folders(path).items() if chosen.recognize(folder)}
            if folders:
                return chosen, folders
        return chosen, chosen.splits(path)
    try:
        chosen = recognize(path)
    except NoFormatError:
        shared, folders = _recognize_splits(path)
        if shared is None:
            raise
        return shared, folders
    return chosen, chosen.splits(path)


def _recognize_splits(path: Path) -> tuple[Format | None, dict[str, Path]]:
    """The format that the split folders of a folder share, and those of them that are of it."""
    known = formats()
    candidates: dict[str, dict[str, Path]] = {}
    for split, folder in split_folders(path).items():
        for name, candidate in known.items():
            if candidate.recognize(folder):
                candidates.setdefault(name, {})[split] = folder
    if len(candidates) > 1:
        raise DataError(f"{path}: its folders may be {' or '.join(candidates)}; choose one by format=")
    for name, folders in candidates.items():
        return known[name], folders
    return None, {}


def _description(path: Path) -> str:
    if path.is_dir():
        names = sorted(entry.name for entry in os.scandir(path))
        more = ", ..." if len(names) > _NAMES else ""
        return f"a folder with {', '.join(names[:_NAMES]) or 'nothing in it'}{more}"
    try:
        with open(path, "rb") as file:
            start = file.read(_SEEN)
        for signature, kind in _ARCHIVES.items():
            if start.startswith(signature):
                return f"{kind}: unpack it and give the folder"
        return f"a file that begins with {short(start)}"
    except OSError as error:
        return f"a file that cannot be read ({error.strerror})"
