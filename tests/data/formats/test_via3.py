from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.via import Via
from tests.data.formats.sample_sets import kinds, masks, write_image

SHAPES = {
    "cat": [2, 1, 1, 4, 5],
    "dog": [3, 10, 10, 4],
    "cow": [4, 20, 10, 5, 3],
    "hen": [6, 1, 20, 9, 20, 9, 28],
    "pig": [7, 20, 20, 30, 20, 30, 28, 20, 28],
    "bee": [8, 30, 5, 34, 2, 38, 5, 34, 8],
    "fox": [9, 30, 15, 36, 15, 33, 18],
}
NO_AREA = ([1, 3, 3], [5, 1, 1, 9, 9])


def project(xys: list[tuple[Any, Any]], **changes: Any) -> dict[str, Any]:
    """A project of a.png with regions, and of b.png without."""
    attribute = {"aname": "class", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": dict(enumerate_names())}
    content = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1", "2"]},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": {"1": attribute},
        "file": {
            "1": {"fid": 1, "fname": "a.png", "type": 2, "loc": 1, "src": "a.png"},
            "2": {"fid": 2, "fname": "b", "type": 2, "loc": 2, "src": "http://host/set/b.png"},
        },
        "view": {"1": {"fid_list": [1]}, "2": {"fid_list": ["2"]}},
        "metadata": {
            f"1_{k}": {"vid": "1", "flg": 0, "z": [], "xy": xy, "av": av} for k, (xy, av) in enumerate(xys)
        },
    }  # fmt: skip
    return {**content, **changes}


def enumerate_names() -> list[tuple[str, str]]:
    return [(str(k), name) for k, name in enumerate(SHAPES)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    return tmp_path


def regions() -> list[tuple[Any, Any]]:
    drawn = [(xy, {"1": str(k)}) for k, xy in enumerate(SHAPES.values())]
    return [*drawn, *((xy, {"1": "0"}) for xy in NO_AREA), ([], {"1": "2"})]


def check(data: mrcnn.Dataset) -> None:
    assert data.class_names == tuple(sorted(SHAPES)) and kinds(data) == ["no area", "no area"]
    by_class = {
        data.class_names[a.class_id - 1]: (a, m) for a, m in zip(data.annotations(0), masks(data, 0), strict=True)
    }
    assert by_class["cat"][0].box == (1, 1, 6, 5) and by_class["cat"][1].sum() == 20
    np.testing.assert_allclose(by_class["dog"][0].box, (6, 6, 14, 14), atol=1e-5)
    np.testing.assert_allclose(by_class["cow"][0].box, (7, 15, 13, 25), atol=1e-5)
    assert by_class["hen"][0].area == 32 and by_class["pig"][1].sum() == 80
    assert by_class["bee"][0].box == (2, 30, 8, 38)  # around its four points
    np.testing.assert_allclose(
        by_class["fox"][0].box, (12, 30, 18, 36), atol=0.01
    )  # through three: center (33, 15), r 3


def test_every_shape_of_a_project(folder: Path) -> None:
    (folder / "via_project.json").write_text(json.dumps(project(regions())))
    assert isinstance(recognize(folder), Via)
    data = mrcnn.load_dataset(folder)
    check(data)
    assert [len(data.annotations(i)) for i in range(2)] == [7, 0]


def test_the_csv_says_the_same(folder: Path) -> None:
    content = project(regions())
    rows = [
        "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
        "# - spatial_coordinates of [2,10,20,50,80] denotes a rectangle",
        "# ATTRIBUTE = " + json.dumps(content["attribute"]),
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata",
    ]
    for key, entry in content["metadata"].items():
        cells = [key, '["a.png"]', "0", "[]", json.dumps(entry["xy"]), json.dumps(entry["av"])]
        rows.append(",".join('"' + cell.replace('"', '""') + '"' for cell in cells))
    (folder / "via.csv").write_text("\n".join(rows))
    assert isinstance(recognize(folder / "via.csv"), Via)
    check(mrcnn.load_dataset(folder))
    (folder / "via.csv").write_text("\n".join([*rows, "x,y"]))
    with pytest.raises(DataError, match=r"via\.csv: row 11: 2 columns, expected 6"):
        mrcnn.load_dataset(folder)


def test_values_of_attributes(folder: Path) -> None:
    """Texts, checkboxes, and numbers of options that the project does not list."""
    for kind, value, expected in ((1, "any text", "any text"), (2, "3", "hen"), (4, "99", "99")):
        content = project([([2, 1, 1, 4, 5], {"1": value})])
        content["attribute"]["1"]["type"] = kind
        (folder / "p.json").write_text(json.dumps(content))
        assert mrcnn.load_dataset(folder).class_names == (expected,)
    content = project([([2, 1, 1, 4, 5], {"1": "0"}), ([2, 1, 1, 4, 5], {"1": "0,1"}), ([2, 1, 1, 4, 5], {})])
    content["attribute"]["1"]["type"] = 2
    (folder / "p.json").write_text(json.dumps(content))
    assert kinds(mrcnn.load_dataset(folder)) == ["class", "class"]  # of two names, and of none


@pytest.mark.parametrize(
    ("xy", "message"),
    [
        ([2, 1, 1, 4], '"height" is None'),
        ([3, 1, 1, float("nan")], '"r" is nan'),
        ([9, 1, 1, 2, 2, 3, 3], "degenerate outline"),
        ([8], "shape"),
        ([77, 1, 2], "shape"),
        ("x", "shape"),
        ([[1], 2], "shape"),
        ([7, 1, 1, 5, 5, 9], "polygon of 3 x and 2 y coordinates"),
        ([7, 1, 1, 5, 5], "degenerate outline"),
    ],
)
def test_bad_shapes_are_named_and_left_out(folder: Path, xy: Any, message: str) -> None:
    good = ([2, 1, 1, 4, 5], {"1": "0"})
    (folder / "p.json").write_text(json.dumps(project([good, (xy, {"1": "0"})])))
    data = mrcnn.load_dataset(folder)
    (issue,) = data.issues
    assert message in str(issue) and "image a.png, annotation 1" in str(issue) and len(data.annotations(0)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view": {"1": {"fid_list": [9]}}}, "view '1': expected \"fid_list\" with a file"),
        ({"view": {"1": {"fid_list": 5}}}, "view '1'"),
        ({"metadata": {"m": 5}}, "metadata 'm': expected an object, got 5"),
        ({"metadata": {"m": {"vid": "7", "xy": [1]}}}, "metadata 'm': names view '7'"),
    ],
)
def test_bad_projects_are_refused_by_name(folder: Path, changes: dict[str, Any], message: str) -> None:
    (folder / "p.json").write_text(json.dumps(project([], **changes)))
    with pytest.raises(DataError, match=r"p\.json: .*" + message):
        mrcnn.load_dataset(folder)
