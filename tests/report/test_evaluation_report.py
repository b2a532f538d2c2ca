from __future__ import annotations

import json

import pytest

from mrcnn.evaluation.metric import metrics
from mrcnn.report.evaluation_report import DATA_FILE, PAGE_FILE, EvaluationReport
from tests.report.scenes import HOSTILE, Scenes, evaluated


def test_writes_a_page_and_its_numbers(tmp_path):
    report, result = evaluated(Scenes())
    page, data = report.save(tmp_path / "new", result)
    assert (page.name, data.name) == (PAGE_FILE, DATA_FILE) and "Evaluation" in page.read_text()
    numbers = json.loads(data.read_text())
    assert numbers["about"] == {"model": HOSTILE[0]} and numbers["seconds"]["report"] > 0
    assert numbers["numbers"]["mask/AP"] == pytest.approx(result["mask/AP"], abs=1e-6)
    assert numbers["numbers"]["boundary/AP"] > 0 and len(numbers["image_results"]) == 4


def test_without_masks_there_is_no_boundary_ap(tmp_path):
    report, result = evaluated(Scenes(2), with_masks=False)
    numbers = json.loads(report.save(tmp_path, result)[1].read_text())
    assert numbers["overlaps_of"] == "box" and not any(name.startswith("boundary") for name in numbers["numbers"])


def test_of_no_images(tmp_path):
    report, result = evaluated(Scenes(0))
    assert report.save(tmp_path, result)[0].read_text().endswith("</html>\n")


def test_parts_of_several_machines_are_one(tmp_path):
    dataset = Scenes()
    whole, result = evaluated(dataset)
    joined, parts = EvaluationReport(dataset), [EvaluationReport(dataset) for _ in range(2)]
    for image_id, pair in dataset.pairs.items():
        parts[image_id // 2].update(image_id, *pair)
    for part in parts:
        joined.merge(part.get_state())
    assert joined.compute() == {}
    read = [json.loads(r.save(tmp_path / str(i), result)[1].read_text()) for i, r in enumerate((whole, joined))]
    for numbers in read:
        for name in ("about", "machine", "seconds"):
            del numbers[name]
    assert read[0] == read[1]


def test_is_no_metric_that_has_a_name():
    assert "report" not in metrics()
