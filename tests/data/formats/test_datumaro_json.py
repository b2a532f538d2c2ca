from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import mrcnn
from mrcnn.data.formats.datumaro_json import DatumaroJson
from mrcnn.data.formats.registry import recognize
from mrcnn.data.rle import mask_to_rle
from tests.data.formats.sample_sets import kinds, masks, write_image

LABELS = {"label": {"labels": [{"name": "dog"}, {"name": "cat"}]}, "points": {"items": [{"labels": ["a", "b"]}]}}


def write(folder: Path, *annotations: dict[str, Any], split: str = "train") -> Path:
    write_image(folder / "images" / split / "x.png")
    items = [{"id": "x", "annotations": list(annotations), "image": {"path": "x.png", "size": [30, 40]}}]
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"{split}.json").write_text(
        json.dumps({"info": {}, "categories": LABELS, "items": items})
    )
    return folder


def test_every_annotation(tmp_path: Path) -> None:
    bits = np.zeros((30, 40), bool)
    bits[3:6, 4:9] = True
    square, other = [2, 2, 6, 2, 6, 6, 2, 6], [20, 2, 26, 2, 26, 6, 20, 6]
    write(
        tmp_path,
        {"type": "polygon", "label_id": 1, "points": square, "group": 3},
        {"type": "polygon", "label_id": 1, "points": other, "group": 3},
        {"type": "mask", "label_id": 0, "rle": mask_to_rle(bits), "group": 0, "attributes": {"is_crowd": True}},
        {"type": "bbox", "label_id": 0, "bbox": [10, 10, 5, 8], "group": 4},
        {"type": "points", "label_id": 0, "points": [11, 12, 13, 14], "visibility": [2, 1], "group": 4},
        {"type": "label", "label_id": 0},
        {"type": "polyline", "label_id": 0, "points": square},
        {"type": "polygon", "label_id": 9, "points": square},
        {"type": "polygon", "label_id": 0, "points": [1, 2, 3]},
    )
    data = mrcnn.load_dataset(tmp_path)
    assert isinstance(recognize(tmp_path), DatumaroJson) and data.class_names == ("dog", "cat")
    cat, crowd, dog = data.annotations(0)
    assert len(cat.segmentation) == 2 and crowd.is_crowd and masks(data, 0)[1].sum() == 15
    assert dog.box == (10, 10, 18, 15) and dog.keypoints.tolist() == [[11, 12, 2], [13, 14, 1]]
    assert kinds(data) == ["no area", "shape", "unknown class"]
    write(tmp_path, {"type": "polygon", "label_id": 1, "points": square}, split="val")
    assert mrcnn.dataset_splits(tmp_path) == ("train", "val")
    assert mrcnn.load_dataset(tmp_path).image_ids == ("train/x", "val/x")
