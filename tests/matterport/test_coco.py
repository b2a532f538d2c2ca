from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mrcnn.matterport import training


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    square = [10.0, 5.0, 20.0, 5.0, 20.0, 25.0, 10.0, 25.0]
    crowd = {"size": [40, 60], "counts": [0, 40 * 3, 40 * 57]}
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [square], "area": 200, "bbox": [10, 5, 10, 20]},
        {"id": 2, "image_id": 7, "category_id": 18, "segmentation": crowd, "area": 120, "bbox": [0, 0, 3, 40]},
        {"id": 3, "image_id": 9, "category_id": 18, "segmentation": [square], "area": 200, "bbox": [10, 5, 10, 20]},
    ]
    for annotation in annotations:
        annotation["iscrowd"] = int(annotation["id"] == 2)
    data = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 60, "height": 40} for i in (7, 9)],
        "categories": [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
        "annotations": annotations,
    }
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(data))
    for i in (7, 9):
        Image.new("RGB", (60, 40), (i, 0, 0)).save(tmp_path / "val2017" / f"{i}.png")
    return tmp_path


def _load(folder, **options):
    import coco  # found by its flat name, once `mrcnn` of matterport was imported

    dataset = coco.CocoDataset()
    result = dataset.load_coco(str(folder), "val", year="2017", **options)
    dataset.prepare()
    return coco, dataset, result


def test_names_of_the_sample():
    import coco
    import samples.coco.coco

    from mrcnn.matterport import coco as ours
    from samples.coco import coco as other

    assert coco is ours is other is samples.coco.coco

    class InferenceConfig(coco.CocoConfig):
        GPU_COUNT = 1
        IMAGES_PER_GPU = 1

    assert InferenceConfig().NUM_CLASSES == 81 and InferenceConfig().NAME == "coco"


def test_data_set(folder):
    _, dataset, result = _load(folder, return_coco=True)
    assert result.getCatIds() == [3, 18] and dataset.class_names == ["BG", "car", "dog"]
    assert [info["id"] for info in dataset.image_info] == [7, 9]
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (40, 60, 2) and masks.dtype == bool and class_ids.tolist() == [1, -2]
    assert masks[..., 0].sum() == 200 and masks[6, 11, 0] and masks[..., 1].sum() == 120 and masks[:, :3, 1].all()
    assert dataset.load_image(1)[0, 0].tolist() == [9, 0, 0]
    assert dataset.image_reference(0).endswith("id=7")
    _, dogs, none = _load(folder, class_ids=[18])
    assert none is None and dogs.class_names == ["BG", "dog"] and len(dogs.image_ids) == 2
    with pytest.raises(FileNotFoundError, match="instances_train2017"):
        dogs.load_coco(str(folder), "train", year="2017")


def test_a_crowd_is_one_for_the_trainer(folder):
    from tests.matterport.small import SmallConfig

    _, dataset, _ = _load(folder)
    batches = training._feed(dataset, SmallConfig()).batches().take(4)
    batch = next(b for b in batches if b["image_id"].numpy()[0] == 0)
    shown = batch["gt_valid"].numpy()
    assert batch["gt_class_ids"].numpy()[shown].tolist() == [1, 2]
    assert batch["gt_crowd"].numpy()[shown].tolist() == [False, True]


def test_results_and_their_evaluation(folder, capsys):
    coco, dataset, result = _load(folder, return_coco=True)
    masks, _ = dataset.load_mask(0)
    rois = np.array([[5, 10, 25, 20]], np.int32)
    results = coco.build_coco_results(dataset, [7], rois, np.array([1]), np.float32([0.5]), masks[..., :1])
    assert results[0]["bbox"] == [10, 5, 10, 20] and results[0]["category_id"] == 3 and results[0]["score"] == 0.5
    assert coco.build_coco_results(dataset, [7], None, None, None, None) == []

    class Perfect:
        def detect(self, images, verbose=0):
            number = {7: 0, 9: 1}[int(images[0][0, 0, 0])]
            masks, class_ids = dataset.load_mask(number)
            box = np.array([[5, 10, 25, 20]], np.int32)
            return [{"rois": box, "class_ids": abs(class_ids[:1]), "scores": np.ones(1), "masks": masks[..., :1]}]

    for kind in ("bbox", "segm"):
        evaluation = coco.evaluate_coco(Perfect(), dataset, result, kind)
        assert evaluation.stats[0] == pytest.approx(1.0)
    assert "Prediction time" in capsys.readouterr().out
    assert coco.evaluate_coco(Perfect(), dataset, result, limit=1).params.imgIds == [7]
