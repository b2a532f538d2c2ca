from __future__ import annotations

import pytest

from mrcnn.evaluation.error_analysis import ERRORS
from mrcnn.report import gallery as module
from mrcnn.report.gallery import Gallery
from mrcnn.report.numbers import report_numbers
from tests.report.scenes import Scenes, evaluated


@pytest.fixture(scope="module")
def scene():
    dataset = Scenes(6)
    report, result = evaluated(dataset)
    numbers = report_numbers(report._images, result, None, dataset.class_names, {})
    return report, numbers, dataset


def test_holds_every_object_and_detection_with_its_status(scene):
    report, numbers, dataset = scene
    gallery = Gallery.of(report._images, report._outlines, numbers, dataset)
    assert gallery.left_out == 0 and len(gallery.images) == 6
    qualities = [entry["quality"] for entry in gallery.images]
    assert qualities == sorted(qualities)
    for entry in gallery.images:
        pairs = report._images[entry["id"]]
        assert [d[2] for d in entry["dt"]] == pytest.approx(pairs.scores.tolist(), abs=1e-3)
        assert [g[0] for g in entry["gt"]] == pairs.gt_class_ids.tolist()
        assert {d[3] for d in entry["dt"]} <= {"correct", "ignored", *ERRORS}
        assert sum(d[3] == "correct" for d in entry["dt"]) == sum(g[2] >= 0 for g in entry["gt"])
        assert (entry["w"], entry["h"]) == (1000, 833)


def test_keeps_to_its_size_and_shows_worst_and_best(scene, monkeypatch):
    report, numbers, dataset = scene
    monkeypatch.setattr(module, "MAX_IMAGES", 3)
    gallery = Gallery.of(report._images, report._outlines, numbers, dataset)
    ranked = sorted(numbers["image_results"], key=lambda row: row["quality"])
    shown = [entry["id"] for entry in gallery.images]
    assert gallery.left_out == 3 and ranked[0]["image_id"] in shown and ranked[-1]["image_id"] in shown
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    assert len(Gallery.of(report._images, report._outlines, numbers, dataset).images) == 1
