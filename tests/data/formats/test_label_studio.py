from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.brush import decode_brush, encode_brush
from mrcnn.data.formats.label_studio import LabelStudio
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import kinds, masks, write_image


def region(kind: str, name: str | None = "cat", region_id: str = "r", **value: Any) -> dict[str, Any]:
    value = value if name is None else {**value, kind: [name]}
    return {"id": region_id, "type": kind, "value": value, "original_width": 40, "original_height": 30}


def write(folder: Path, *results: dict[str, Any], image: str = "/data/upload/1/0a1b2c3d-a.png") -> Path:
    write_image(folder / "images/a.png")
    annotations = [{"was_cancelled": True, "result": [{}]}, {"result": list(results)}, {"result": [{}]}]
    (folder / "export.json").write_text(json.dumps([{"id": 5, "data": {"image": image}, "annotations": annotations}]))
    return folder


def test_every_region(tmp_path: Path) -> None:
    mask = np.zeros((30, 40, 4), np.uint8)
    mask[4:9, 5:25, 3] = 255
    write(
        tmp_path,
        region("polygonlabels", "dog", "1", points=[[25, 50], [50, 50], [50, 100]]),
        region("rectanglelabels", "cat", "2", x=10, y=10, width=25, height=30),
        region("rectanglelabels", "cat", "3", x=50, y=50, width=10, height=10, rotation=90),
        region("ellipselabels", "cat", "4", x=50, y=50, radiusX=20, radiusY=10),
        region("brushlabels", "dog", "5", format="rle", rle=encode_brush(mask)),
        {**region("keypointlabels", "eye", "6", x=20, y=20), "parentID": "2"},
        region("keypointlabels", "eye", "7", x=20, y=20),
        region("choices", None, "8", choices=["good"]),
    )
    data = mrcnn.load_dataset(tmp_path)
    assert isinstance(recognize(tmp_path / "export.json"), LabelStudio) and data.class_names == ("cat", "dog")
    assert data.image_ids == (5,) and kinds(data) == ["no area"]
    boxes = [a.box for a in data.annotations(0)]
    expected = [[15, 10, 30, 20], [3, 4, 12, 14], [15, 17, 19, 20], [12, 12, 18, 28], [4, 5, 9, 25]]
    np.testing.assert_allclose(boxes, expected, atol=0.01)
    assert masks(data, 0)[4].sum() == 100
    assert data.keypoint_names == ("eye",) and data.annotations(0)[1].keypoints.tolist() == [[8, 6, 2]]


def test_json_min_and_names(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    entry = {"x": 10, "y": 10, "width": 25, "height": 30, "rectanglelabels": ["cat"]}
    entry.update(original_width=40, original_height=30)
    (tmp_path / "min.json").write_text(json.dumps([{"id": 1, "image": "s3://set/a.png", "label": [entry]}]))
    data = mrcnn.load_dataset(tmp_path / "min.json")
    assert data.class_names == ("cat",) and data.record(0).path == str(tmp_path / "a.png")
    write(tmp_path, region("rectanglelabels", x=1, y=1, width=5, height=5), image="/data/local-files/?d=images/a.png")
    assert len(mrcnn.load_dataset(tmp_path / "export.json").annotations(0)) == 1


@pytest.mark.parametrize(
    "bad, message",
    [
        (region("polygonlabels", points=[[1, 2, 3]]), "expected pairs of x and y"),
        (region("rectanglelabels", x=1, y="2", width=3, height=4), "\"y\" is '2', expected a number"),
        (region("brushlabels", rle=[1, 2, 3]), "cut off"),
        (region("brushlabels", rle=encode_brush(np.zeros(8, np.uint8))), "rle of 8 values, expected 4800"),
        (region("brushlabels", rle=[300]), "rle"),
        (region("polygonlabels", None, points=[[25, 50], [50, 50], [50, 100]]), "no class is named"),
    ],
)
def test_bad_regions_are_named_and_left_out(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    good = region("rectanglelabels", "cat", "good", x=10, y=10, width=25, height=30)
    data = mrcnn.load_dataset(write(tmp_path, good, bad))
    assert len(data.annotations(0)) == 1 and message in data.issues[0].message
    assert data.issues[0].annotation_id == "r" and data.issues[0].image_id == 5


def test_files_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path) / "export.json"
    path.write_text(path.read_text()[:-5])
    with pytest.raises(DataError, match=r"export\.json: not valid JSON"):
        mrcnn.load_dataset(path)


def test_brush_values_survive() -> None:
    values = np.repeat(np.arange(7, dtype=np.uint8), [1, 2, 9, 20, 300, 70000, 3])
    np.testing.assert_array_equal(decode_brush(bytes(encode_brush(values)), len(values)), values)
    # Values that are not repeated, as Label Studio's own encoder writes them.
    bits = f"{3:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + "0" + "00" + f"{2:03b}" + f"{1:08b}{2:08b}{3:08b}"
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))
    assert decode_brush(data, 3).tolist() == [1, 2, 3]
