"""Where matterport's checkpoints lie: NAME + time / mask_rcnn_NAME_EPOCH.h5 below a folder of logs."""

from __future__ import annotations

import datetime
import errno
import os
import re
from typing import Any

_CHECKPOINT = re.compile(r".*[/\\][\w-]+(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})[/\\]mask\_rcnn\_[\w-]+(\d{4})\.h5")


class LastCheckpoint(str):
    """The path of a checkpoint. `find_last()[1]`, of scripts that expect (folder, path), is the whole path too."""

    def __getitem__(self, index: Any) -> str:
        if isinstance(index, int) and index == 1:
            return str(self)
        return super().__getitem__(index)


def find_last(model_dir: str | os.PathLike[str], name: str) -> LastCheckpoint:
    """The newest checkpoint of a Config's NAME below a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    key = name.lower()
    folders = sorted(folder for folder in _listed(model_dir, 1) if folder.startswith(key))
    if not folders:
        raise FileNotFoundError(errno.ENOENT, f"Could not find model directory under {model_dir}")
    folder = os.path.join(model_dir, folders[-1])
    files = sorted(file for file in _listed(folder, 2) if file.startswith("mask_rcnn"))
    if not files:
        raise FileNotFoundError(errno.ENOENT, f"Could not find weight files in {folder}")
    return LastCheckpoint(os.path.join(folder, files[-1]))


def _listed(folder: str | os.PathLike[str], which: int) -> list[str]:
    """The names of the folders (1) or of the files (2) in a folder; none where it is not there."""
    return list(next(os.walk(folder), ("", [], []))[which])


def time_and_epoch(path: str) -> tuple[datetime.datetime, int] | None:
    """When the training of a checkpoint began, and its epoch, as its path says; None where it is no such path.

    Example:
        >>> time_and_epoch("logs/nuts20240131T0905/mask_rcnn_nuts_0012.h5")
        (datetime.datetime(2024, 1, 31, 9, 5), 12)
    """
    match = _CHECKPOINT.match(path)
    if match is None:
        return None
    year, month, day, hour, minute, epoch = map(int, match.groups())
    return datetime.datetime(year, month, day, hour, minute), epoch
