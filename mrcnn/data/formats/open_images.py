"""Open Images: masks as PNG files, listed in `*-annotations-object-segmentation.csv`.

The CSV files lie in annotations/ or the folder itself, images in images/SPLIT or images/, masks in masks/SPLIT, masks/
or beside the CSV. Names of classes come from `*class-descriptions*.csv`. A mask of another size than its image, as Open
Images has them, is brought to the image's. Boxes alone are not read.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import read_text, short
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_map import read_values
from mrcnn.data.formats.splits import canonical, in_order, name_in, split_folders

_COLUMNS = ("MaskPath", "ImageID", "LabelName")


class OpenImages(Format):
    """Open Images masks; see the module."""

    name = "open_images"
    looks_for = "a CSV file with the columns MaskPath, ImageID and LabelName"

    def recognize(self, path: Path) -> bool:
        """Whether a file or folder has it."""
        return bool(_files(path))

    def splits(self, path: Path) -> dict[str, Path]:
        """By the names of the CSV files."""
        named = {canonical(name_in(file.stem) or file.stem): file for file in _files(path)}
        return {name: named[name] for name in in_order(list(named))} if path.is_dir() else {}

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: Any
    ) -> Dataset:
        """The masks of a CSV file."""
        return _load(path, split, images, validate)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a CSV file.

        Raises:
            DataError: see `Format.load`.
        """
        return _load(path, name_in(path.stem), images, validate)


def _files(path: Path) -> list[Path]:
    candidates = [path] if path.is_file() else [*files_below(path / "annotations", (".csv",), 0)]
    candidates += files_below(path, (".csv",), 0) if path.is_dir() else []
    return [file for file in candidates if _has_columns(file)]


def _has_columns(file: Path) -> bool:
    try:
        with open(file, "rb") as opened:
            header = opened.readline(4096).decode("utf-8-sig", "replace")
        names = next(csv.reader([header.strip()]), [])
    except (OSError, csv.Error):
        return False
    return all(name in names for name in _COLUMNS)


def _load(file: Path, split: str | None, images: Path | None, validate: bool) -> Dataset:
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    names = _names(file.parent)
    collector = Collector(file, "open_images")
    folder = images or root / "images"
    folder = folder if folder.is_dir() else root
    files = ImageFiles([split_folders(folder).get(split or "", folder)])
    mask_root = root / "masks" if (root / "masks").is_dir() else root
    masks = {f.name: f for f in files_below(split_folders(mask_root).get(split or "", mask_root), (".png",))}
    rows: dict[str, list[dict[str, str]]] = {}
    header, *lines = _rows(file) or [[]]
    if not set(_COLUMNS) <= set(header):
        raise DataError(f"{file}: expected the columns {', '.join(_COLUMNS)}, got {short(header)}")
    for line in lines:
        row = dict(zip(header, line, strict=False))
        rows.setdefault(row.get("ImageID", ""), []).append(row)
    _report_unnamed(collector, rows, names)
    used = set()
    for image_id, entries in rows.items():
        file_of = files.find(image_id)
        used.add(file_of)
        image = collector.image(image_id, file_of, label=file, missing=files.missing(image_id))
        if image is not None:
            for row in entries:
                _add(image, row, masks, names)
    for other in files.files:
        if other not in used:
            collector.report("image without label", f"{other.name} has no mask; kept without objects", other.stem)
            collector.image(other.stem, other)
    return collector.finish(validate=validate)


def _report_unnamed(collector: Collector, rows: dict[str, list[dict[str, str]]], names: dict[str, str]) -> None:
    """One issue for each label that the file of names leaves out; without such a file labels are the names."""
    labels = {label for entries in rows.values() for row in entries if (label := row.get("LabelName"))}
    for label in sorted(labels - set(names)) if names else ():
        message = f"class {short(label)} is in no *class-descriptions*.csv, expected its name; its label is taken"
        collector.report("class name", message, record=label)


def _add(image: ImageObjects, row: dict[str, str], masks: dict[str, Path], names: dict[str, str]) -> None:
    name = Path((row.get("MaskPath") or "").replace("\\", "/")).name
    label = row.get("LabelName") or ""
    if name not in masks:
        image.leave_out("missing mask", f"no such mask: {name!r}", name)
        return
    try:
        values = read_values(masks[name])
    except DataError as error:
        image.leave_out("damaged label", str(error), name)
        return
    bits = values.any(axis=2) if values.ndim == 3 else values > 0
    if bits.shape != (image.height, image.width):
        gray = Image.fromarray(bits.astype(np.uint8)).resize((image.width, image.height), Image.Resampling.NEAREST)
        bits = np.asarray(gray) > 0
    image.add_mask(names.get(label, label), bits, record=name)


def _names(folder: Path) -> dict[str, str]:
    """LabelName -> DisplayName."""
    names: dict[str, str] = {}
    for file in files_below(folder, (".csv",), 0):
        if "class-descriptions" in file.name:
            names.update({row[0]: row[1] for row in _rows(file) if len(row) >= 2 and row[0] != "LabelName"})
    return names


def _rows(file: Path) -> list[list[str]]:
    """The lines of a CSV file that are not empty.

    Raises:
        DataError: it cannot be read, or is no CSV.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""))
    try:
        return [row for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: not valid CSV ({error})") from error
