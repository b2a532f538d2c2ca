from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.yolo import Yolo
from mrcnn.data.formats.yolo_layout import label_of
from tests.data.formats.sample_sets import DATUMARO, NUTS, best_ious, kinds, write_image

TRIANGLE = "0 0.25 0.25 0.75 0.25 0.75 0.75\n"


def layout(root: Path, rows: str = TRIANGLE, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """images/SPLIT and labels/SPLIT with one image each."""
    for split in splits:
        write_image(root / "images" / split / f"{split}_1.png")
        label = root / "labels" / split / f"{split}_1.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(rows)
    return root


def test_polygons_are_in_pixels(tmp_path: Path) -> None:
    (layout(tmp_path) / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    assert isinstance(recognize(tmp_path), Yolo) and mrcnn.dataset_splits(tmp_path) == ("train", "val")
    data = mrcnn.load_dataset(tmp_path, split="validation")
    assert data.class_names == ("cat", "dog") and data.image_ids == ("val_1",)
    annotation = data.annotations(0)[0]
    np.testing.assert_allclose(annotation.segmentation[0], [[10, 7.5], [30, 7.5], [30, 22.5]])
    np.testing.assert_allclose(annotation.box, [7.5, 10, 22.5, 30])
    both = mrcnn.load_dataset(tmp_path / "data.yaml")
    assert both.image_ids == ("train_1", "val_1") and [r.extra["split"] for r in both._records] == ["train", "val"]


@pytest.mark.parametrize(
    "text",
    [
        "path: .\ntrain: ./images/train\nval: [images/val]\nnames: {0: cat, 2: dog}",
        "train: ../train/images\nval: ../images/val\ntrain: ..\\images\\train\nnames: {0: cat, 2: dog}",
        "path: /home/somebody/sets\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  2: dog\n",
        "train: train.txt\nval: images/val\nnames: {0: cat, 2: dog}",
    ],
)
def test_paths_of_data_yaml_as_people_write_them(tmp_path: Path, text: str) -> None:
    (layout(tmp_path) / "data.yaml").write_text(text)
    (tmp_path / "train.txt").write_text("./images/train/train_1.png\n")
    sets = mrcnn.load_splits(tmp_path)
    assert list(sets) == ["train", "val"] and all(len(part) == 1 for part in sets.values())
    assert sets["val"].class_names == ("cat", "1", "dog")


def test_an_image_without_a_label_is_named_by_its_file(tmp_path: Path) -> None:
    layout(tmp_path)
    lonely = write_image(tmp_path / "images" / "train" / "lonely.png")
    data = mrcnn.load_dataset(tmp_path, split="train")
    (issue,) = [i for i in data.issues if i.kind == "image without label"]
    assert (issue.path, issue.annotation_id) == (str(lonely), None) and len(data.annotations(0)) == 0


def test_layouts_without_yaml(tmp_path: Path) -> None:
    layout(tmp_path / "a")
    assert mrcnn.dataset_splits(tmp_path / "a") == ("train", "val")
    assert mrcnn.load_dataset(tmp_path / "a").class_names == ("0",)
    assert mrcnn.load_dataset(tmp_path / "a", classes=["nut", "fig"]).class_names == ("nut", "fig")
    flat = tmp_path / "b"
    write_image(flat / "x.png")
    (flat / "x.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (flat / "classes.txt").write_text("cat\ndog\n")
    data = mrcnn.load_dataset(flat)
    assert data.class_names == ("cat", "dog") and data.annotations(0)[0].class_id == 2
    assert data.annotations(0)[0].box == (7.5, 10.0, 22.5, 30.0) and kinds(data) == ["box only"]
    for split in ("train", "valid"):
        write_image(tmp_path / "c" / split / "images/a.png")
        (tmp_path / "c" / split / "labels").mkdir()
        (tmp_path / "c" / split / "labels/a.txt").write_text(TRIANGLE)
    assert mrcnn.dataset_splits(tmp_path / "c") == ("train", "val")
    assert mrcnn.load_dataset(tmp_path / "c").image_ids == ("train/a", "val/a")


def test_joints(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.5 0.5 " + "0.25 0.5 2 0 0 0 0.75 0.5 1\n"
    write_image(tmp_path / "x.png")
    (tmp_path / "x.txt").write_text(row)
    data = mrcnn.load_dataset(tmp_path)
    assert data.keypoint_names == ("0", "1", "2")
    assert data.annotations(0)[0].keypoints.tolist() == [[10, 15, 2], [0, 0, 0], [30, 15, 1]]
    (tmp_path / "x.txt").write_text("0 0.5 0.5 0.5 0.5 0.25 0.5 0.75 0.5\n")
    (tmp_path / "data.yaml").write_text("train: .\nnames: [cat]\nkpt_shape: [2, 2]\n")
    assert mrcnn.load_dataset(tmp_path).annotations(0)[0].keypoints.tolist() == [[10, 15, 2], [30, 15, 2]]


def test_bad_rows_are_named_and_left_out(tmp_path: Path) -> None:
    rows = [
        "0 0.25 0.25 0.75 0.25 0.75 0.75",
        "5 0.25 0.25 0.75 0.25 0.75 0.75",
        "0 0.25 0.25 0.75 0.25 0.75 0.75 0.5",
        "0 nan 0.25 0.75 0.25 0.75 0.75",
        "0 10 8 30 8 30 20",
        "0 0.25 0.25 0.25 0.25 0.25 0.25",
        "cat 0.5 0.5 0.1 0.1",
        "-1 0.5 0.5 0.1 0.1",
        "0 0.1 0.1",
    ]
    layout(tmp_path, "\n".join(rows), ("train",))
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    data = mrcnn.load_dataset(tmp_path)
    assert len(data.annotations(0)) == 1
    wrong = {issue.annotation_id: issue.message for issue in data.issues}
    assert wrong["line 2"] == "class 5, but 1 classes are named, from 0; left out"
    assert wrong["line 3"] == "an odd number of coordinates, 7; left out"
    assert "not finite" in wrong["line 4"] and "a coordinate is 30, expected fractions" in wrong["line 5"]
    assert "no area" in wrong["line 6"] and "not a number" in wrong["line 7"] and len(wrong) == 8
    assert all(issue.path.endswith("train_1.txt") for issue in data.issues)
    with pytest.raises(DataError, match=r"train_1\.txt, image train_1, annotation line 2: class 5"):
        mrcnn.load_dataset(tmp_path, strict=True)


def test_images_and_labels_that_miss_each_other(tmp_path: Path) -> None:
    layout(tmp_path, splits=("train",))
    write_image(tmp_path / "images/train/empty.png")
    write_image(tmp_path / "images/train/background.png")
    (tmp_path / "labels/train/empty.txt").write_text("")
    (tmp_path / "labels/train/gone.txt").write_text(TRIANGLE)
    (tmp_path / "images/train/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = mrcnn.load_dataset(tmp_path)
    assert sorted(data.image_ids) == ["background", "empty", "train_1"]
    assert kinds(data) == ["damaged image", "image without label", "image without label", "label without image"]


def test_yaml_that_grows_is_no_data_yaml(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\ntrain: x\n")
    with pytest.raises(DataError, match="no known format"):
        mrcnn.load_dataset(tmp_path)


def test_every_row_is_of_one_fault(tmp_path: Path) -> None:
    layout(tmp_path, "0 10 8 30 8 30 20\n0 11 9 30 8 30 20\n", ("train",))
    with pytest.raises(DataError, match="all 2 objects are left out for one fault: a coordinate is 30"):
        mrcnn.load_dataset(tmp_path)


def test_what_other_programs_wrote() -> None:
    nuts = mrcnn.load_dataset(NUTS / "yolo", NUTS / "images")
    assert len(nuts) == 4 and sum(len(nuts.annotations(i)) for i in range(4)) == 30 and not nuts.issues
    assert min(best_ious(nuts.rename_classes({"0": "date", "1": "fig", "2": "hazelnut"}), labelme())) > 0.97
    roboflow = mrcnn.load_splits(DATUMARO / "roboflow_dataset/yolo")
    assert list(roboflow) == ["train", "val"] and roboflow["train"].class_names == ("label_0", "label_1")
    for name in ("labels", "annotations", "strict"):
        data = mrcnn.load_dataset(DATUMARO / "yolo_dataset" / name)
        assert data.num_classes == 10 and all(len(data.annotations(i)) == 2 for i in range(len(data)))


def labelme():
    return mrcnn.load_dataset(NUTS / "labelme", NUTS / "images")


def test_label_of(tmp_path: Path) -> None:
    layout(tmp_path / "images/set")  # a folder of that name above does not mislead
    image = tmp_path / "images/set/images/train/train_1.png"
    assert label_of(image) == tmp_path / "images/set/labels/train/train_1.txt"
    assert label_of(tmp_path / "images/other.png") is None


def test_numbers_without_names_that_leave_gaps(tmp_path: Path) -> None:
    layout(tmp_path, TRIANGLE.replace("0 ", "3 ", 1) + TRIANGLE.replace("0 ", "1 ", 1))
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("0", "1", "2", "3") and [a.class_id for a in data.annotations(0)] == [4, 2]
    (tmp_path / "labels/val/val_1.txt").write_text(TRIANGLE)
    data = mrcnn.load_dataset(tmp_path)
    assert [a.class_id for a in data.annotations(1)] == [1]
