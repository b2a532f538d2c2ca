"""`Format`: the base class of the readers of data sets, and the one that fits a file or folder.

A format is one file: a subclass of `Format` in this package, in an installed package that declares it in the entry
points `mrcnn.components`, or in any module that has been imported. Nothing lists them.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import inspect
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mrcnn import components
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, refuse
from mrcnn.data.formats.fields import short
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import canonical, split_folders
from mrcnn.data.views import common_classes, mapped, merge, with_classes, with_extra

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

    def save(self, saver: Saver, **options: Any) -> None:
        """Write a data set; formats that can be written override it.

        Args:
            saver: has the data set and the path, writes images, and notes what the format cannot hold.
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


def formats() -> dict[str, Format]:
    """Every known format by its name.

    Raises:
        ComponentError: two formats share a name.

    Example:
        >>> {"coco", "voc", "yolo"} <= set(formats())
        True
    """
    known: dict[str, Format] = {}
    for qualified, cls in components.subclasses_of(Format, __package__).items():  # type: ignore[type-abstract]
        name = cls.name or qualified
        if name in known:
            other = components.name_of(type(known[name]))
            raise components.ComponentError(f"two formats are named {name!r}: {other} and {qualified}")
        known[name] = cls()
    return dict(sorted(known.items()))


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


def load_dataset(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    validate: bool = True,
    strict: bool = False,
    **options: Any,
) -> Dataset:
    """A data set in any known format.

    Args:
        path: of its file or folder.
        images: folder of the images; None: where the format has them.
        format: name of the format, see `formats`; None: recognized by its content.
        split: one of `dataset_splits(path)`, by any of its usual names ("valid" is "val"); None: all images. The record
            of each image of a layout with splits has its split in `extra["split"]`.
        classes: names of the classes 1..C in the order wanted; a class of the files that is not among them is refused.
            Where the files have numbers only, their names. None: those of the format, or those that occur in any split,
            by name.
        validate: refuse what training would refuse; False leaves it out and lists it in `Dataset.issues`.
        strict: refuse a set with any issue, also where the record could be corrected or left out.
        **options: of the format's `load`, such as `boxes=True` (voc) or `class_attribute="name"` (via).

    Raises:
        DataError: of no known format or of several; or the reader's: names the file, the record and the reason.
        ComponentError: no format is named `format`.

    Example:
        >>> data = mrcnn.load_dataset("nuts.v3i.yolov8", split="train")  # doctest: +SKIP
    """
    names = None if classes is None else tuple(classes)
    whole = load_splits(
        path, images, format=format, classes=names, validate=validate, strict=strict, only=split, **options
    )
    if split is not None or len(whole) == 1:
        return next(iter(whole.values()))
    return _merged(Path(path), whole)


def _merged(path: Path, parts: dict[str, Dataset]) -> Dataset:
    """All splits as one set; an image that is in several is taken once."""
    seen: set[str] = set()
    chosen = []
    for dataset in parts.values():
        names = [record.path if record.path is not None else "" for record in dataset._records]
        keep = [i for i, name in enumerate(names) if not name or name not in seen]
        seen.update(names)
        chosen.append(dataset if len(keep) == len(names) else dataset.subset(keep))
    merged = merge(chosen, list(parts))
    merged.path = str(path)
    return merged


def dataset_splits(path: str | os.PathLike[str], *, format: str | None = None) -> tuple[str, ...]:
    """The splits of a data set: "train", "val", "test" first, as far as its layout has them.

    Args:
        path, format: as for `load_dataset`.

    Returns:
        their names, for `load_dataset(split=...)`. Empty: the layout has none.

    Raises:
        DataError: of no known format or of several.

    Example:
        >>> mrcnn.dataset_splits("VOCdevkit/VOC2012")  # doctest: +SKIP
        ('train', 'val')
    """
    return tuple(_locate(Path(path), format)[1])


def load_splits(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    classes: Sequence[str] | None = None,
    validate: bool = True,
    strict: bool = False,
    only: str | None = None,
    **options: Any,
) -> dict[str, Dataset]:
    """Each split of a data set, all with the same classes; arguments and errors as for `load_dataset`.

    Args:
        only: return this split; the classes are those of all.

    Returns:
        data sets by the names of `dataset_splits`; of a layout without splits {"all": the set}.

    Example:
        >>> sets = mrcnn.load_splits("nuts.v3i.yolov8")  # doctest: +SKIP
        >>> mrcnn.train(model, sets["train"], sets["val"], out="run")  # doctest: +SKIP
    """
    path, folder = Path(path), None if images is None else Path(images)
    chosen, places = _locate(path, format)
    _check_options(chosen, options)
    if not places:
        if only is not None:
            raise DataError(f"{path}: split={only!r}, but this {chosen.name} data set has no splits")
        parts = {"all": chosen.load(path, folder, validate=validate, **options)}
    else:
        wanted = None if only is None else canonical(only)
        if wanted is not None and wanted not in places:
            raise DataError(f"{path}: no split {only!r}; there are {', '.join(places)}")
        names = [wanted] if wanted is not None and (chosen.states_classes or classes is not None) else list(places)
        parts = {}
        for name in names:
            images_of = _images_of(folder, name)
            part = chosen.load_split(places[name], name, images_of, validate=validate, **options)
            parts[name] = with_extra(part, split=name)
        parts = _same_classes(parts)
    if classes is not None:
        parts = {
            name: with_classes(part, classes, by_name=not chosen.numbers_classes(part)) for name, part in parts.items()
        }
    if only is not None:
        parts = {name: part for name, part in parts.items() if name == canonical(only)}
    if strict:
        for part in parts.values():
            refuse([dataclasses.replace(issue, fatal=True) for issue in part.issues])
    return parts


def _same_classes(parts: dict[str, Dataset]) -> dict[str, Dataset]:
    if len({part.class_names for part in parts.values()}) <= 1:
        return parts
    classes, maps = common_classes(list(parts.values()))
    return {name: mapped(part, classes, ids) for (name, part), ids in zip(parts.items(), maps, strict=True)}


def _images_of(folder: Path | None, split: str) -> Path | None:
    """The folder of a split in a folder of images that has such, else that folder."""
    return None if folder is None else split_folders(folder).get(split, folder)


def _locate(path: Path, format: str | None) -> tuple[Format, dict[str, Path]]:
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
        chosen, folders = _recognize_splits(path)
        if chosen is None:
            raise
        return chosen, folders
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


def leave_out_records(dataset: Dataset) -> Dataset:
    """Read with `validate=False`: what is wrong with single records stays an issue, what is wrong with all is raised.

    Raises:
        DataError: an issue that belongs to no single record, or no image is left.
    """
    dataset.issues[:] = [
        dataclasses.replace(issue, fatal=False, message=_with_effect(issue.message))
        if issue.fatal and (issue.image_id is not None or issue.annotation_id is not None)
        else issue
        for issue in dataset.issues
    ]
    if not len(dataset) and dataset.issues and not any(issue.fatal for issue in dataset.issues):
        dataset.issues[0] = dataclasses.replace(dataset.issues[0], fatal=True)
    refuse(dataset.issues)
    return dataset


def _with_effect(message: str) -> str:
    return message if "left out" in message else f"{message}; left out"


def _check_options(chosen: Format, options: dict[str, Any]) -> None:
    if not options:
        return
    parameters = inspect.signature(chosen.load).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "validate"]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise DataError(
            f"load_dataset: {chosen.name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}"
        )


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
    search = _holds_keys if state.st_size > _LARGE else _holds_keys.__wrapped__
    return search(str(path), state.st_size, state.st_mtime_ns, keys)


@functools.lru_cache(maxsize=256)
def _holds_keys(path: str, size: int, changed: int, keys: tuple[str, ...]) -> bool:
    """See `holds_keys`; size and time of the last change tell one content of a file from another."""
    wanted = {f'"{key}"'.encode() for key in keys}
    number, overlap = len(wanted), max(map(len, wanted))
    try:
        with open(path, "rb") as file:
            block = file.read(_BLOCK)
            if not block.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
                return False
            while block and wanted:
                wanted = {key for key in wanted if key not in block}
                if size > _LARGE and len(wanted) == number:
                    return False
                following = file.read(_BLOCK)
                block = block[-overlap:] + following if following else b""
    except OSError:
        return False
    return not wanted


_LARGE = 2**26
_BLOCK = 2**20
