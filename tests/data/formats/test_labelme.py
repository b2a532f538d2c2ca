from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mrcnn
from mrcnn.data.formats.labelme import LabelMe
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import NUTS, kinds, masks, write_image


def shape(kind: str, points: list, label: str = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def write(folder: Path, shapes: list, name: str = "a", **more: Any) -> Path:
    write_image(folder / f"{name}.png")
    content = {"version": "5", "shapes": shapes, "imagePath": f"{name}.png", "imageHeight": 30, "imageWidth": 40}
    (folder / f"{name}.json").write_text(json.dumps({**content, **more}))
    return folder


def png(bits: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(bits.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_every_shape(tmp_path: Path) -> None:
    mask = np.zeros((5, 8), bool)
    mask[1:4, 2:] = True
    write(
        tmp_path,
        [
            shape("polygon", [[2, 2], [12, 2], [12, 9]]),
            shape("rectangle", [[20, 10], [10, 5]], "dog"),
            shape("rectangle", [[1, 1], [9, 1], [9, 5], [1, 5]], "dog"),
            shape("circle", [[20, 15], [20, 20]]),
            shape("mask", [[30, 20], [37, 24]], mask=png(mask)),
            shape("point", [[3, 3]]),
            shape("linestrip", [[3, 3], [5, 5], [7, 1]]),
        ],
    )
    data = mrcnn.load_dataset(tmp_path)
    assert isinstance(recognize(tmp_path), LabelMe) and data.class_names == ("cat", "dog")
    boxes = [annotation.box for annotation in data.annotations(0)]
    np.testing.assert_allclose(boxes[:4], [[2, 2, 9, 12], [5, 10, 10, 20], [1, 1, 5, 9], [10, 15, 20, 25]], atol=0.01)
    assert boxes[4] == (21, 32, 24, 38) and masks(data, 0)[4].sum() == 18
    assert kinds(data) == ["no area", "no area"]
    assert mrcnn.load_dataset(tmp_path / "a.json").class_names == ("cat", "dog")


def test_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    square, other = [[2, 2], [6, 2], [6, 6], [2, 6]], [[20, 2], [26, 2], [26, 6], [20, 6]]
    write(
        tmp_path,
        [
            shape("polygon", square, group_id=1),
            shape("polygon", other, group_id=1),
            shape("polygon", square, "dog", group_id=1),
            shape("mask", [[30, 20], [33, 23]], group_id=2, mask=png(np.ones((4, 4)))),
            shape("rectangle", [[1, 20], [4, 24]], group_id=2),
        ],
    )
    data = mrcnn.load_dataset(tmp_path)
    assert [len(a.segmentation) for a in data.annotations(0)[:2]] == [2, 1]
    assert masks(data, 0)[2].sum() == 16 + 12


def test_images_are_looked_up_as_people_move_them(tmp_path: Path) -> None:
    square = [shape("polygon", [[2, 2], [6, 2], [6, 6], [2, 6]])]
    write(tmp_path / "set", square, imagePath="..\\images\\a.png")
    assert mrcnn.load_dataset(tmp_path / "set").record(0).path == str(tmp_path / "set/a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "set/a.png").rename(tmp_path / "images/A.PNG")
    data = mrcnn.load_dataset(tmp_path / "set", tmp_path / "images")
    assert data.record(0).path == str(tmp_path / "images/A.PNG")


def test_splits_share_their_classes(tmp_path: Path) -> None:
    square = [[2, 2], [6, 2], [6, 6], [2, 6]]
    write(tmp_path / "train", [shape("polygon", square), shape("polygon", square, "dog")])
    write(tmp_path / "valid", [shape("polygon", square, "dog")], "b")
    assert mrcnn.dataset_splits(tmp_path) == ("train", "val")
    data = mrcnn.load_dataset(tmp_path, split="val")
    assert data.class_names == ("cat", "dog") and data.annotations(0)[0].class_id == 2
    assert mrcnn.load_dataset(tmp_path).image_ids == ("a", "b")


def test_bad_files_and_shapes_are_named(tmp_path: Path) -> None:
    square = [[2, 2], [6, 2], [6, 6], [2, 6]]
    write(
        tmp_path,
        [
            shape("polygon", square),
            shape("polygon", square[:2]),
            shape("polygon", [[1, 2, 3]]),
            shape("polygon", [["x", 2], [1, 2], [3, 4]]),
            shape("rectangle", square[:1]),
            shape("mask", square[:2], mask="no png"),
            shape("blob", square),
            shape("polygon", [[200, 2], [206, 2], [206, 6]]),
            shape("polygon", square, label=None),
            7,
        ],
    )
    write(tmp_path, [], "size", imageHeight=300)
    write(tmp_path, [], "gone")
    (tmp_path / "gone.png").unlink()
    write(tmp_path, [], "cut")
    (tmp_path / "cut.json").write_text('{"imagePath": "cut.png", "shapes": [')
    write_image(tmp_path / "plain.png")
    (tmp_path / "other.json").write_text("{}")
    data = mrcnn.load_dataset(tmp_path)
    assert set(data.image_ids) == {"a", "plain"}
    assert len(data.annotations(0)) == 1
    assert {issue.annotation_id for issue in data.issues if issue.image_id == "a"} == set(range(2, 11))
    assert {i.kind for i in data.issues if i.image_id != "a"} == {
        "image size",
        "missing image",
        "damaged label",
        "image without label",
    }


def test_what_labelme_wrote() -> None:
    data = mrcnn.load_dataset(NUTS / "labelme", NUTS / "images")
    assert len(data) == 4 and data.class_names == ("date", "fig", "hazelnut") and not data.issues
