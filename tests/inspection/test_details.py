from __future__ import annotations

import json

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.inspection.details import GRID, details, log_bins
from mrcnn.inspection.objects import read_objects
from mrcnn.progress import Progress
from mrcnn.recipes import Recipe
from mrcnn.structures.records import Annotation

MARKS = {"side": [32.0, 64.0], "ratio": [1.0], "angle": [0.0]}


def facts_of(dataset: Dataset, fit: list[float]):
    table = read_objects(dataset, Recipe(), Progress("", shown=False))
    return details(dataset, table, np.array(fit, np.float32), dataset.class_names, MARKS)


def two_images() -> Dataset:
    """Boxes of 10 x 10 in images of 100 x 100: two that overlap by 5 of 15, one that touches neither; then one."""
    dataset = Dataset()
    for class_id, name in enumerate("ab", start=1):
        dataset.add_class("made", class_id, name)
    boxes = [(0, 0, 10, 10), (0, 5, 10, 15), (80, 80, 90, 90)]
    first = [Annotation(1 + (i == 2), box) for i, box in enumerate(boxes)]
    dataset.add_image("made", 7, "/x/a.png", height=100, width=100, annotations=first, split="train")
    second = [Annotation(1, (200, 200, 210, 210))]  # outside
    dataset.add_image("made", 8, None, height=100, width=100, annotations=second, split="val")
    return dataset


def test_counts_by_hand() -> None:
    facts = facts_of(two_images(), [1.0, 0.6, 0.2, 0.0])
    assert facts["splits"] == {"train": 1, "val": 1}
    assert facts["classes"]["a"]["splits"] == {"train": 2, "val": 1}
    assert facts["classes"]["a"] | {"splits": None} == {
        "objects": 3, "images": 2, "median_side": 80.0, "share_no_anchor_fits": 0.3333, "splits": None
    }  # fmt: skip
    assert facts["coverage"] == {"0.3": 0.5, "0.5": 0.5, "0.7": 0.25}
    assert facts["overlaps"] == {"apart": 2, "touching": 0, "crowded": 2}
    positions = np.array(facts["positions"])
    assert positions.sum() == 3 and positions[int(0.85 * GRID), int(0.85 * GRID)] == 1
    assert positions[1, 1] == 1 and positions[1, 2] == 1  # row 5 %, columns 5 % and 10 %
    assert facts["objects_per_image"] == {"edges": [0, 1, 2, 3, 4], "images": [0, 1, 0, 1]}
    assert [(row["file"], row["objects"]) for row in facts["fullest_images"]] == [("a.png", 3), ("8", 1)]
    for histogram in facts["histograms"].values():
        assert sum(histogram["fit"]) == 2 and sum(histogram["poor"]) == 2
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_of_nothing() -> None:
    facts = facts_of(Dataset(), [])
    assert facts["histograms"] == {} and facts["fullest_images"] == [] and facts["coverage"]["0.5"] is None
    assert np.array(facts["positions"]).shape == (GRID, GRID) and sum(facts["overlaps"].values()) == 0


def test_bins_hold_their_values() -> None:
    for values, marks in (([1.0], []), ([3.0, 900.0], [0.5]), ([4.0], [4.0])):
        edges = log_bins(np.array(values), marks)
        assert edges[0] <= min(values + list(marks)) and max(values + list(marks)) < edges[-1]
