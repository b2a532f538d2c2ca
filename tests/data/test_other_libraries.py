"""Stand-ins with the attributes that the libraries' own objects have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace as Like

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError

MASK = np.zeros((20, 30), bool)
MASK[4:9, 5:15] = True


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.new("RGB", (30, 20), (10, 20, 30)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def one(data: Dataset, box: tuple = (4, 5, 9, 15)) -> None:
    """The object of the first image is the mask above."""
    [annotation] = data.annotations(0)
    assert annotation.box == pytest.approx(box) and data.class_names[annotation.class_id - 1] == "dog"
    np.testing.assert_array_equal(data.instances(0).masks[0], MASK)
    assert data.load_image(0)[0, 0].tolist() == [10, 20, 30]


def test_supervision(file: Path) -> None:
    class Held(list):
        classes = ("cat", "dog")

    boxes = Like(xyxy=np.array([[5, 4, 15, 9]]), mask=MASK[None], class_id=np.array([1]))
    bgr = np.full((20, 30, 3), (30, 20, 10), np.uint8)
    one(Dataset.from_supervision(Held([(str(file), bgr, boxes)])))
    one(Dataset.from_supervision(Held([("in memory", bgr, boxes)])))
    with pytest.raises(DataError, match="expected a DetectionDataset"):
        Dataset.from_supervision([])


def test_fiftyone(file: Path) -> None:
    detection = Like(label="dog", bounding_box=[5 / 30, 4 / 20, 10 / 30, 5 / 20], mask=np.ones((5, 10), bool))

    class Sample(dict):
        filepath, id = str(file), "1"

    one(Dataset.from_fiftyone([Sample(ground_truth=Like(detections=[detection]))]))
    with pytest.raises(DataError, match="has no field 'labels'"):
        Dataset.from_fiftyone([Sample()], "labels")


def test_huggingface(file: Path) -> None:
    polygon = [5, 4, 15, 4, 15, 9, 5, 9]
    row = {"image": Image.open(file), "image_id": 7, "objects": {"bbox": [[5, 4, 10, 5]], "category": [1]}}

    class Rows(list):
        """With a description of its columns."""

    Rows.features = {"objects": {"category": Like(feature=Like(names=["cat", "dog"]))}}
    one(Dataset.from_huggingface(Rows([row])))
    row["objects"]["segmentation"] = [[polygon]]
    one(Dataset.from_huggingface(Rows([row])))
    assert Dataset.from_huggingface([row]).class_names == ("0", "1")


def test_datumaro(file: Path) -> None:
    polygon = Like(
        type=Like(name="polygon"),
        label=1,
        group=0,
        attributes={},
        points=[5, 4, 15, 4, 15, 9, 5, 9],
        get_bbox=lambda: [5, 4, 10, 5],
    )
    mask = Like(type=Like(name="mask"), label=1, group=2, attributes={}, image=MASK, get_bbox=lambda: [5, 4, 10, 5])

    class Held(list):
        def categories(self) -> dict:
            return {Like(name="label").name: Like(items=[Like(name="cat"), Like(name="dog")])}

    media = Like(path=str(file), size=(20, 30))
    for objects in ([polygon], [mask], [mask, Like(**{**vars(polygon), "group": 2})]):
        item = Like(id="a", subset="train", media=media, annotations=objects)
        data = Dataset.from_datumaro(Held([item]))
        one(data)
        assert data.image_ids == ("train/a",)
