from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.structures.records import Annotation


def test_validate_finds_every_kind(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no")
    Image.new("L", (8, 6)).save(tmp_path / "a.png")
    dataset = Dataset()
    dataset.add_class("mine", 1, "thing")
    wrong = [
        Annotation(2, (1, 1, 4, 5), annotation_id="class"),
        Annotation(1, (1, 1, 1, 5), annotation_id="box"),
        Annotation(1, (1, 1, 4, 5), {"size": [1, 1], "counts": [1]}, annotation_id="rle"),
    ]
    dataset.add_image("mine", 0, tmp_path / "a.png", annotations=wrong)
    dataset.add_image("mine", 1, tmp_path / "bad.png")
    dataset.add_image("mine", 2, None)
    issues = dataset.validate()
    assert [(f.kind, f.image_id, f.annotation_id) for f in issues] == [
        ("class", 0, "class"),
        ("box", 0, "box"),
        ("RLE", 0, "rle"),
        ("image", 1, None),
        ("no image", 2, None),
    ]
    assert all(f.fatal for f in issues)


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_orientation_that_the_record_overrules_is_an_issue(tmp_path: Path, orientation: int) -> None:
    for name in ("a.tif", "a.jpg"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"tiffinfo": {0x0112: orientation}} if name.endswith("tif") else {"exif": exif}
        Image.new("L", (16, 8)).save(tmp_path / name, **options)
        stored, shown = Dataset(), Dataset()
        stored.add_image("mine", 0, tmp_path / name, height=8, width=16)
        shown.add_image("mine", 0, tmp_path / name, height=16, width=8)
        assert stored.load_image(0).shape == (8, 16, 3)
        if orientation == 1:
            assert stored.validate() == []
            assert [issue.kind for issue in shown.validate()] == ["image"]
            continue
        (issue,) = stored.validate()
        assert (issue.kind, issue.fatal, issue.image_id) == ("orientation", False, 0)
        assert "its orientation tag is 6, by which it is 16 x 8" in issue.message
        assert shown.validate() == [] and shown.validate(pixels=True) == []
        assert shown.load_image(0).shape == (16, 8, 3)
        unknown = Dataset()
        unknown.add_image("mine", 0, tmp_path / name)
        assert unknown.image_shape(0) == (16, 8) == unknown.load_image(0).shape[:2]
