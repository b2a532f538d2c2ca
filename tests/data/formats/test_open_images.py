"""Open Images: what datumaro wrote, masks by hand, and what is wrong with single lines and files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.open_images import OpenImages
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import DATUMARO, assert_issue, kinds, masks, write_image

SEGMENTATION = "annotations/train-annotations-object-segmentation.csv"


def write_mask(file: Path, width: int = 40, height: int = 30) -> None:
    """Rows 2..5 of columns 4..7."""
    bits = np.zeros((height, width), bool)
    bits[2:6, 4:8] = True
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(bits).save(file)


def write(folder: Path, *rows: tuple[str, ...], header: str = "MaskPath,ImageID,LabelName,BoxID") -> Path:
    """The CSV files; images a and b; the mask m.png."""
    for name in "ab":
        write_image(folder / f"images/train/{name}.jpg")
    write_mask(folder / "masks/train/m.png")
    (folder / "annotations").mkdir()
    lines = [header, *(",".join(row) for row in rows)]
    (folder / SEGMENTATION).write_text("\n".join(lines) + "\n")
    (folder / "annotations/class-descriptions.csv").write_text('/m/1,"Cat, tame"\n/m/2,Dog\n')
    return folder


def test_what_datumaro_wrote() -> None:
    path = DATUMARO / "open_images_dataset/v6"
    data = mrcnn.load_dataset(path, split="train")
    assert isinstance(recognize(path), OpenImages) and data.class_names == ("Generic label #0",)
    assert data.image_ids == ("b", "a") and kinds(data) == ["image without label"]
    assert masks(data, 0)[0].any()


def test_masks(tmp_path: Path) -> None:
    write_mask(tmp_path / "masks/train/half.png", 20, 15)
    write(tmp_path, ("m.png", "a", "/m/2"), ("half.png", "a", "/m/1"))
    data = mrcnn.load_dataset(tmp_path, split="train")
    assert data.class_names == ("Cat, tame", "Dog") and data.image_ids == ("a", "b")
    whole, doubled = masks(data, 0)
    assert whole[2:6, 4:8].all() and whole.sum() == 16 and data.annotations(0)[0].annotation_id == "m.png"
    assert doubled[4:12, 8:16].all() and doubled.sum() == 64  # a mask of half the size of its image
    assert kinds(data) == ["image without label"] and not data.annotations(1)


def test_quoted_columns_in_any_order_and_labels_without_names(tmp_path: Path) -> None:
    write(tmp_path, ("/m/3", "m.png", "b"), header='"LabelName","MaskPath","ImageID"')
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("/m/3",) and masks(data, 0)[0].sum() == 16
    assert_issue(data, "class name", "class '/m/3' is in no .*class-descriptions.*; its label is taken", record="/m/3")
    (tmp_path / "annotations/class-descriptions.csv").unlink()
    assert kinds(mrcnn.load_dataset(tmp_path)) == ["image without label"]


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        (("gone.png", "a", "/m/1"), "missing mask", "no such mask: 'gone.png'"),
        (("cut.png", "a", "/m/1"), "damaged label", r"cut\.png: "),
        (("empty.png", "a", "/m/1"), "mask without a pixel", "without a pixel"),
        (("m.png", "a", ""), "unknown class", "no class is named"),
        (("m.png", "a"), "unknown class", "no class is named"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, row: tuple[str, ...], kind: str, reason: str) -> None:
    write(tmp_path, ("m.png", "a", "/m/2"), row, ("m.png", "b", "/m/2"), ("m.png", "c", "/m/2"))
    (tmp_path / "masks/train/cut.png").write_bytes((tmp_path / "masks/train/m.png").read_bytes()[:40])
    Image.new("1", (40, 30)).save(tmp_path / "masks/train/empty.png")
    data = mrcnn.load_dataset(tmp_path)
    assert data.image_ids == ("a", "b") and [len(data.annotations(i)) for i in range(2)] == [1, 1]
    assert_issue(data, kind, reason, path=SEGMENTATION, image_id="a", record=row[0])
    assert_issue(data, "missing image", "no such image: 'c'", path=SEGMENTATION, image_id="c")
    with pytest.raises(DataError, match=rf"{SEGMENTATION}, image a, annotation {row[0]}: "):
        mrcnn.load_dataset(tmp_path, strict=True)


def test_files_that_are_no_such_csv_are_named(tmp_path: Path) -> None:
    file = write(tmp_path, ("m.png", "a", "/m/2")) / SEGMENTATION
    too_long = "x" * (csv.field_size_limit() + 1)
    names = tmp_path / "annotations/class-descriptions.csv"
    names.write_text(f"/m/1,Cat\n/m/2,{too_long}\n")
    with pytest.raises(DataError, match=r"class-descriptions\.csv: line 2: not valid CSV"):
        mrcnn.load_dataset(tmp_path)
    names.unlink()
    file.write_text(file.read_text() + f"m.png,{too_long},/m/2\n")
    with pytest.raises(DataError, match=rf"{SEGMENTATION}: line 3: not valid CSV"):
        mrcnn.load_dataset(tmp_path)
    for text in ("", "ImageID,LabelName\na,/m/1\n"):
        file.write_text(text)
        with pytest.raises(DataError, match=rf"{SEGMENTATION}: expected the columns MaskPath, ImageID, LabelName"):
            mrcnn.load_dataset(file, format="open_images")
