from __future__ import annotations

import json

import numpy as np
import pytest

from mrcnn.evaluation import CocoMetric
from mrcnn.evaluation.error_analysis import ERRORS
from mrcnn.evaluation.pairs import pair_image
from mrcnn.report.numbers import report_numbers
from tests.evaluation.scene import random_pair

NAMES = ["a", "b", "c", "never"]


@pytest.fixture(scope="module")
def numbers():
    rng = np.random.default_rng(0)
    metrics = CocoMetric(NAMES), CocoMetric(NAMES, kinds=["boundary"])
    images = []
    for image_id in range(5):
        pair = random_pair(rng, crowds=0.1)
        images.append(pair_image(image_id, *pair))
        for metric in metrics:
            metric.update(image_id, *pair)
    result, boundary = (metric.result() for metric in metrics)
    return report_numbers(images, result, boundary, NAMES, {0: "first.png"})


def test_are_plain_json_without_nan(numbers):
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert numbers["per_class"]["never"]["mask/AP"] is None and numbers["per_class"]["never"]["best_f1"]["f1"] is None


def test_agree_with_each_other(numbers):
    assert numbers["errors"]["ap50"] == pytest.approx(numbers["numbers"]["mask/AP50"], abs=2e-6)
    for row in numbers["groups"][:3]:
        expected = numbers["numbers"][f"mask/AP{row['group'][0]}"]
        assert row["AP"] == expected or row["AP"] == pytest.approx(expected, abs=2e-6)
    assert np.array(numbers["confusion"]["matrix"])[1:].sum() == numbers["objects"]
    rows = numbers["image_results"]
    assert sum(row["correct"] + row["missed"] for row in rows) == numbers["objects"]
    assert rows[0]["file"] == "first.png" and rows[1]["file"] == "1"
    for kind in ERRORS:
        entry = numbers["errors"]["kinds"][kind]
        assert entry["count"] == sum(count for _, count in entry["images"])
    assert 0 < numbers["numbers"]["boundary/AP"] < numbers["numbers"]["mask/AP"]


def test_matches_are_bits_of_the_ten_thresholds(numbers):
    detections = [d for entry in numbers["matches"] for d in entry["detections"]]
    assert all(0 <= right < 1024 and right & out == 0 for _, _, right, out in detections)
    counted = [d for d in detections if not d[3] & 1]
    assert len(counted) == sum(numbers["calibration"]["score"]["counts"])
    assert sum(sum(entry["objects"].values()) for entry in numbers["matches"]) == numbers["objects"]


def test_of_no_images():
    numbers = report_numbers([], CocoMetric(["a"]).result(), None, ["a"], {})
    assert json.dumps(numbers, allow_nan=False) and numbers["numbers"]["box/AP"] is None
