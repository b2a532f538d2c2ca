"""Files that other programs write of our own copies, in an environment of theirs, and objects they hold."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.data.dataset import Dataset
from tests.data.formats.sample_sets import best_ious, masks, write_image

NUTS = Path(__file__).parents[2] / "assets/nuts3/annotations.json"

SUPERVISION = """
import sys
import supervision
folder = sys.argv[1]
data = supervision.DetectionDataset.from_coco(f"{folder}/ours/images", f"{folder}/ours/annotations.json", True)
data.as_coco(f"{folder}/coco/images", f"{folder}/coco/annotations.json")
data.as_yolo(f"{folder}/yolo/images", f"{folder}/yolo/labels", f"{folder}/yolo/data.yaml")
data.as_pascal_voc(f"{folder}/voc/images", f"{folder}/voc/annotations")
"""


DATUMARO = """
import sys
from datumaro.components.dataset import Dataset
folder = sys.argv[1]
data = Dataset.import_from(f"{folder}/ours", "coco_instances")
for name in ("coco_instances", "cvat", "datumaro", "label_me"):
    data.export(f"{folder}/{name}", name, save_media=True)
data.transform("polygons_to_masks")
for name in ("cvat", "datumaro", "label_me", "open_images", "voc"):
    data.export(f"{folder}/masks_{name}", name, save_media=True)
"""


def environment(folder: Path, requirement: str) -> str:
    """The interpreter of an environment of its own with a package; skips where that cannot be installed."""
    venv.create(folder, with_pip=True)
    python = str(folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    command = [python, "-m", "pip", "install", "-q", requirement]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"{requirement} cannot be installed: {answer.stderr[-200:]}")
    return python


@pytest.mark.slow
def test_what_supervision_writes(tmp_path: Path) -> None:
    """It draws polygons by OpenCV's rule and rounds them to pixels, on objects of 50 to 200 pixels across."""
    interpreter = environment(tmp_path / "environment", "supervision>=0.25")
    data = mrcnn.load_dataset(NUTS)
    data.save(tmp_path / "ours", "coco")
    subprocess.run([interpreter, "-c", SUPERVISION, str(tmp_path)], check=True, capture_output=True)
    for name in ("coco", "yolo", "voc"):
        again = mrcnn.load_dataset(tmp_path / name)
        assert again.class_names == data.class_names and not again.issues, name
        assert min(best_ious(data, again)) > 0.95, name


@pytest.mark.slow
def test_what_datumaro_writes(tmp_path: Path) -> None:
    """Outlines come back to the pixel; in VOC's maps objects that overlap share pixels."""
    interpreter = environment(tmp_path / "environment", "datumaro>=1.10")
    data = mrcnn.load_dataset(NUTS)
    data.save(tmp_path / "plain", "coco")
    (tmp_path / "ours/annotations").mkdir(parents=True)  # the folders it looks for
    (tmp_path / "plain/annotations.json").rename(tmp_path / "ours/annotations/instances_train.json")
    (tmp_path / "ours/images").mkdir()
    (tmp_path / "plain/images").rename(tmp_path / "ours/images/train")
    subprocess.run([interpreter, "-c", DATUMARO, str(tmp_path)], check=True, capture_output=True)
    folders = ["coco_instances", *(f"{start}{n}" for start in ("", "masks_") for n in ("cvat", "datumaro", "label_me"))]
    for name in (*folders, "masks_open_images", "masks_voc"):
        again = mrcnn.load_dataset(tmp_path / name)
        assert set(again.class_names) == set(data.class_names) and not again.issues, name
        assert min(best_ious(data, again)) > (0.99 if name == "masks_voc" else 0.999), name


def test_what_supervision_holds(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="not a dependency")
    data = mrcnn.load_dataset(NUTS)
    data.save(tmp_path / "yolo", "yolo")
    folder = tmp_path / "yolo"
    held = supervision.DetectionDataset.from_yolo(
        str(folder / "images/train"), str(folder / "labels/train"), str(folder / "data.yaml"), force_masks=True
    )
    assert min(best_ious(data, Dataset.from_supervision(held))) > 0.9


def test_polygons_beside_boxes_of_voc(tmp_path: Path) -> None:
    """As supervision writes them."""
    write_image(tmp_path / "a.jpg")
    points = [(3, 4), (10, 4), (10, 9), (3, 9)]  # counted from 1
    corners = "".join(f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>" for k, (x, y) in enumerate(points, start=1))
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    objects = f"<object><name>fig</name>{box}<polygon>{corners}</polygon></object>"
    broken = "<object><name>fig</name><polygon><x1>2</x1><y1>3</y1><x2>4</x2></polygon></object>"
    text = f"<annotation><folder></folder><filename>a.jpg</filename>{objects}{broken}</annotation>"
    (tmp_path / "a.xml").write_text(text)
    data = mrcnn.load_dataset(tmp_path)
    [mask] = masks(data, 0)
    expected = np.zeros((30, 40), bool)
    expected[3:8, 2:9] = True
    np.testing.assert_array_equal(mask, expected)
    assert ["polygon: a point without two finite numbers" in str(issue) for issue in data.issues] == [True]


def test_boxes_beside_outlines_are_their_bounds(tmp_path: Path) -> None:
    """As datumaro writes objects of COCO: a polygon and a box of one group."""
    write_image(tmp_path / "cvat/images/a.jpg")
    image = '<image id="0" name="a.jpg" width="40" height="30">{}</image>'
    box = '<box label="fig" group_id="{}" xtl="2" ytl="3" xbr="12" ybr="13"/>'
    polygon = '<polygon label="fig" group_id="1" points="2,3;12,3;2,13"/>'
    other = polygon.replace("fig", "nut").replace('"1"', '"2"')
    shapes = image.format(polygon + box.format(1) + box.format(2) + other + box.format(0))
    (tmp_path / "cvat/a.xml").write_text(f"<annotations><version>1.1</version>{shapes}</annotations>")
    data = mrcnn.load_dataset(tmp_path / "cvat")
    names = [data.class_names[a.class_id - 1] for a in data.annotations(0)]
    areas = [(name, int(mask.sum())) for name, mask in zip(names, masks(data, 0), strict=True)]
    half = areas[0][1]
    assert 40 < half < 60 and sorted(areas) == [("fig", half), ("fig", 100), ("fig", 100), ("nut", half)]

    write_image(tmp_path / "labelme/a.jpg")

    def points(*corners: tuple[int, int]) -> str:
        return "<polygon>" + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in corners) + "</polygon>"

    square = points((2, 3), (12, 3), (12, 13), (2, 13))
    triangle = points((2, 3), (12, 3), (2, 13))
    objects = (
        f"<object><name>fig</name><id>0</id><parts><hasparts>1</hasparts></parts>{triangle}</object>"
        f"<object><name>fig</name><id>1</id><type>bounding_box</type>{square}</object>"
        f"<object><name>fig</name><id>2</id><type>bounding_box</type>{square}</object>"
    )
    (tmp_path / "labelme/a.xml").write_text(f"<annotation><filename>a.jpg</filename>{objects}</annotation>")
    assert [int(m.sum()) for m in masks(mrcnn.load_dataset(tmp_path / "labelme"), 0)] == [half, 100]
