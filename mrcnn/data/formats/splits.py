"""The splits of a data set by the names people give them: train, val, test."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SAME = {
    "training": "train",
    "trn": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "testing": "test",
}
_KNOWN = ("train", "val", "test", "trainval", "minival", "default")
_YEAR = re.compile(r"[-_ ]?(?:19|20)\d\d$")


def canonical(name: str) -> str:
    """The usual name of a split: "validation" is "val", "Train2017" is "train"; others are left in lower case.

    Example:
        >>> canonical("valid"), canonical("Train2017"), canonical("fold_1")
        ('val', 'train', 'fold_1')
    """
    plain = _YEAR.sub("", name.strip().lower())
    return _SAME.get(plain, plain)


def is_split(name: str) -> bool:
    """Whether a folder of this name is likely to hold a split."""
    return canonical(name) in _KNOWN


def name_in(stem: str) -> str | None:
    """The split that a file name ends or begins with: "instances_train2017" is of "train"."""
    parts = [part for part in re.split(r"[-_. ]+", _YEAR.sub("", stem)) if part]
    for part in (*reversed(parts),):
        if is_split(part):
            return canonical(part)
    return None


def in_order(names: list[str]) -> list[str]:
    """train, val, test, then the others by name."""
    return sorted(names, key=lambda name: (_KNOWN.index(name) if name in _KNOWN else len(_KNOWN), name))


def split_folders(path: Path) -> dict[str, Path]:
    """The folders of a folder that are named as splits are, by the usual name; of two for one split the first."""
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and is_split(entry.name))
    except OSError:
        return {}
    folders: dict[str, Path] = {}
    for name in names:
        folders.setdefault(canonical(name), path / name)
    return {name: folders[name] for name in in_order(list(folders))}
