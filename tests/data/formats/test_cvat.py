from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.cvat import Cvat
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import DATUMARO, kinds, masks, write_image

LABELS = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"


def write(
    folder: Path, shapes: str, meta: str = LABELS, image: str = 'id="0" name="a.png" width="40" height="30"'
) -> Path:
    write_image(folder / "images/a.png")
    text = f"<annotations><version>1.1</version>{meta}<image {image}>{shapes}</image></annotations>"
    (folder / "annotations.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?>{text}')
    return folder


def test_every_shape(tmp_path: Path) -> None:
    write(
        tmp_path,
        '<polygon label="cat" points="2,2;12,2;12,9"/>'
        '<box label="dog" xtl="10" ytl="5" xbr="20" ybr="10"/>'
        '<box label="dog" xtl="10" ytl="10" xbr="20" ybr="20" rotation="45"/>'
        '<ellipse label="cat" cx="20" cy="15" rx="8" ry="4"/>'
        '<mask label="cat" rle="1, 2, 2, 3" left="30" top="20" width="4" height="2"/>'
        '<polyline label="cat" points="1,2;3,4"/><points label="cat" points="1,2"/><tag label="cat"/>',
    )
    data = mrcnn.load_dataset(tmp_path)
    assert isinstance(recognize(tmp_path), Cvat) and isinstance(recognize(tmp_path / "annotations.xml"), Cvat)
    assert data.class_names == ("dog", "cat") and kinds(data) == ["no area", "no area"]
    boxes = [a.box for a in data.annotations(0)]
    half = 50**0.5
    expected = [[2, 2, 9, 12], [5, 10, 10, 20], [15 - half, 15 - half, 15 + half, 15 + half], [11, 12, 19, 28]]
    np.testing.assert_allclose(boxes[:4], expected, atol=0.01)
    mask = masks(data, 0)[4]
    assert np.argwhere(mask).tolist() == [[20, 31], [20, 32], [21, 31], [21, 32], [21, 33]]


def test_groups_and_skeletons(tmp_path: Path) -> None:
    meta = LABELS.replace(
        "</labels>",
        "<label><name>man</name></label><label><name>head</name><parent>man</parent></label>"
        "<label><name>foot</name><parent>man</parent></label></labels>",
    )
    write(
        tmp_path,
        '<polygon label="cat" points="2,2;6,2;6,6" group_id="3"/>'
        '<polygon label="cat" points="12,2;16,2;16,6" group_id="3"/>'
        '<skeleton label="man"><points label="foot" points="20,28"/><points label="head" points="22,8" occluded="1"/>'
        "</skeleton>",
        meta,
    )
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("dog", "cat", "man") and data.keypoint_names == ("head", "foot")
    cat, man = data.annotations(0)
    assert len(cat.segmentation) == 2
    assert man.keypoints.tolist() == [[22, 8, 1], [20, 28, 2]] and man.box == (8, 20, 28, 22)


@pytest.mark.parametrize(
    "shape, message",
    [
        ('<polygon label="cat" points="2,2;12"/>', "expected x,y;x,y"),
        ('<polygon label="cat" points="2,2;nan,2;3,4"/>', "not finite"),
        ('<polygon label="cow" points="2,2;12,2;12,9"/>', "class 'cow', expected one of 'dog', 'cat'"),
        (
            '<mask label="cat" rle="1, 2" left="30" top="20" width="4" height="2"/>',
            "runs that sum to 3, expected 2 x 4",
        ),
        ('<mask label="cat" rle="1, 2" left="30" top="20" width="40000000" height="20000000"/>', "mask of 20000000"),
        ('<mask label="cat" rle="1,x" left="30" top="20" width="4" height="2"/>', "expected whole numbers"),
        ('<box label="cat" xtl="1" ytl="2" xbr="3"/>', "ybr is None"),
        ('<blob label="cat"/>', "shape 'blob'"),
    ],
)
def test_bad_shapes_are_named_and_left_out(tmp_path: Path, shape: str, message: str) -> None:
    data = mrcnn.load_dataset(write(tmp_path, '<polygon label="cat" points="2,2;12,2;12,9"/>' + shape))
    assert len(data.annotations(0)) == 1 and len(data.issues) == 1
    assert message in data.issues[0].message and data.issues[0].annotation_id == f"{shape[1:].split(' ')[0]} 2"


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path, "") / "annotations.xml"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match=r"annotations\.xml: not valid XML"):
        mrcnn.load_dataset(tmp_path)
    path.write_text('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotations>&e;</annotations>')
    with pytest.raises(DataError, match="document type"):
        mrcnn.load_dataset(path, format="cvat")


def test_what_cvat_wrote() -> None:
    sets = mrcnn.load_splits(DATUMARO / "cvat_dataset/for_images/export_project")
    assert list(sets) == ["train", "val", "test"] and [len(s) for s in sets.values()] == [2, 2, 2]
    assert Path(sets["train"].record(0).path).parent.name == "Train"
    task = mrcnn.load_dataset(DATUMARO / "cvat_dataset/for_images/export_task")
    assert kinds(task) == ["no area", "no area", "unknown class"]
    video = mrcnn.load_dataset(DATUMARO / "cvat_dataset/for_video")
    assert len(video) == 3 and video.class_names == ("klhg", "z U k", "II")
