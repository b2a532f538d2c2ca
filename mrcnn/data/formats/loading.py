"""`load_dataset`: a data set in any format, its splits, and its classes in the order asked for."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, refuse
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.registry import locate
from mrcnn.data.formats.splits import canonical, split_folders
from mrcnn.data.views import common_classes, mapped, merge, with_classes, with_extra


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
    return tuple(locate(Path(path), format)[1])


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
    chosen, places = locate(path, format)
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
