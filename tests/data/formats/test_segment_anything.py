"""Segment Anything: what datumaro wrote, masks by hand, and what is wrong with single records and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.segment_anything import SegmentAnything
from tests.data.formats.sample_sets import DATUMARO, assert_issue, kinds, masks, write_image


def write(folder: Path, annotations: Any, name: str = "x", **image: Any) -> Path:
    """The JSON file of an image of 30 x 40, and the image."""
    write_image(folder / f"{name}.png")
    stated = {"image_id": 1, "file_name": f"{name}.png", "height": 30, "width": 40, **image}
    (folder / f"{name}.json").write_text(json.dumps({"image": stated, "annotations": annotations}))
    return folder


def rle(*counts: int, size: tuple[int, int] = (30, 40)) -> dict[str, Any]:
    return {"size": list(size), "counts": list(counts)}


# Column by column: rows 2..5 of columns 3 and 4.
SQUARE = rle(3 * 30 + 2, 4, 26, 4, 30 * 40 - 3 * 30 - 36)


def test_what_datumaro_wrote() -> None:
    path = DATUMARO / "segment_anything_dataset"
    data = mrcnn.load_dataset(path)
    assert isinstance(recognize(path), SegmentAnything) and data.image_ids == ("a", "b")
    assert data.annotations(0)[0].box == (1, 3, 5, 4) and kinds(data) == ["RLE"]  # of an image of another size


def test_masks(tmp_path: Path) -> None:
    polygon = [[10, 10, 14, 10, 14, 13, 10, 13]]
    write(tmp_path, [{"id": 8, "segmentation": SQUARE}, {"id": 9, "segmentation": polygon}])
    write_image(tmp_path / "plain.png")
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("object",) and [a.annotation_id for a in data.annotations(0)] == [8, 9]
    assert data.annotations(0)[0].box == (2, 3, 6, 5) and data.annotations(0)[1].box == (10, 10, 13, 14)
    first, second = masks(data, 0)
    assert first[2:6, 3:5].all() and first.sum() == 8 and second[10:13, 10:14].all() and second.sum() == 12
    assert kinds(data) == ["image without label"] and not data.annotations(1)  # kept, without objects
    alone = mrcnn.load_dataset(tmp_path / "x.json", classes=["thing"])
    assert alone.image_ids == ("x",) and alone.class_names == ("thing",) and not alone.issues


@pytest.mark.parametrize(
    ("segmentation", "kind", "reason"),
    [
        (None, "segmentation", "expected RLE, got None"),
        (rle(100, 200), "RLE", "300"),
        (rle(10, 5, 85, size=(10, 10)), "RLE", "10"),
        (rle(1200), "no area", "its mask has no area inside its image"),
        ([], "degenerate polygon", "0 points"),
        ([[1, 1, 5, 1, 5]], "polygon", "5"),
    ],
)
def test_bad_masks_are_named(tmp_path: Path, segmentation: Any, kind: str, reason: str) -> None:
    write(tmp_path, [{"id": 4, "segmentation": SQUARE}, {"id": 5, "segmentation": segmentation}, 7])
    data = mrcnn.load_dataset(tmp_path)
    assert [a.annotation_id for a in data.annotations(0)] == [4]
    assert_issue(data, kind, reason, path="x.json", image_id="x", record=None if segmentation is None else 5)
    assert_issue(data, "segmentation", "expected RLE, got None", image_id="x", record=2)
    with pytest.raises(DataError, match=r"x\.json, image x, annotation"):
        mrcnn.load_dataset(tmp_path, strict=True)


def test_bad_files_are_named(tmp_path: Path) -> None:
    good = [{"id": 1, "segmentation": SQUARE}]
    write(tmp_path, good)
    write(tmp_path, good, "gone")
    (tmp_path / "gone.png").unlink()
    write(tmp_path, good, "size", height=300)
    write(tmp_path, good, "cut")
    (tmp_path / "cut.png").write_bytes((tmp_path / "x.png").read_bytes()[:20])
    for name, text in {"a": '{"image": {"file_name": ', "b": '{"image": 1, "annotations": [], "file_name": 1}'}.items():
        write_image(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.json").write_text(text)
    data = mrcnn.load_dataset(tmp_path)
    assert data.image_ids == ("x",)
    assert_issue(data, "missing image", r"no such image: 'gone.png'", path="gone.json", image_id="gone")
    assert_issue(data, "image size", "30 x 40 .* 300 x 40", path="size.json", image_id="size")
    assert_issue(data, "damaged image", r"cut\.png", path="cut.json", image_id="cut")
    assert_issue(data, "damaged label", "not valid JSON", path="a.json", image_id="a")
    assert_issue(data, "damaged label", 'expected "image" and a list "annotations"', path="b.json", image_id="b")
    assert len(data.issues) == 5
