"""The image files of a folder, found by the names that label files give them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from mrcnn.data.errors import DataError
from mrcnn.data.image_file import image_suffixes

MAX_DEPTH = 6


def files_below(folder: Path, suffixes: Iterable[str], depth: int = MAX_DEPTH, limit: int | None = None) -> list[Path]:
    """Files of some suffixes, sorted by path; hidden ones are passed over.

    Args:
        folder: where to look; one that is not there holds none.
        suffixes: in lower case, with the dot.
        depth: 0: only the folder itself.
        limit: stop after so many files of each folder, and of all.
    """
    files = list(_walk(str(folder), tuple(suffixes), depth, limit))
    return [Path(name) for name in sorted(files[:limit])]


def _walk(folder: str, suffixes: tuple[str, ...], depth: int, limit: int | None) -> Iterator[str]:
    folders, number = [], 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(suffixes):
                    if entry.is_file():
                        number += 1
                        yield entry.path
                        if limit is not None and number >= limit:
                            break
                elif depth > 0 and entry.is_dir():
                    folders.append(entry.path)
    except OSError:
        return
    for name in sorted(folders):
        yield from _walk(name, suffixes, depth - 1, limit)


def images_below(folder: Path, depth: int = MAX_DEPTH) -> list[Path]:
    """The image files of a folder and those in it."""
    return files_below(folder, image_suffixes(), depth)


class ImageFiles:
    """Image files by name.

    A name may come with folders in front, with Windows' separators, in other case, and with another suffix or none.

    Args:
        folders: where images are; the first that has a name wins.
        depth: how deep to look below each.

    Raises:
        DataError: a folder is not there.
    """

    def __init__(self, folders: Sequence[Path], depth: int = MAX_DEPTH) -> None:
        self.folders = list(folders)
        self.files: list[Path] = []
        self._by_path: dict[str, list[Path]] = {}
        seen: set[Path] = set()
        for folder in self.folders:
            if not folder.is_dir():
                raise DataError(f"{folder}: no such folder of images")
            for file in images_below(folder, depth):
                if file not in seen:
                    seen.add(file)
                    self.files.append(file)
                    self._add(file, folder)

    def _add(self, file: Path, folder: Path) -> None:
        relative = PurePosixPath(file.relative_to(folder).as_posix())
        stem = relative.with_suffix("") if relative.suffix else relative
        for key in {str(relative), relative.name, str(stem), stem.name}:
            self._by_path.setdefault(key, []).append(file)
            if key.lower() != key:
                self._by_path.setdefault(key.lower(), []).append(file)

    def find(self, name: str) -> Path | None:
        """The one file that a name may mean; None: there is none, or several fit equally well."""
        plain = name.replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            key = "/".join(parts[start:])
            stem = key.rpartition(".")[0] if "." in parts[-1] else key
            for form in (key, stem):
                for candidate in dict.fromkeys((form, form.lower())):
                    match = self._one(candidate, key)
                    if match is not None:
                        return match
        return None

    def _one(self, key: str, wanted: str) -> Path | None:
        files = self._by_path.get(key, [])
        if len(files) > 1:
            tail = [file for file in files if file.as_posix().endswith("/" + wanted)]
            exact = tail or [f for f in files if f.with_suffix("").as_posix().endswith("/" + wanted)]
            files = exact if len(exact) == 1 else []
        return files[0] if files else None

    def missing(self, name: str) -> str:
        """The sentence for an image that is not there, or not there once."""
        base = name.replace("\\", "/").rpartition("/")[2]
        close = self._by_path.get(base.lower()) or self._by_path.get(base.rpartition(".")[0].lower())
        if close and len(close) > 1:
            return f"image {name!r} may be {' or '.join(map(str, close[:3]))}"
        return f"no such image: {name!r} in {', '.join(map(str, self.folders))}"
