"""ADE20K: what datumaro wrote, objects by hand, and what is wrong with single records and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.ade20k import Ade20k
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import DATUMARO, assert_issue, kinds, masks, write_image


def write(folder: Path, objects: Any, name: str = "x", **annotation: Any) -> Path:
    """The JSON file of an image of 30 x 40, and the image."""
    write_image(folder / f"{name}.jpg")
    content = {"filename": f"{name}.jpg", "imsize": [30, 40, 3], "object": objects, **annotation}
    (folder / f"{name}.json").write_text(json.dumps({"annotation": content}, ensure_ascii=False), "cp1252")
    return folder


def entry(number: int, name: Any = "wall", level: Any = 0, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "parts": {"part_level": level}, **more}


POLYGON = {"x": [10, 14, 14, 10], "y": [20, 20, 23, 23]}


def write_mask(file: Path, shape: tuple[int, int] = (30, 40)) -> None:
    """Rows 2..5 of columns 3 and 4."""
    bits = np.zeros(shape, np.uint8)
    bits[2:6, 3:5] = 255
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(bits).save(file)


def test_what_datumaro_wrote() -> None:
    path = DATUMARO / "ade20k2020_dataset/dataset"
    sets = mrcnn.load_splits(path)
    assert isinstance(recognize(path), Ade20k) and list(sets) == ["train", "val"]
    assert sets["train"].image_ids == ("street/1",) and len(sets["train"].annotations(0)) == 2  # its door is a part
    assert sets["train"].class_names[0].startswith("car, auto") and not sets["train"].issues


def test_masks_and_polygons(tmp_path: Path) -> None:
    write_mask(tmp_path / "x/instance_000_x.png")
    write(
        tmp_path,
        [
            entry(3, "café, bar", instance_mask="x\\instance_000_x.png", polygon=POLYGON),  # the file is the finer one
            entry(4, polygon=POLYGON),
            entry(5, "door", 1, polygon=POLYGON),  # a part of another object
        ],
    )
    write_image(tmp_path / "plain.jpg")
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("café, bar", "wall") and [a.annotation_id for a in data.annotations(0)] == [3, 4]
    assert data.annotations(0)[0].box == (2, 3, 6, 5) and data.annotations(0)[1].box == (20, 10, 23, 14)
    first, second = masks(data, 0)
    assert first[2:6, 3:5].all() and first.sum() == 8 and second[20:23, 10:14].all() and second.sum() == 12
    assert kinds(data) == ["image without label"] and data.image_ids == ("x", "plain") and not data.annotations(1)


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        (entry(9), "shape", "no mask file and no polygon"),
        (entry(9, instance_mask="x/gone.png"), "shape", "no such mask: 'x/gone.png', and no polygon"),
        (entry(9, instance_mask="../x.png", polygon=7), "shape", r"no such mask: '\.\./x\.png'"),
        (entry(9, instance_mask="x/small.png"), "damaged label", r"small\.png: 20 x 40, not the size of its image"),
        (entry(9, instance_mask="x/cut.png"), "damaged label", r"cut\.png: "),
        (entry(9, instance_mask="x/empty.png"), "mask without a pixel", "without a pixel"),
        (entry(9, polygon={"x": [1, 5, 5], "y": [1, 1]}), "shape", "no polygon with x and y"),
        (entry(9, polygon={"x": [1, 5, None], "y": [1, 1, 4]}), "shape", "no polygon with x and y"),
        (entry(9, polygon={"x": [100, 105, 105], "y": [1, 1, 4]}), "", "outside|area|left out"),
        (entry(9, None, polygon=POLYGON), "unknown class", "no class is named"),
    ],
)
def test_bad_objects_are_named(tmp_path: Path, bad: dict[str, Any], kind: str, reason: str) -> None:
    write_mask(tmp_path / "x/small.png", (20, 40))
    write_mask(tmp_path / "x/whole.png")
    (tmp_path / "x/cut.png").write_bytes((tmp_path / "x/whole.png").read_bytes()[:50])
    Image.new("L", (40, 30)).save(tmp_path / "x/empty.png")
    write(tmp_path, [entry(8, polygon=POLYGON), bad, "no object"])
    data = mrcnn.load_dataset(tmp_path)
    assert [a.annotation_id for a in data.annotations(0)] == [8]
    assert_issue(data, kind, reason, path="x.json", image_id="x", record=9)
    assert_issue(data, "shape", "expected an object, got 'no object'", path="x.json", image_id="x", record=2)
    with pytest.raises(DataError, match=r"x\.json, image x, annotation 9: "):
        mrcnn.load_dataset(tmp_path, strict=True)


def test_bad_files_are_named(tmp_path: Path) -> None:
    good = [entry(1, polygon=POLYGON)]
    write(tmp_path, good)
    write(tmp_path, good, "gone")
    (tmp_path / "gone.jpg").unlink()
    write(tmp_path, good, "size", imsize=[300, 40, 3])
    write(tmp_path, {}, "list")
    write(tmp_path, good, "cut")
    (tmp_path / "cut.json").write_text('{"annotation": {"object": [')
    data = mrcnn.load_dataset(tmp_path)
    assert data.image_ids == ("x",)
    assert_issue(data, "missing image", r"no such image: 'gone.jpg'", path="gone.json", image_id="gone")
    assert_issue(data, "image size", "30 x 40 .* 300 x 40", path="size.json", image_id="size")
    assert_issue(data, "damaged label", 'expected "annotation" with a list "object"', path="list.json", image_id="list")
    assert_issue(data, "damaged label", "not valid JSON", path="cut.json", image_id="cut")
    assert len(data.issues) == 4
