from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn import load_via
from mrcnn.data.errors import DataError
from mrcnn.data.formats.via import _outline

TRIANGLE = {"name": "polygon", "all_points_x": [2, 8, 2], "all_points_y": [1, 1, 7]}
RECTANGLE = {"name": "rect", "x": 4, "y": 2, "width": 5, "height": 6}
CIRCLE = {"name": "circle", "cx": 10.0, "cy": 8, "r": 4}


def region(shape: Any, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 16)).save(tmp_path / name)
    return tmp_path


def write(folder: Path, **images: Any) -> Path:
    """A file with the regions of a.png and b.png, those of the latter numbered as version 1 does."""
    content = {}
    for name, regions in images.items():
        regions = dict(zip("0123", regions, strict=False)) if name == "b" else regions
        content[f"{name}.png123"] = {"filename": f"{name}.png", "size": 123, "regions": regions, "file_attributes": {}}
    path = folder / "via_region_data.json"
    path.write_text(json.dumps(content))
    return path


def test_one_class_without_attributes(folder: Path) -> None:
    data = load_via(write(folder, a=[region(TRIANGLE)], b=[region(RECTANGLE), region(CIRCLE)]))
    assert data.class_names == ("object",) and data.image_ids == ("a.png", "b.png")
    (triangle,) = data.annotations(0)
    assert triangle.box == (1, 2, 7, 8) and triangle.area == 18 and triangle.class_id == 1
    rectangle, circle = data.annotations(1)
    assert rectangle.box == (2, 4, 8, 9) and rectangle.area == 30
    np.testing.assert_allclose(circle.box, (4, 6, 12, 14), atol=1e-6)
    assert circle.area == pytest.approx(math.pi * 16, rel=2e-3)
    masks, class_ids = data.load_mask(1)
    assert masks.shape == (16, 20, 2) and class_ids.tolist() == [1, 1]
    expected = np.zeros((16, 20), bool)
    expected[2:8, 4:9] = True
    np.testing.assert_array_equal(masks[:, :, 0], expected)
    assert load_via(folder / "via_region_data.json", class_names=["balloon"]).class_names == ("balloon",)


def test_an_ellipse_is_turned_clockwise() -> None:
    outline = _outline({"name": "ellipse", "cx": 0, "cy": 0, "rx": 10, "ry": 2, "theta": math.pi / 6})
    np.testing.assert_allclose(outline[0], (10 * math.cos(math.pi / 6), 10 * math.sin(math.pi / 6)))
    u = outline @ [math.cos(math.pi / 6), math.sin(math.pi / 6)]
    v = outline @ [-math.sin(math.pi / 6), math.cos(math.pi / 6)]
    np.testing.assert_allclose((u / 10) ** 2 + (v / 2) ** 2, 1)


def test_classes_from_an_attribute(folder: Path) -> None:
    ticked = region(CIRCLE, kind={"dog": True, "cat": False})
    path = write(folder, a=[region(TRIANGLE, kind="dog"), region(RECTANGLE, kind="cat ")], b=[ticked])
    data = load_via(path)
    assert data.class_names == ("cat", "dog")
    assert [a.class_id for i in (0, 1) for a in data.annotations(i)] == [2, 1, 2]
    assert load_via(path, class_names=["dog", "cat"]).annotations(0)[0].class_id == 1
    with pytest.raises(DataError, match=r"a\.png, annotation 1: class 'cat', expected one of dog"):
        load_via(path, class_names=["dog"])
    two = write(folder, a=[region(TRIANGLE, kind="dog", color="red")])
    with pytest.raises(DataError, match=r"several attributes, 'kind' \(1\), 'color' \(1\); name"):
        load_via(two)
    assert load_via(two, class_attribute="color").class_names == ("red",)
    with pytest.raises(DataError, match="no attribute 'kind'"):
        load_via(write(folder, a=[region(TRIANGLE, kind="dog"), region(CIRCLE)]))


def test_project_files_and_csv_say_the_same(folder: Path) -> None:
    path = write(folder, a=[region(TRIANGLE, kind="dog"), region(RECTANGLE, kind="cat")], b=[])
    plain = load_via(path)
    project = folder / "via_project.json"
    project.write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": json.loads(path.read_text())}))
    table = folder / "regions.csv"
    lines = ["#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for number, (shape, name) in enumerate(((TRIANGLE, "dog"), (RECTANGLE, "cat"))):
        cells = (json.dumps(value).replace('"', '""') for value in (shape, {"kind": name}))
        lines.append(f'a.png,123,"{{}}",2,{number},"{next(cells)}","{next(cells)}"')
    table.write_text("\n".join([*lines, 'b.png,123,"{}",0,0,"{}","{}"']))
    for other in (project, table):
        data = load_via(other)
        assert data.class_names == plain.class_names and data.image_ids == plain.image_ids
        for i in (0, 1):
            np.testing.assert_array_equal(data.load_mask(i)[0], plain.load_mask(i)[0])


def test_what_cannot_be_trained_on_is_left_out(folder: Path) -> None:
    line = {"name": "polygon", "all_points_x": [1, 5], "all_points_y": [1, 5]}
    far = {"name": "rect", "x": 40, "y": 2, "width": 5, "height": 6}
    over = {"name": "rect", "x": -3, "y": 2, "width": 9, "height": 40}
    point = {"name": "point", "cx": 3, "cy": 4}
    data = load_via(write(folder, a=[region(line), region(far), region(over), region(point)]))
    assert [a.box for a in data.annotations(0)] == [(2, 0, 16, 6)]
    assert [(f.kind, f.annotation_id) for f in data.issues] == [
        ("degenerate outline", 0),
        ("outside", 1),
        ("no area", 3),
    ]
    assert data.validate() == data.issues


@pytest.mark.parametrize(
    "shape, message",
    [
        ({"name": "cube"}, "shape 'cube', expected polygon"),
        ({}, "with the name of a shape"),
        (None, "with the name of a shape"),
        ({"name": "rect", "x": 1}, 'rect: "y" is None, expected a finite number'),
        ({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1]}, "polygon of 3 x and 1 y"),
        ({"name": "circle", "cx": "left", "cy": 1, "r": 1}, "circle: \"cx\" is 'left', expected a finite number"),
    ],
)
def test_bad_shapes_are_refused_by_name(folder: Path, shape: Any, message: str) -> None:
    path = write(folder, a=[region(shape), region(TRIANGLE)])
    with pytest.raises(DataError, match=rf"via_region_data.json, image a.png, annotation 0: .*{message}"):
        load_via(path)
    data = load_via(path, validate=False)
    assert len(data.annotations(0)) == 1 and data.issues[0].fatal


def test_bad_files_are_refused_by_name(folder: Path) -> None:
    with pytest.raises(DataError, match="no such annotation file"):
        load_via(folder / "none.json")
    path = folder / "bad.json"
    for text, message in (("{", "not valid JSON"), ("[]", "got list"), ('{"a": 3}', "entry 'a'"), ('"x"', "got str")):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"bad\.json: .*{message}"):
            load_via(path)
    table = folder / "bad.csv"
    table.write_text("name,x\n")
    with pytest.raises(DataError, match=r"bad\.csv: expected a column 'filename', got name, x"):
        load_via(table)
    with pytest.raises(DataError, match=r"no such image: .*c\.png"):
        load_via(write(folder, c=[region(TRIANGLE)]))
    assert len(load_via(folder / "via_region_data.json", validate=False)) == 0
