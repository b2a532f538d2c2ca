"""Image files of folders and patterns, and one line on what a folder holds besides."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Union

from mrcnn.data.errors import DataError
from mrcnn.data.image_file import image_suffixes, open_file, open_image
from mrcnn.text import printable

logger = logging.getLogger("mrcnn")

PathLike = Union[str, "os.PathLike[str]"]
_LISTED = 5


def list_images(sources: PathLike | Iterable[PathLike]) -> list[Path]:
    """Image files of paths, folders and glob patterns, in the order given, each once.

    A folder stands for all files in it that `read_image` reads, sorted by name: those with one of the
    `image_suffixes`, and others whose content is an image. What is left out of a folder is logged in one line with the
    reasons; hidden files are not mentioned. A pattern stands for all files that match it.

    Args:
        sources: paths of files or folders, or patterns such as "new/*.jpg" or "new/**/*.png".

    Returns:
        the files. A file that is named is listed whether it is an image or not.

    Raises:
        DataError: a path that does not exist, a pattern that matches nothing, or a folder without images.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 4)).save(folder / "a.png")
        >>> [path.name for path in list_images(folder)]
        ['a.png']
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    files: list[Path] = []
    for source in sources:
        path = Path(source)
        try:
            if path.is_dir():
                files += _folder(path)
                continue
            if path.exists():
                files.append(path)
                continue
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be looked at ({error})") from error
        pattern = os.fspath(source)
        if not glob.has_magic(pattern):
            raise DataError(f"{pattern}: no such file or folder")
        matches = sorted(Path(p) for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
        if not matches:
            raise DataError(f"{pattern}: matches no file")
        files += matches
    return list(dict.fromkeys(files))


def _folder(folder: Path) -> list[Path]:
    """The images in a folder; what is left out is logged."""
    suffixes = set(image_suffixes())
    images: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    folders = 0
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            folders += 1
            continue
        reason = None if path.suffix.lower() in suffixes else _why_not(path)
        if reason is None:
            images.append(path)
        else:
            left_out.append((path, reason))
    if not images:
        listed = f"; {_summary(left_out, folders)}" if left_out or folders else ""
        raise DataError(f"{folder}: a folder without images{listed}")
    if left_out or folders:
        logger.warning("%s: %s", printable(folder), printable(_summary(left_out, folders)))
    return images


def _why_not(path: Path) -> str | None:
    """Why a file is no image; None if its content is one."""
    try:
        with open_file(str(path)) as file, open_image(file, str(path)):
            return None
    except DataError as error:
        return str(error).removeprefix(f"{printable(path)}: ")


def _summary(left_out: list[tuple[Path, str]], folders: int) -> str:
    """One line: how many files were left out, by suffix and reason, and how many folders."""
    parts = []
    counts = Counter((path.suffix.lower() or path.name, reason) for path, reason in left_out)
    for (suffix, reason), count in counts.most_common(_LISTED):
        parts.append(f"{count} x {suffix} ({reason})")
    if len(counts) > _LISTED:
        parts.append(f"and {len(counts) - _LISTED} other kinds")
    line = f"left out {len(left_out)} file{'s' * (len(left_out) != 1)}: {', '.join(parts)}" if left_out else ""
    if folders:
        inside = f"{folders} folder{'s' * (folders != 1)} inside not searched (a pattern such as **/*.png would)"
        line = f"{line}; {inside}" if line else inside
    return line
