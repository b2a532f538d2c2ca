from __future__ import annotations

import json

from mrcnn.evaluation import CocoMetric, EvaluationResult
from tests.evaluation.scene import instances


def evaluated(names=("a", "b")) -> EvaluationResult:
    metric = CocoMetric(names)
    ground_truth = instances([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2])
    metric.update(1, ground_truth, instances([[0, 0, 40, 40]], [1], [0.9]))
    return metric.result()


def test_numbers_of_further_metrics_are_shown_and_saved(tmp_path) -> None:
    result = evaluated()
    result.numbers |= {"f1/mask": 0.75, "f1/a rather long key": 0.5, "f1/undefined": float("nan"), "plain": 3.0}
    lines = str(result).splitlines()
    header = next(i for i, line in enumerate(lines) if "a rather long key" in line)
    assert lines[header].split() == ["mask", "a", "rather", "long", "key", "undefined"]
    assert lines[header + 1].split() == ["f1", "0.750", "0.500", "n/a"]
    assert lines[header].index("mask") + 4 == lines[header + 1].index("0.750") + 5
    assert any(line.split() == ["plain", "3.000"] for line in lines)
    assert next(line for line in lines if line.startswith("class")).split() == [
        "class", "objects", "detected", "box/AP", "box/AP50",
    ]  # fmt: skip
    saved = json.loads(result.save(tmp_path)[0].read_text())
    assert saved["numbers"]["f1/mask"] == 0.75 and saved["numbers"]["f1/undefined"] is None


def test_names_of_classes_cannot_drive_a_terminal_or_fill_it() -> None:
    text = str(evaluated(["\x1b[2Jcat\ndog", "x" * 5000]))
    assert "\x1b" not in text and r"\x1b[2Jcat\ndog" in text
    assert max(map(len, text.splitlines())) < 130
