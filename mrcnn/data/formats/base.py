"""`Format`: the base class of the readers of data sets, and the one that fits a file or folder.

A format is one file: a subclass of `Format` in this package, in an installed package that declares it in the entry
points `mrcnn.components`, or in any module that has been imported. Nothing lists them.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
import stat
from pathlib import Path
from typing import Any, ClassVar

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, refuse
from mrcnn.data.formats.saving import Saver


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

    states_classes: ClassVar[bool] = False
    """Whether all splits state the same classes, so that one can be read without the others."""

    def splits(self, path: Path) -> dict[str, Path]:
        """The splits of a file or folder of this format, by their usual names, and the path to load each from.

        Splits that are folders of this format in a folder that is not are found without this method.
        """
        return {}

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: Any
    ) -> Dataset:
        """One split, by the path that `splits` gave; by default `load` of it."""
        return self.load(path, images, validate=validate, **options)

    def save(self, saver: Saver, *args: Any, **options: Any) -> None:
        """Write a data set; formats that can be written override it.

        Args:
            saver: has the data set and the path, writes images, and notes what the format cannot hold.
            *args: none; with it a format may name its options, as type checkers see it.
            **options: of the format.
        """
        raise DataError(f"{self.name} can be read only")

    def numbers_classes(self, dataset: Dataset) -> bool:
        """Whether the files of a loaded data set number its classes and do not name them."""
        return False

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


_OF_AN_IMAGE = ("image size", "image id twice")
"""Kinds of issues that are of one image, whose id may be of no use."""


def leave_out_records(dataset: Dataset) -> Dataset:
    """Read with `validate=False`: what is wrong with single records stays an issue, what is wrong with all is raised.

    Raises:
        DataError: an issue that belongs to no single record, or no image is left.
    """
    dataset.issues[:] = [
        dataclasses.replace(issue, fatal=False, message=_with_effect(issue.message))
        if issue.fatal and (issue.image_id is not None or issue.annotation_id is not None or issue.kind in _OF_AN_IMAGE)
        else issue
        for issue in dataset.issues
    ]
    if not len(dataset) and dataset.issues and not any(issue.fatal for issue in dataset.issues):
        dataset.issues[0] = dataclasses.replace(dataset.issues[0], fatal=True)
    refuse(dataset.issues)
    return dataset


def _with_effect(message: str) -> str:
    return message if "left out" in message else f"{message}; left out"


def holds_keys(path: Path, *keys: str) -> bool:
    """Whether a file of JSON mentions all of these keys; reads it in pieces and does not parse it.

    Of a file of more than 64 MB, which would be read once for every format, at least one of the keys has to be within
    the first MB.

    Example:
        >>> holds_keys(Path("no/such/file"), "images")
        False
    """
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return False
    if not stat.S_ISREG(state.st_mode):
        return False
    if state.st_size <= _LARGE:
        return not _missing(str(path), keys)
    return _begins_with(path, keys) and all(
        _holds_key(str(path), state.st_size, state.st_mtime_ns, key) for key in keys
    )


def _begins_with(path: Path, keys: tuple[str, ...]) -> bool:
    """Whether a file begins as JSON does and its first block mentions at least one of the keys."""
    block = _block(path, 0)
    return block.lstrip(_BEFORE).startswith(_OPENINGS) and any(f'"{key}"'.encode() in block for key in keys)


@functools.lru_cache(maxsize=1024)
def _holds_key(path: str, size: int, changed: int, key: str) -> bool:
    """Of a large file; size and time of the last change tell one content from another.

    What few entries have often stands behind those of which there are many, so that is where to look first.
    """
    return f'"{key}"'.encode() in _block(path, size - _BLOCK) or not _missing(path, (key,))


def _block(path: str | Path, start: int) -> bytes:
    """What a file has from some place on; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(start, 0))
            return file.read(_BLOCK)
    except OSError:
        return b""


def _missing(path: str, keys: tuple[str, ...]) -> set[bytes]:
    """The keys, in quotes, that a file of JSON does not mention; all of them if it is something else."""
    wanted = {f'"{key}"'.encode() for key in keys}
    overlap = max(map(len, wanted))
    try:
        with open(path, "rb") as file:
            block = file.read(_BLOCK)
            if not block.lstrip(_BEFORE).startswith(_OPENINGS):
                return wanted
            while block and wanted:
                wanted = {key for key in wanted if key not in block}
                following = file.read(_BLOCK) if wanted else b""
                block = block[-overlap:] + following if following else b""
    except OSError:
        return {f'"{key}"'.encode() for key in keys}
    return wanted


_LARGE = 2**26
_BLOCK = 2**20
_BEFORE, _OPENINGS = b"\xef\xbb\xbf \t\r\n", (b"{", b"[")
