"""Loading a folder of label files, one an image, which several formats share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.errors import DataError
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.fields import parse_json, read_text
from mrcnn.data.formats.image_files import ImageFiles
from mrcnn.data.formats.image_objects import ImageObjects


def read_labels(
    collector: Collector,
    labels: Sequence[Path],
    root: Path,
    files: ImageFiles,
    read: Callable[[Path], tuple[str, tuple[int, int] | None, Callable[[ImageObjects], None]]],
) -> set[Path]:
    """Add an image for each label file; the images that are used or whose label is damaged.

    Args:
        collector: gets images and issues.
        labels: files of one image each.
        root: image ids are their paths below it.
        files: the images.
        read: of a label: the name of its image, (height, width) if stated, and what adds its objects; raises DataError.
    """
    used: set[Path] = set()
    for label in labels:
        image_id = relative_id(label, root)
        try:
            name, stated, add = read(label)
        except DataError as error:
            collector.report("damaged label", f"{error}; its image is left out", image_id, path=label)
            file = files.find(image_id) or files.find(label.stem)
            used |= {file} if file else set()
            continue
        file = files.find(name) or files.find(image_id) or files.find(label.stem)
        image = collector.image(image_id, file, stated=stated, label=label, missing=files.missing(name or label.stem))
        used |= {file} if file else set()
        if image is not None:
            add(image)
    return used


def keep_unlabeled(collector: Collector, files: ImageFiles, used: set[Path], root: Path) -> None:
    """Add the images that no label names, without objects."""
    for file in files.files:
        if file not in used:
            image_id = relative_id(file, root)
            collector.report("image without label", f"{file.name} has no label; kept without objects", image_id)
            collector.image(image_id, file)


def read_object(label: Path, encoding: str = "utf-8") -> dict[str, Any]:
    """The object of a JSON file.

    Args:
        label: the file.
        encoding: tried where it is not UTF-8.

    Raises:
        DataError: it holds something else.
    """
    try:
        text = read_text(label)
    except DataError:
        if encoding == "utf-8":
            raise
        text = label.read_bytes().decode(encoding, "replace")
    content = parse_json(text, str(label))
    if not isinstance(content, dict):
        raise DataError(f"{label}: expected an object, got {type(content).__name__}")
    return content
