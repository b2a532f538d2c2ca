from __future__ import annotations

import json

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.errors import InputError
from mrcnn.evaluation import Metric, evaluate_coco_files
from mrcnn.structures.records import Annotation, ImageRecord
from mrcnn.training.evaluation_run import evaluate, own_part
from tests.blob_finder import BlobFinder, image


class Blobs:
    """Images of one rectangle a channel and their ground truth, with category ids that have gaps."""

    class_names = ("red", "green", "blue")
    category_ids = (2, 5, 9)
    sizes = ((64, 64), (100, 50), (64, 128), (64, 64), (32, 60))

    def __len__(self):
        return len(self.sizes)

    def boxes(self, index):
        h, w = self.sizes[index]
        return [(4 * c, w // 4 * c, 4 * c + h // 2, w // 4 * (c + 1)) for c in range(3) if (index + c) % 3]

    def record(self, index):
        h, w = self.sizes[index]
        annotations = []
        for c, (y1, x1, y2, x2) in zip([c for c in range(3) if (index + c) % 3], self.boxes(index), strict=True):
            half = (x1 + x2) / 2  # the stand-in's masks are left halves
            corners = np.array([[x1, y1], [half, y1], [half, y2], [x1, y2]], float)
            area = (half - x1) * (y2 - y1)
            annotations.append(Annotation(c + 1, (y1, x1, y2, x2), [corners], area=area))
        return ImageRecord(10 + index, None, h, w, tuple(annotations))

    def load_image(self, index):
        chosen = [c for c in range(3) if (index + c) % 3]
        return image(*self.sizes[index], *[(c, *b) for c, b in zip(chosen, self.boxes(index), strict=True)])

    def as_coco(self):
        images, annotations = [], []
        for i in range(len(self)):
            record = self.record(i)
            images.append({"id": record.image_id, "height": record.height, "width": record.width})
            for a in record.annotations:
                y1, x1, y2, x2 = a.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": record.image_id,
                        "category_id": self.category_ids[a.class_id - 1],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "segmentation": [p.ravel().tolist() for p in a.segmentation],
                        "area": a.area,
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": i, "name": n} for i, n in zip(self.category_ids, self.class_names, strict=True)]
        return {"images": images, "annotations": annotations, "categories": categories}


def test_numbers_are_those_of_the_written_files(tmp_path):
    result = evaluate(BlobFinder(), Blobs(), batch_size=2, out=tmp_path)
    assert result["box/AP50"] == 1
    assert result["box/AP"] > 0.7
    assert result["mask/AP50"] == 1
    assert result.num_images == 5
    assert result.num_objects == 10
    (tmp_path / "ground truth.json").write_text(json.dumps(Blobs().as_coco()))
    for kind in ("box", "mask"):
        official = evaluate_coco_files(tmp_path / "ground truth.json", tmp_path / "detections.json", kind)
        assert {f"{kind}/{k}": v for k, v in official.items()} == {
            k: v for k, v in result.numbers.items() if k.startswith(kind)
        }
    assert json.loads((tmp_path / "metrics.json").read_text())["numbers"] == result.numbers
    assert {d["category_id"] for d in result.detections} == {2, 5, 9}


def test_numbers_do_not_depend_on_the_batch_size():
    assert evaluate(BlobFinder(), Blobs()).detections == evaluate(BlobFinder(), Blobs(), batch_size=4).detections


def test_progress_is_reported_on_request(capfd):
    """Three silent minutes look like a hang."""
    evaluate(BlobFinder(), Blobs())
    assert capfd.readouterr() == ("", "")
    evaluate(BlobFinder(), Blobs(), progress=True)
    assert capfd.readouterr() == ("", "evaluation: 1 of 5 images\n")
    lines = []
    evaluate(BlobFinder(), Blobs(), progress=True, log=lines.append)
    assert (lines, capfd.readouterr()) == (["evaluation: 1 of 5 images"], ("", ""))


def test_other_classes_are_refused():
    class Other(Blobs):
        class_names = ("red", "green")

    message = r"evaluate: the model has 3 classes, the data set 2: class 3, 'blue', is only in the model"
    with pytest.raises(ValueError, match=message):
        evaluate(BlobFinder(), Other())

    class Swapped(Blobs):
        class_names = ("red", "blue", "green")

    with pytest.raises(ValueError, match="only the order of the 3 classes differs: class 2 is 'green' in the model"):
        evaluate(BlobFinder(), Swapped())


def test_an_empty_data_set():
    class Nothing(Blobs):
        sizes = ()

    assert set(evaluate(BlobFinder(), Nothing()).numbers.values()) == {-1.0}


@pytest.mark.parametrize("machines", [1, 2, 3, 7])
def test_every_image_is_in_one_part(machines):
    dataset = Dataset()
    for i in range(5):
        dataset.add_image("part", 10 + i, None)
    parts = [own_part(dataset, i, machines) for i in range(machines)]
    seen = [part.record(i).image_id for part in parts for i in range(len(part))]
    assert seen == [dataset.record(i).image_id for i in range(5)]
    assert max(len(part) for part in parts) - min(len(part) for part in parts) <= 1


class Count(Metric):
    """How many detections there are, a stand-in for a metric of the user's own."""

    name = "count"

    def __init__(self):
        self.seen = [99]

    def reset(self):
        self.seen = []

    def update(self, image_id, ground_truth, prediction):
        self.seen.append((image_id, len(ground_truth.annotations), len(prediction)))

    def compute(self):
        return {"images": len(self.seen), "objects": sum(n for _, n, _ in self.seen)}


def test_further_metrics_see_every_image(tmp_path):
    count = Count()
    result = evaluate(BlobFinder(), Blobs(), metrics=[count], out=tmp_path)
    assert [image_id for image_id, _, _ in count.seen] == [10, 11, 12, 13, 14]
    assert result["count/images"] == 5 and result["count/objects"] == result.num_objects
    assert "count" in str(result)
    assert json.loads((tmp_path / "metrics.json").read_text())["numbers"]["count/images"] == 5
    assert result["box/AP"] == evaluate(BlobFinder(), Blobs())["box/AP"]


def test_metrics_need_names_of_their_own():
    with pytest.raises(InputError, match="name 'count' is taken"):
        evaluate(BlobFinder(), Blobs(), metrics=[Count(), Count()])
