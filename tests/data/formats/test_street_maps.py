from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.street_maps import Cityscapes, Kitti, Mapillary, Mots
from tests.data.formats.sample_sets import DATUMARO, kinds, write_image


def write_map(file: Path, **areas: int) -> None:
    """Rows of values: r0=24001 fills rows 0..4, r1 rows 5..9, ..."""
    values = np.zeros((30, 40), np.uint16)
    for name, value in areas.items():
        k = 5 * int(name[1:])
        values[k : k + 5, 2:12] = value
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)


def names(dataset, index: int = 0) -> list[tuple[str, bool]]:
    return [(dataset.class_names[a.class_id - 1], a.is_crowd) for a in dataset.annotations(index)]


def test_cityscapes(tmp_path: Path) -> None:
    write_image(tmp_path / "leftImg8bit/train/ulm/ulm_1_2_leftImg8bit.png")
    write_map(tmp_path / "gtFine/train/ulm/ulm_1_2_gtFine_instanceIds.png", r0=24000, r1=26, r2=7, r3=24001, r4=29000)
    data = mrcnn.load_dataset(tmp_path, split="train")
    assert isinstance(recognize(tmp_path), Cityscapes) and data.num_classes == 8
    assert sorted(names(data)) == [("car", True), ("person", False), ("person", False)]
    square = [[2, 2], [12, 2], [12, 12], [2, 12]]
    objects = [
        {"label": "car", "polygon": square},
        {"label": "persongroup", "polygon": square},
        {"label": "road", "polygon": square},
        {"label": "rider", "polygon": square[:2]},
    ]
    file = tmp_path / "gtFine/train/ulm/ulm_1_2_gtFine_polygons.json"
    file.write_text(json.dumps({"imgHeight": 30, "imgWidth": 40, "objects": objects}))
    data = mrcnn.load_dataset(tmp_path)
    assert names(data) == [("car", False), ("person", True)] and kinds(data) == ["degenerate polygon"]
    file.write_text('{"objects": [')
    write_image(tmp_path / "leftImg8bit/train/ulm/ulm_1_3_leftImg8bit.png")
    write_map(tmp_path / "gtFine/train/ulm/ulm_1_3_gtFine_instanceIds.png", r0=33000)
    assert kinds(mrcnn.load_dataset(tmp_path)) == ["damaged label"]


def test_kitti_and_mots(tmp_path: Path) -> None:
    write_image(tmp_path / "k/training/image_2/a.png")
    write_map(tmp_path / "k/training/instance/a.png", r0=26 * 256 + 1, r1=26 * 256, r2=24 * 256 + 3, r3=7 * 256)
    kitti = mrcnn.load_dataset(tmp_path / "k")
    assert isinstance(recognize(tmp_path / "k"), Kitti)
    assert sorted(names(kitti)) == [("car", False), ("person", False)]
    write_image(tmp_path / "m/image_02/0000/000001.png")
    write_map(tmp_path / "m/instances/0000/000001.png", r0=1005, r1=2001, r2=10000)
    mots = mrcnn.load_dataset(tmp_path / "m")
    assert isinstance(recognize(tmp_path / "m"), Mots) and mots.image_ids == ("0000/000001",)
    assert names(mots) == [("car", False), ("pedestrian", False), ("car", True)]


@pytest.mark.parametrize("images", ["training/image_02/0001", "images/0001"])
def test_layouts_of_mots(tmp_path: Path, images: str) -> None:
    """KITTI MOTS beside the frames it was drawn on; MOTSChallenge, whose values alone say what they are."""
    for number in "12":
        write_image(tmp_path / images / f"00000{number}.png")
    write_map(tmp_path / "instances/0001/000001.png")
    write_map(tmp_path / "instances/0001/000002.png", r0=1001, r1=2003)
    assert isinstance(recognize(tmp_path), Mots)
    assert names(mrcnn.load_dataset(tmp_path), 1) == [("car", False), ("pedestrian", False)]


def test_mapillary(tmp_path: Path) -> None:
    labels = [{"name": "bird", "instances": True}, {"name": "road", "instances": False}]
    (tmp_path / "config_v1.2.json").write_text(json.dumps({"labels": labels}))
    write_image(tmp_path / "training/images/a.jpg")
    write_map(tmp_path / "training/v1.2/instances/a.png", r0=0 * 256 + 1, r1=256 + 1)
    data = mrcnn.load_dataset(tmp_path)
    assert isinstance(recognize(tmp_path), Mapillary) and mrcnn.dataset_splits(tmp_path) == ("train",)
    assert ("road", False) not in names(data) and data.class_names == ("bird",)


def test_what_datumaro_wrote() -> None:
    sets = mrcnn.load_splits(DATUMARO / "cityscapes_dataset/dataset")
    assert {name: len(part) for name, part in sets.items()} == {"train": 1, "val": 1, "test": 2}
    assert names(sets["train"]) == [("person", True)]
    kitti = mrcnn.load_dataset(DATUMARO / "kitti_dataset/kitti_segmentation")
    assert [len(kitti.annotations(i)) for i in range(2)] == [2, 1]
    vistas = mrcnn.load_splits(DATUMARO / "mapillary_vistas_dataset")
    assert list(vistas) == ["train", "val"] and vistas["val"].num_classes == 3
