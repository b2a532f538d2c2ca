"""The content of a COCO file: small ones as a whole, large ones without their annotations, which come in pieces."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco_annotations import AnnotationReader
from mrcnn.data.formats.coco_objects import joint_names
from mrcnn.data.formats.fields import parse_entries, parse_json, read_text, short
from mrcnn.data.formats.json_arrays import JsonArrays

KEYS = ("images", "annotations", "categories")
LARGE = 2**24
"""Files of more bytes are read in pieces."""


class CocoSource:
    """The three lists of a file.

    Attributes:
        data: the content; of a large file its annotations are left out.
        pieces: the annotations of a large file, else None.
    """

    def __init__(self, data: dict[str, Any], pieces: JsonArrays | None = None) -> None:
        self.data, self.pieces = data, pieces

    def feed(self, reader: AnnotationReader) -> None:
        """Hand the annotations of a large file over.

        Raises:
            ValueError: they are no JSON.
        """
        number = 0
        for piece in self.pieces.pieces("annotations") if self.pieces is not None else ():
            number += reader.add_piece(number, piece)


def read_coco(path: Path) -> dict[str, Any]:
    """The content of a file.

    Raises:
        DataError: it is no JSON, or lacks one of the lists.
    """
    data = parse_json(read_text(path, expected="COCO JSON file"), str(path))
    if not isinstance(data, dict):
        raise DataError(f'{path}: expected an object with "images", "annotations" and "categories", got {short(data)}')
    for key in KEYS:
        if not isinstance(data.get(key), list):
            actual = f"{key} is {short(data[key])}" if key in data else f"the file has {short(list(data))}"
            raise DataError(f'{path}: expected a list "{key}"; {actual}')
    return data


def open_large(path: Path, keypoints: bool | None) -> CocoSource | None:
    """A large file; None where it is small, or where what is in it is decided by all annotations together.

    Those are a category 0, which may be a supercategory without an object, and joints that no category names.
    """
    try:
        if not _is_large(path):
            return None
        arrays = JsonArrays(path, KEYS)
        if set(arrays.places) != set(KEYS):
            return None
        data = json.loads(arrays.rest)
        data["categories"] = [entry for piece in arrays.pieces("categories") for entry in json.loads(piece)]
        data["images"] = [entry for piece in arrays.pieces("images") for entry in parse_entries(piece)]
        if any(isinstance(entry, dict) and isinstance(entry.get("id"), float) for entry in data["images"]):
            return None  # perhaps an integer past 64 bits
        categories = [entry for entry in data["categories"] if isinstance(entry, dict)]
        if any(str(entry.get("id")) in ("0", "0.0", "False") for entry in categories):
            return None
        are_named = any(map(joint_names, categories))
        if not are_named and keypoints is not False and (keypoints or arrays.mentions("annotations", b'"keypoints"')):
            return None
    except (ValueError, OSError, RecursionError):
        return None  # whatever it is, reading it as a whole says so
    return CocoSource(data, arrays)


@contextlib.contextmanager
def collector_off(path: Path) -> Iterator[None]:
    """Python's garbage collector off for a large file: it would look at millions of new objects for nothing.

    Afterwards they count as old, so that it does not look at them at once either.
    """
    if not gc.isenabled() or not _is_large(path):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def _is_large(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > LARGE
    except (OSError, ValueError):
        return False  # reading it says why
