"""Names to write to, so that no file of the user's is ever replaced.

A file may be replaced where an earlier call of this package wrote it: drawings say so inside the PNG, reports by their
content. Anything else keeps its name, and what is new gets another one, or is refused before any work is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from mrcnn.text import file_stem, printable

RESULTS_FILE = "detections.json"
DRAWN_BY = "mrcnn detect"
"""Kept in each drawing under the key "Software", by which it is known when it may be replaced."""
_LONGEST_STEM = 200  # bytes; file systems take 255, suffix and temporary names included
PAGES = ("report.html", "report_data.json")
"""The page of an evaluation, and its numbers."""
INSPECTION = ("report.json", "inspect.html")
"""What is known of a data set, and its page."""
COMPARISONS = ("compare.html", "compare.json")
"""The same of a comparison."""
PROPOSED_FILE = "proposed.csv"
PROPOSED_COLUMNS = ("rank", "file", "uncertainty", "distance", "objects")
_REPORT_KEYS = {
    "metrics.json": {"numbers", "per_class"},
    "report.json": {"images", "objects", "per_class", "issues"},
    "report_data.json": {"written_by", "numbers", "image_results"},
    "compare.json": {"written_by", "runs", "image_results"},
}
_PAGE_MARK = b'<meta name="generator" content="mrcnn '
_RESULT_KEYS = {"image_id", "category_id", "bbox", "score"}


@dataclasses.dataclass
class Staged:
    """A folder to write to, whose files are moved to where they belong at the end.

    Attributes:
        folder: to write to.
        written: where the files lie afterwards.
    """

    folder: Path
    written: list[Path] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def staged(out: Path, *fixed: str) -> Iterator[Staged]:
    """A temporary folder inside `out`; on leaving without an error its files are moved to free names in `out`.

    Args:
        out: made if it is absent.
        fixed: names that must be free, or hold what this package wrote; the others may get a number.

    Raises:
        typer.BadParameter: `out` cannot be written to, or a fixed name is taken.
    """
    with made_folder(out):
        for name in fixed:
            expect_replaceable(out / name)
        files = Staged(Path(tempfile.mkdtemp(prefix=".mrcnn.", dir=out)))
        try:
            yield files
            for path in sorted(files.folder.iterdir(), key=lambda path: (path.name not in fixed, path.name)):
                target = out / path.name if path.name in fixed else free_path(out, path.stem, path.suffix)
                os.replace(path, target)
                files.written.append(target)
        finally:
            shutil.rmtree(files.folder, ignore_errors=True)


@contextlib.contextmanager
def made_folder(out: Path) -> Iterator[None]:
    """Make a folder; where the block fails and left it empty, it is removed again.

    Raises:
        typer.BadParameter: it cannot be made or written to.
    """
    absent = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise typer.BadParameter(f"{out}: cannot be written to ({error.strerror or error})") from error
    try:
        yield
    except BaseException:
        if absent:
            with contextlib.suppress(OSError):  # not empty
                out.rmdir()
        raise


def expect_free(path: Path, overwrite: bool = False, inputs: Sequence[Path] = ()) -> None:
    """Refuse a name that is an input's, with --overwrite too, or another file's.

    Raises:
        typer.BadParameter: names the file.
    """
    if any(_is_same(path, source) for source in inputs):
        raise typer.BadParameter(f"{path}: is the input, which is never replaced; choose another name")
    if path.is_dir():
        raise typer.BadParameter(f"{path}: a folder, expected the name of a file")
    if path.exists() and not overwrite:
        raise typer.BadParameter(f"{path}: exists; choose another name, or pass --overwrite")


def expect_replaceable(path: Path) -> None:
    """Refuse a name that a file of the user's has.

    Raises:
        typer.BadParameter: names the file.
    """
    if path.exists() and not is_ours(path):
        raise typer.BadParameter(f"{path}: exists and was not written by mrcnn; choose another folder for --out")


def free_path(out: Path, stem: str, suffix: str, taken: Sequence[Path] | set[Path] = ()) -> Path:
    """A name in a folder that replaces nothing of the user's; numbered where the first choice is taken.

    Args:
        out: the folder.
        stem: wanted; what cannot be printed or is too long is replaced.
        suffix: with its dot.
        taken: further names that are not free.
    """
    stem = safe_stem(stem)
    known = {os.path.normcase(path.name.lower()) for path in taken}
    number, name = 1, f"{stem}{suffix}"
    while os.path.normcase(name.lower()) in known or ((out / name).exists() and not is_ours(out / name)):
        number += 1
        name = f"{stem}_{number}{suffix}"
    return out / name


def drawing_paths(out: Path, files: Sequence[Path]) -> list[Path]:
    """Where to write the drawing of each image: its own name as PNG, numbered where that is taken.

    Args:
        out: the folder.
        files: the images; none of them is replaced, drawings of an earlier call are.
    """
    inputs = {Path(os.path.realpath(file)) for file in files}
    folder = Path(os.path.realpath(out))
    taken = {path for path in inputs if path.parent == folder}
    targets = []
    for file in files:
        target = free_path(out, file.stem, ".png", taken)
        taken.add(target)
        targets.append(target)
    return targets


def safe_stem(stem: str) -> str:
    """A file's stem itself, unless it drives a terminal or is too long for a name with further letters."""
    if printable(stem) == stem and len(os.fsencode(stem)) <= _LONGEST_STEM:
        return stem
    return file_stem(stem, _LONGEST_STEM)


def is_ours(path: Path) -> bool:
    """Whether an earlier call of this package wrote a file."""
    if not path.is_file() or path.is_symlink():
        return False
    if path.suffix.lower() == ".png":
        return _is_our_png(path)
    if path.suffix.lower() == ".html":
        return _is_our_page(path)
    if path.name == PROPOSED_FILE:
        return _has_our_columns(path)
    if path.name in _REPORT_KEYS or path.name == RESULTS_FILE:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        if path.name == RESULTS_FILE:
            return isinstance(content, list) and all(isinstance(r, dict) and set(r) >= _RESULT_KEYS for r in content)
        return isinstance(content, dict) and set(content) >= _REPORT_KEYS[path.name]
    return False


def _has_our_columns(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.readline(100).strip() == ",".join(PROPOSED_COLUMNS).encode()
    except OSError:
        return False


def _is_our_page(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _PAGE_MARK in file.read(1000)
    except OSError:
        return False


def _is_our_png(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            return str(image.info.get("Software", "")).startswith("mrcnn ")
    except Exception:  # damaged, or no image at all: not ours
        return False


def _is_same(a: Path, b: Path) -> bool:
    try:
        return a.exists() and b.exists() and os.path.samefile(a, b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)
