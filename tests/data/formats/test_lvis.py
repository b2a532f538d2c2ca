from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.data.formats.lvis import Lvis
from mrcnn.structures.records import Annotation


def some(folder: Path, number: int = 11) -> Dataset:
    """Class "dried fig" in eleven images, "nut" in one, with a crowd region; image ids are texts."""
    data = Dataset()
    for category_id, name in ((7, "dried fig"), (9, "nut"), (12, "date")):
        data.add_class("made", category_id, name)
    for k in range(number):
        Image.new("RGB", (9, 8)).save(folder / f"{k}.png")
        objects = [Annotation(1, (1, 1, 5, 6), None, annotation_id=1)] * (1 + (k == 0))
        if k == 3:
            triangle = [np.array([[0, 0], [4, 0], [0, 4]])]
            objects.append(Annotation(2, (0, 0, 4, 4), triangle, np.ones((2, 3)), True, 2, area=8.0))
        data.add_image("made", f"i{k}", str(folder / f"{k}.png"), height=8, width=9, annotations=objects)
    data.keypoint_names = ("a", "b")
    return data


def test_by_hand(tmp_path: Path) -> None:
    saved = some(tmp_path).save(tmp_path / "out", "lvis")
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    fig, nut, date = content["categories"]
    assert fig == {
        "id": 7, "name": "dried fig", "image_count": 11, "instance_count": 12, "frequency": "c",
        "synset": "dried_fig.n.01", "synonyms": ["dried fig"], "def": "",
    }  # fmt: skip
    assert (nut["frequency"], nut["image_count"], date["frequency"], date["instance_count"]) == ("r", 1, "r", 0)
    image = content["images"][0]
    assert image["id"] == 1 and image["neg_category_ids"] == [] and image["not_exhaustive_category_ids"] == []
    first = content["annotations"][0]
    assert first["image_id"] == 1 and first["segmentation"] == [[1, 1, 6, 1, 6, 5, 1, 5]] and "iscrowd" not in first
    kinds = [loss.kind for loss in saved.losses]
    assert kinds.count("image id") == 11 and kinds.count("crowd") == kinds.count("keypoints") == 1
    again = mrcnn.load_dataset(tmp_path / "out")
    assert again.class_names == ("dried fig", "nut", "date") and again.category_ids == (7, 9, 12)
    assert mrcnn.load_dataset(tmp_path / "out", format="lvis").image_ids == tuple(range(1, 12))
    with pytest.raises(mrcnn.DataError, match="lvis cannot hold 13 things"):
        some(tmp_path).save(tmp_path / "strict.json", "lvis", strict=True)


def test_what_an_image_was_searched_for_is_kept(tmp_path: Path) -> None:
    some(tmp_path, 2).save(tmp_path / "a.json", "lvis")
    content = json.loads((tmp_path / "a.json").read_text())
    content["images"][0]["neg_category_ids"] = [9]
    content["images"][1]["not_exhaustive_category_ids"] = [7]
    (tmp_path / "b.json").write_text(json.dumps(content))
    saved = mrcnn.load_dataset(tmp_path / "b.json").save(tmp_path / "c.json", "lvis")
    images = json.loads((tmp_path / "c.json").read_text())["images"]
    assert [i["neg_category_ids"] for i in images] == [[9], []]
    assert [i["not_exhaustive_category_ids"] for i in images] == [[], [7]] and not saved.losses


def test_coco_recognizes_it(tmp_path: Path) -> None:
    some(tmp_path, 1).save(tmp_path / "a.json", "lvis")
    assert not Lvis().recognize(tmp_path / "a.json")
