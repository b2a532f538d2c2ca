"""The folder of a served model: versions 1, 2, ... and the server's configuration."""

from __future__ import annotations

import os
from pathlib import Path

from mrcnn.errors import InputError
from mrcnn.export import tf_serving


def versions(path: Path) -> list[int]:
    return [int(entry.name) for entry in path.iterdir() if entry.is_dir() and entry.name.isdecimal()]


def expect_versions(path: Path, version: int | None) -> None:
    """Refuses a folder in which a version has no place."""
    if version is not None and version < 1:
        raise InputError(f"version: expected at least 1, got {version}")
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path}: a file, expected a folder for the versions of a SavedModel")
    for entry in path.iterdir():
        ours = entry.name in tf_serving.CONFIG_FILES or entry.name.startswith(".export.")
        if not ours and not (entry.is_dir() and entry.name.isdecimal()):
            raise InputError(
                f"{path}: holds {entry.name}, expected nothing but versions of a SavedModel (folders 1, 2, ...); "
                "choose another folder"
            )
    if version is not None and (path / str(version)).exists():
        raise InputError(f"{path / str(version)}: exists; choose another version")


def make_folder(path: Path) -> list[Path]:
    """Makes a folder and those above it; returns what was made, the innermost first."""
    made: list[Path] = []
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.insert(0, folder)
    return made


def move(folder: Path, base: Path, version: int | None) -> Path:
    """Renames the folder to its version; another export that took the number meanwhile keeps it."""
    number = version or max(versions(base), default=0) + 1
    while True:
        target = base / str(number)
        if not target.exists():
            try:
                os.rename(folder, target)
                return target
            except OSError:
                if not target.exists():
                    raise
        if version is not None:
            raise InputError(f"{target}: exists; choose another version")
        number += 1
