"""Where the image files that an annotation file names are."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from mrcnn.data.errors import DataError
from mrcnn.data.formats.splits import name_in, split_folders
from mrcnn.data.remote import RemoteFolder, exists, remote_path

_MANY = 1000
_PLAIN_NAME = re.compile(r"[\w .-]+")
_LABEL_FOLDERS = ("annotations", "annotation", "labels")


class ImageLookup:
    """Finds image files by the names in an annotation file, as other programs and systems wrote them.

    A name is looked up in `images_dir` if that is given, in "images" beside the annotation file, beside the file
    itself, and in folders beside it with "image" in their names; of a file in a folder "annotations" also beside that
    folder, in "images" there, and in the folders named as the split that the file is named after ("train2017" of
    "instances_train2017.json"). It is looked up as it is, with "/" for the backslashes of Windows, and percent-decoded.
    An absolute path or a URL of another machine is shortened from the front until a file is there, as long as no other
    image of the set has the same file name; last, a file of the same name in other case is taken, if there is one only.

    Args:
        path: of the annotation file.
        images_dir: folder of the images, or None.
        names: all names in the annotation file.

    Raises:
        DataError: `images_dir` is no folder.
    """

    def __init__(self, path: Path, images_dir: str | os.PathLike[str] | None, names: Iterable[str]) -> None:
        folders = [path.parent / "images", path.parent]
        remote = None if images_dir is None else remote_path(images_dir)
        self._remote = None if remote is None else RemoteFolder(remote)
        if images_dir is not None and remote is None:
            if not os.path.isdir(images_dir):
                raise DataError(f"{os.fspath(images_dir)}: no such folder of images")
            folders = [Path(images_dir), *_of_split(Path(images_dir), path.stem), *folders]
        elif path.parent.name.lower() in _LABEL_FOLDERS:
            above = path.parent.parent
            folders += [*_of_split(above / "images", path.stem), *_of_split(above, path.stem), above / "images", above]
        if images_dir is None:
            folders += _named_images(path.parent)
        self.folders = [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]
        self._names = list(names)
        self._refused: dict[str, str] = {}
        self._plain_files: dict[Path, set[str]] = {}
        self._counts: Counter[str] | None = None
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def find_path(self, name: str) -> str | None:
        """The path of that file, or None; of many names faster than `find`.

        Other than `find` it knows file systems of TensorFlow, which the name itself or `images_dir` may name.
        """
        if self._remote is not None or ":" in name:
            try:
                remote = self._find_remote(name)
            except DataError as error:
                self._refused[name] = str(error)
                remote = None
            if remote is not None:
                return remote
        if len(self._names) > _MANY and _PLAIN_NAME.fullmatch(name):
            for folder in self.folders:
                if name in self._files(folder):
                    return os.path.join(folder, name)
        file = self.find(name)
        return None if file is None else str(file)

    def _find_remote(self, name: str) -> str | None:
        """The path of a file in a file system of TensorFlow, or None; DataError: it refuses to say."""
        remote = remote_path(name)
        if remote is not None and exists(remote):
            return remote
        forms = dict.fromkeys(_forms(name)) if self._remote is not None else ()
        matches = (self._remote.find(form) for form in forms if self._remote is not None)
        return next((match for match in matches if match is not None), None)

    def _files(self, folder: Path) -> set[str]:
        """The names of the files of a folder: one look at it, not one for each of many images."""
        if folder not in self._plain_files:
            try:
                with os.scandir(folder) as entries:
                    self._plain_files[folder] = {entry.name for entry in entries if entry.is_file()}
            except OSError:
                self._plain_files[folder] = set()
        return self._plain_files[folder]

    def find(self, name: str) -> Path | None:
        """The file of that name, or None."""
        forms = list(dict.fromkeys(form for form in _forms(name) if form))
        for form in forms:
            for folder in self.folders:
                if os.path.isfile(folder / form):
                    return folder / form
        if self._is_unique(name):
            for form in forms:
                parts = [part for part in form.split("/") if part not in ("", ".", "..")]
                for start in range(1, len(parts)):
                    for folder in self.folders:
                        candidate = folder.joinpath(*parts[start:])
                        if os.path.isfile(candidate):
                            return candidate
        for form in forms:
            for folder in self.folders:
                match = self._other_case(folder / form)
                if match is not None:
                    return match
        return None

    def _other_case(self, file: Path) -> Path | None:
        """The only file of the folder whose name differs from this in case at most."""
        folder = file.parent
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            try:
                for name in os.listdir(folder):
                    listing.setdefault(name.lower(), []).append(name)
            except OSError:
                pass
            self._listings[folder] = listing
        names = self._listings[folder].get(file.name.lower(), [])
        return folder / names[0] if len(names) == 1 and (folder / names[0]).is_file() else None

    def missing(self, name: str) -> str:
        """The sentence for a file that is not there, or that a file system of TensorFlow refuses."""
        if name in self._refused:
            return self._refused[name]
        remote = [] if self._remote is None else [self._remote.path]
        first, *others = [*remote, *(str(folder) for folder in self.folders)]
        also = f" (nor in {', '.join(others)})" if others else ""
        return f"no such image: {os.path.join(first, name)}{also}"

    def _is_unique(self, name: str) -> bool:
        if self._counts is None:
            self._counts = Counter(_base(other) for other in self._names)
        return self._counts[_base(name)] <= 1


def _named_images(folder: Path) -> list[Path]:
    """The folders in a folder whose names say that images are in them: "input_images", "train_images"."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []
    return [folder / name for name in names if "image" in name.lower() and name.lower() != "images"]


def _of_split(folder: Path, stem: str) -> list[Path]:
    """The folder in a folder that is named as the split in a file's name."""
    split = name_in(stem)
    if split is None:
        return []
    whole = [folder / name for name in os.listdir(folder) if stem.endswith(name)] if folder.is_dir() else []
    own = split_folders(folder).get(split)
    return [*sorted((f for f in whole if f.is_dir()), key=lambda f: -len(f.name)), *([own] if own else [])]


def _forms(name: str) -> list[str]:
    slashes = name.replace("\\", "/")
    plain = slashes.partition("://")[2] if "://" in slashes else slashes
    # Label Studio serves local files as /data/local-files/?d=FOLDER/NAME.
    plain = plain.partition("?d=")[2] or plain.partition("?")[0]
    return [name, slashes, unquote(slashes), plain, unquote(plain)]


def _base(name: str) -> str:
    return _forms(name)[-1].rpartition("/")[2]
