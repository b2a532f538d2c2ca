"""LabelMe XML: what datumaro wrote, objects by hand, and what is wrong with single records and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.labelme_xml import LabelMeXml
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import DATUMARO, assert_issue, kinds, masks, write_image


def polygon(*points: tuple[object, object]) -> str:
    return f"<polygon>{''.join(f'<pt><x>{x}</x><y>{y}</y></pt>' for x, y in points)}</polygon>"


SQUARE = polygon((10, 20), (14, 20), (14, 23), (10, 23))
OTHER = polygon((30, 2), (34, 2), (34, 4), (30, 4))


def entry(number: object, shape: str, name: str = "cat", more: str = "") -> str:
    return f"<object><name>{name}</name><id>{number}</id>{more}{shape}</object>"


def write(folder: Path, objects: str, name: str = "x", more: str = "") -> Path:
    """The XML file of an image of 30 x 40, and the image, in the older program's folders."""
    write_image(folder / f"Images/{name}.png")
    file = folder / f"Annotations/{name}.xml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"<annotation><filename>{name}.png</filename>{more}{objects}</annotation>")
    return folder


def test_what_datumaro_wrote() -> None:
    path = DATUMARO / "labelme_dataset"
    data = mrcnn.load_dataset(path)
    assert isinstance(recognize(path), LabelMeXml) and data.image_ids == ("subset1/img1",)
    by_name = {data.class_names[a.class_id - 1]: a.box for a in data.annotations(0)}
    assert by_name["window"] == (34, 43, 37, 45) and len(by_name) == 7 and not data.issues


def test_parts_deleted_objects_and_ids_given_twice(tmp_path: Path) -> None:
    parts = "<parts><hasparts>1</hasparts><ispartof></ispartof></parts>"
    write(
        tmp_path,
        entry(0, SQUARE, more=parts)
        + entry(1, OTHER)
        + entry(2, SQUARE, more="<deleted>1</deleted>")
        + entry(3, OTHER, "dog")
        + entry(3, SQUARE, "dog"),
    )
    write_image(tmp_path / "Images/plain.png")
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("cat", "dog") and [len(a.segmentation) for a in data.annotations(0)] == [2, 1, 1]
    both, *single = masks(data, 0)
    assert both[20:23, 10:14].all() and both[2:4, 30:34].all() and both.sum() == 12 + 8
    assert [mask.sum() for mask in single] == [8, 12]
    assert kinds(data) == ["image without label"] and data.image_ids == ("x", "plain")
    assert mrcnn.load_dataset(tmp_path / "Annotations/x.xml", tmp_path / "Images", format="labelme_xml").image_ids == (
        "x",
    )


def test_masks_and_the_boxes_beside_them(tmp_path: Path) -> None:
    bits = np.zeros((30, 40), np.uint8)
    bits[2:6, 3:5] = 1
    (tmp_path / "Masks").mkdir()
    Image.fromarray(bits).save(tmp_path / "Masks/x_mask_0.png")
    bounds = "<type>bounding_box</type>" + polygon((3, 2), (5, 2), (5, 6), (3, 6))
    write(
        tmp_path,
        entry(0, "<segm><mask>x_mask_0.png</mask></segm>", more="<parts><hasparts>1,2</hasparts></parts>")
        + entry(1, bounds)
        + entry(2, OTHER)
        + entry(4, bounds, "dog"),
    )
    data = mrcnn.load_dataset(tmp_path)
    cat, dog = masks(data, 0)
    assert cat[2:6, 3:5].all() and cat[2:4, 30:34].all() and cat.sum() == 8 + 8 and dog.sum() == 8
    assert not data.issues


def test_polygons_of_supervision_count_from_one(tmp_path: Path) -> None:
    points = "".join(f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>" for k, (x, y) in enumerate([(11, 21), (15, 21), (15, 24)], 1))
    write(tmp_path, entry(0, f"<polygon>{points}</polygon>"))
    assert mrcnn.load_dataset(tmp_path).annotations(0)[0].box == (20, 10, 23, 14)


@pytest.mark.parametrize(
    ("shape", "kind", "reason"),
    [
        (polygon(("a", 1), (5, 1), (5, 5)), "shape", "a point without two finite numbers"),
        (polygon((float("nan"), 1), (5, 1), (5, 5)), "shape", "a point without two finite numbers"),
        ("<polygon><pt><x>1</x></pt></polygon>", "shape", "a point without two finite numbers"),
        ("<polygon/>", "degenerate polygon", "0 points"),
        (polygon((1, 1), (5, 1)), "degenerate polygon", "2 points|three"),
        ("", "shape", "expected <polygon> or <segm><mask>"),
        ("<segm><mask>../gone.png</mask></segm>", "shape", r"Masks/gone\.png: no such image"),
        ("<segm><mask>small.png</mask></segm>", "shape", r"small\.png: 20 x 40, not the size"),
        ("<segm><mask>cut.png</mask></segm>", "shape", r"cut\.png: "),
    ],
)
def test_bad_objects_are_named(tmp_path: Path, shape: str, kind: str, reason: str) -> None:
    Image.new("L", (40, 20), 1).save(tmp_path / "small.png")
    (tmp_path / "Masks").mkdir()
    (tmp_path / "small.png").rename(tmp_path / "Masks/small.png")
    (tmp_path / "Masks/cut.png").write_bytes((tmp_path / "Masks/small.png").read_bytes()[:50])
    write(tmp_path, entry(7, SQUARE) + entry(9, shape) + entry(11, SQUARE, ""))
    data = mrcnn.load_dataset(tmp_path)
    assert [a.annotation_id for a in data.annotations(0)] == ["7"]
    assert_issue(data, kind, reason, path="x.xml", image_id="x", record="9")
    assert_issue(data, "unknown class", "no class is named", path="x.xml", image_id="x", record="11")
    with pytest.raises(DataError, match=r"x\.xml, image x, annotation 9: "):
        mrcnn.load_dataset(tmp_path, strict=True)


def test_bad_files_are_named(tmp_path: Path) -> None:
    good = entry(1, SQUARE)
    write(tmp_path, good)
    write(tmp_path, good, "gone")
    (tmp_path / "Images/gone.png").unlink()
    write(tmp_path, good, "size", "<imagesize><nrows>300</nrows><ncols>40</ncols></imagesize>")
    write(tmp_path, good, "cut")
    (tmp_path / "Annotations/cut.xml").write_text("<annotation><filename>cut.png</filename><object>")
    write(tmp_path, good, "bomb")
    (tmp_path / "Annotations/bomb.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    write(tmp_path, "", "empty", "<imagesize><nrows>30</nrows><ncols>40</ncols></imagesize>")
    (tmp_path / "Annotations/of_something_else.xml").write_text("<project/>")
    data = mrcnn.load_dataset(tmp_path)
    assert isinstance(recognize(tmp_path), LabelMeXml) and data.image_ids == ("empty", "x")
    assert_issue(data, "missing image", r"no such image: 'gone.png'", path="gone.xml", image_id="gone")
    assert_issue(data, "image size", "30 x 40 .* 300 x 40", path="size.xml", image_id="size")
    assert_issue(data, "damaged label", "not valid XML", path="cut.xml", image_id="cut")
    assert_issue(data, "damaged label", "document type or entity", path="bomb.xml", image_id="bomb")
    assert len(data.issues) == 4
