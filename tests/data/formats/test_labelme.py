from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.labelme import LabelMe
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import NUTS, assert_issue, kinds, masks, write_image


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


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_an_image_that_is_not_there_is_taken_from_its_label(tmp_path: Path, rng: np.random.Generator) -> None:
    """As labelme writes it by default; one file beside its label, and JPEGs for training at a part of their size."""
    square = [shape("polygon", [[2, 2], [6, 2], [6, 6], [2, 6]])]
    pixels = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for name in ("here.jpg", "there.jpg"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "set").mkdir()
    content = {"shapes": square, "imageHeight": 240, "imageWidth": 320}
    for name in ("here", "there"):
        more = {"imagePath": f"../{name}.jpg", "imageData": encoded(tmp_path / f"{name}.jpg")}
        (tmp_path / f"set/{name}.json").write_text(json.dumps({**content, **more}))
    (tmp_path / "there.jpg").unlink()
    data = mrcnn.load_dataset(tmp_path / "set")
    assert data.image_ids == ("here", "there") and not data.issues and not data.validate(pixels=True)
    assert [len(data.annotations(i)) for i in range(2)] == [1, 1] and data.record(1).extra["file_name"] == "there.jpg"
    np.testing.assert_array_equal(data.load_image(1), data.load_image(0))
    np.testing.assert_array_equal(data.subset([1]).load_image(0), data.load_image(0))
    np.testing.assert_array_equal(data._get_image(1, (60, 80)), data._get_image(0, (60, 80)))
    assert data._get_image(1, (60, 80)).shape[0] < 240
    assert data.save(tmp_path / "coco").num_images == 2
    np.testing.assert_array_equal(mrcnn.load_dataset(tmp_path / "coco").load_image(1), data.load_image(1))


def test_image_data_turned_of_another_size_or_damaged(tmp_path: Path) -> None:
    square = [shape("polygon", [[2, 2], [6, 2], [6, 6], [2, 6]])]
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (30, 40)).save(tmp_path / "turned.jpg", exif=exif)
    turned = encoded(tmp_path / "turned.jpg")
    (tmp_path / "turned.jpg").unlink()
    plain = encoded(write_image(tmp_path / "plain.png", 50))
    texts = {"turned": turned, "plain": plain, "no_base64": "?", "no_text": 7, "no_image": "AAAA", "none": None}
    for name, text in texts.items():
        write(tmp_path / "set", square, name, imageData=text)
        (tmp_path / f"set/{name}.png").unlink()
    data = mrcnn.load_dataset(tmp_path / "set")
    assert data.image_ids == ("turned",) and data.load_image(0).shape == (30, 40, 3)
    assert_issue(data, "image size", "30 x 50 .* 30 x 40", path="plain.json", image_id="plain")
    for name, reason in {
        "no_base64": r'no_base64\.json: "imageData" is not base64',
        "no_text": '"imageData" is not base64 .*expected a text, got 7',
        "no_image": r'no_image\.json: "imageData": not an image',
        "none": "no such image: 'none.png'",
    }.items():
        assert_issue(data, "missing image", reason, path=f"{name}.json", image_id=name)
    (tmp_path / "set/turned.json").write_text('{"shapes": []}')
    with pytest.raises(DataError, match=r'turned\.json: "imageData" is gone'):
        data.load_image(0)


def test_what_labelme_wrote() -> None:
    data = mrcnn.load_dataset(NUTS / "labelme", NUTS / "images")
    assert len(data) == 4 and data.class_names == ("date", "fig", "hazelnut") and not data.issues
