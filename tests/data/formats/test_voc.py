from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.voc import Voc
from mrcnn.data.formats.voc_maps import voc_color
from tests.data.formats.sample_sets import DATUMARO, NUTS, best_ious, kinds, masks, write_image


def xml(*objects: tuple[str, int, int, int, int], name: str = "a.png", size: str = "") -> str:
    """Objects as (name, xmin, ymin, xmax, ymax)."""
    size = size or "<size><width>40</width><height>30</height><depth>3</depth></size>"
    parts = [
        f"<object><name>{n}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for n, a, b, c, d in objects
    ]
    return f"<annotation><filename>{name}</filename>{size}{''.join(parts)}</annotation>"


def devkit(root: Path, values: np.ndarray, label: str | None) -> Path:
    write_image(root / "JPEGImages/a.png")
    for folder in ("Annotations", "SegmentationObject", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette([v for k in range(256) for v in voc_color(k)])
    image.save(root / "SegmentationObject/a.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n")
    if label is not None:
        (root / "Annotations/a.xml").write_text(label)
    return root


def two_objects() -> np.ndarray:
    values = np.zeros((30, 40))
    values[5:10, 4:8], values[20:25, 20:30], values[4, 4:8] = 1, 2, 255
    return values


@pytest.mark.parametrize("color", [False, True])
def test_masks_get_the_class_of_the_object_whose_box_they_fill(tmp_path: Path, color: bool) -> None:
    # The objects in the other order than the map's values: boxes decide.
    devkit(tmp_path, two_objects(), xml(("dog", 21, 21, 30, 25), ("cat", 5, 6, 8, 10)))
    if color:
        file = tmp_path / "SegmentationObject/a.png"
        Image.open(file).convert("RGB").save(file)
    data = mrcnn.load_dataset(tmp_path, split="train")
    assert isinstance(recognize(tmp_path), Voc) and not data.issues
    boxes = {data.class_names[a.class_id - 1]: a.box for a in data.annotations(0)}
    assert boxes == {"cat": (5, 4, 10, 8), "dog": (20, 20, 25, 30)}
    assert masks(data, 0)[0].sum() == 20


def test_classes_from_the_class_map(tmp_path: Path) -> None:
    values = two_objects()
    devkit(tmp_path, values, None)
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(np.where(values == 1, 15, np.where(values == 2, 8, 0)).astype(np.uint8)).save(
        tmp_path / "SegmentationClass/a.png"
    )
    assert mrcnn.load_dataset(tmp_path).class_names == ("cat", "person")
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nfig:64,0,0::\nnut:192,128,128::\n"
    )
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("fig", "nut") and [a.class_id for a in data.annotations(0)] == [2, 1]


def test_boxes_alone_are_read_only_when_asked(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(xml(("cat", 5, 6, 8, 10), ("dog", 1, 1, 40, 30)))
    with pytest.raises(DataError, match="2 objects have boxes and no mask; boxes=True reads them as rectangles"):
        mrcnn.load_dataset(tmp_path)
    data = mrcnn.load_dataset(tmp_path, boxes=True)
    assert [a.box for a in data.annotations(0)] == [(5, 4, 10, 8), (0, 0, 30, 40)]
    with pytest.raises(DataError, match="voc has no option 'hue'; it has boxes"):
        mrcnn.load_dataset(tmp_path, hue=1)


BOMB = """<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>"""


@pytest.mark.parametrize(
    "label, kind, message",
    [
        (BOMB, "damaged label", r"line 1: a document type or entity is declared"),
        ("<annotation><object>", "damaged label", "not valid XML"),
        ("", "damaged label", "not valid XML"),
        (xml(size="<size><width>400</width><height>300</height></size>"), "image size", "its label says 300 x 400"),
    ],
)
def test_bad_labels_are_named_and_the_rest_is_read(tmp_path: Path, label: str, kind: str, message: str) -> None:
    for name in "ab":
        write_image(tmp_path / f"images/{name}.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/a.xml").write_text(label)
    (tmp_path / "annotations/b.xml").write_text(xml(("cat", 5, 6, 8, 10)))
    data = mrcnn.load_dataset(tmp_path, boxes=True)
    assert data.image_ids == ("b",) and kinds(data) == [kind]
    assert message in data.issues[0].message and "a.xml" in data.issues[0].path


def test_what_other_programs_wrote(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit/VOC2012"
    shutil.copytree(NUTS / "voc", root)
    shutil.copytree(NUTS / "images", root / "JPEGImages")
    for path in (root, root.parent, tmp_path):
        assert mrcnn.dataset_splits(path) == ("val",)
    data = mrcnn.load_dataset(tmp_path)
    outlines = mrcnn.load_dataset(NUTS / "labelme", NUTS / "images")
    assert data.class_names == outlines.class_names and sum(len(data.annotations(i)) for i in range(4)) == 30
    assert min(best_ious(data, outlines)) > 0.8  # its maps have a void border around each object
    first = mrcnn.load_dataset(DATUMARO / "voc_dataset/voc_dataset1")
    assert first.class_names == ("cat",) and kinds(first) == ["image without label", "no mask"]
    assert mrcnn.load_splits(DATUMARO / "roboflow_dataset/voc", boxes=True)["train"].num_classes == 2
