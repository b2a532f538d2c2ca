from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mrcnn.evaluation import evaluate_coco_files

DATA = Path(__file__).parent.parent / "assets" / "coco_eval_ref"
FILES = {
    "box": ("instances_val2014_100.json", "instances_val2014_fakebbox100_results.json"),
    "mask": ("instances_val2014_100.json", "instances_val2014_fakesegm100_results.json"),
    "keypoints": ("person_keypoints_val2014_100.json", "person_keypoints_val2014_fakekeypoints100_results.json"),
}


@pytest.mark.parametrize("kind", list(FILES))
def test_published_numbers_to_the_last_digit(kind):
    ground_truth, results = (DATA / name for name in FILES[kind])
    expected = json.loads((DATA / "expected_pycocotools.json").read_text())["stats_pycocotools"]
    iou_type = {"box": "bbox", "mask": "segm"}.get(kind, kind)
    assert list(evaluate_coco_files(ground_truth, results, kind).values()) == expected[iou_type]
    assert list(evaluate_coco_files(ground_truth, results, iou_type).values()) == expected[iou_type]


def test_numbers_carry_cocos_names():
    numbers = evaluate_coco_files(DATA / FILES["box"][0], DATA / FILES["box"][1], "box", max_dets=(1, 10, 300))
    assert list(numbers) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR300", "ARs", "ARm", "ARl"]
    assert numbers["AP"] > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "result 0 is about image 5"),
        ({"score": float("nan")}, "score nan is not a finite"),
        ({"bbox": [0, 0, float("inf"), 1]}, "not four finite"),
        ({"bbox": [0, 0, 1]}, "not four finite"),
        ({"bbox": None}, "has no 'bbox'"),
    ],
)
def test_bad_results_are_refused_by_entry(change, message, tmp_path):
    ground_truth = {
        "images": [{"id": 1, "height": 9, "width": 9}], "categories": [{"id": 1, "name": "a"}], "annotations": []
    }  # fmt: skip
    result = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.5} | change
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{k: v for k, v in result.items() if v is not None}]))
    with pytest.raises(ValueError, match=message) as error:
        evaluate_coco_files(ground_truth, path)
    assert str(path) in str(error.value)


def test_results_of_another_image_size_are_refused():
    ground_truth, result = DATA / FILES["mask"][0], json.loads((DATA / FILES["mask"][1]).read_text())[:1]
    result[0]["segmentation"] = {"size": [3, 3], "counts": [9]}
    with pytest.raises(ValueError, match=r"result 0: mask of \[3, 3\] pixels, image 42"):
        evaluate_coco_files(ground_truth, result, "mask")


def test_mask_results_may_be_polygons_or_plain_counts():
    square = [2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]
    ground_truth = {
        "images": [{"id": 1, "height": 8, "width": 9}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [2, 1, 4, 4], "segmentation": [square]}],
    }
    counts = [17, 4, 4, 4, 4, 4, 4, 4, 27]
    for segmentation in ([square], {"size": [8, 9], "counts": counts}):
        result = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": segmentation}
        assert evaluate_coco_files(ground_truth, [result], "mask")["AP"] == pytest.approx(1)


def test_files_that_are_not_what_they_should_be(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json: not valid JSON"):
        evaluate_coco_files(broken, [])
    with pytest.raises(ValueError, match=r"absent\.json: no such file"):
        evaluate_coco_files(tmp_path / "absent.json", [])
    with pytest.raises(ValueError, match="no images, annotations, categories"):
        evaluate_coco_files({}, [])
    with pytest.raises(ValueError, match="kind 'boxes'"):
        evaluate_coco_files({}, [], "boxes")


def test_results_of_unknown_categories_are_left_out(caplog):
    ground_truth = {
        "images": [{"id": 1, "height": 9, "width": 9}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]}],
    }  # fmt: skip
    result = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.5}
    with caplog.at_level(logging.WARNING, "mrcnn"):
        numbers = evaluate_coco_files(ground_truth, [result, {**result, "category_id": 7, "score": 0.9}])
    assert numbers["AP"] == pytest.approx(1)
    assert "results of categories the annotations do not hold are left out: [7]" in caplog.text


def test_ids_of_texts_and_beyond_64_bits():
    ground_truth = {
        "images": [{"id": "x", "height": 90, "width": 90}, {"id": 2**70, "height": 90, "width": 90}],
        "categories": [{"id": 2**65, "name": "a"}],
        "annotations": [{"image_id": i, "category_id": 2**65, "bbox": [0, 0, 40, 40]} for i in ("x", 2**70)],
    }
    results = [{"image_id": "x", "category_id": 2**65, "bbox": [0, 0, 40, 40], "score": 0.5}]
    assert evaluate_coco_files(ground_truth, results)["AR100"] == pytest.approx(0.5)
