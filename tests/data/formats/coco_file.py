"""A small COCO file for the tests of this folder."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from PIL import Image

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]


def objects(number: int, **fields: Any) -> dict[str, Any]:
    """A file of one image of 100 x 120 with squares of side 10 along its diagonal, each with further fields.

    A field may be a function of the square's number.
    """
    annotations = []
    for i in range(number):
        x = 8 * i + 3
        entry = {
            "id": i + 1,
            "image_id": 7,
            "category_id": 4,
            "bbox": [x, x, 10, 10],
            "segmentation": [[x, x, x + 10, x, x + 10, x + 10, x, x + 10]],
        }
        annotations.append({**entry, **{k: v(i) if callable(v) else v for k, v in fields.items()}})
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 100, "width": 120}],
        "categories": [{"id": 4, "name": "cat"}],
        "annotations": annotations,
    }


def write(folder: Path, data: Any, name: str = "ann.json") -> Path:
    """The data as JSON beside an image for each of its entries that names a plain file."""
    path = folder / name
    path.write_text(json.dumps(data))
    for image in copy.deepcopy(data["images"]):
        file = folder / image["file_name"]
        if file.parent == folder and "\\" not in file.name and not file.exists():
            Image.new("RGB", (int(image["width"]), int(image["height"]))).save(file)
    return path
