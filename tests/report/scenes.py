"""A data set whose names are hostile, predictions of it, and the report that sees both."""

from __future__ import annotations

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.evaluation import CocoMetric
from mrcnn.report.evaluation_report import EvaluationReport
from mrcnn.structures.instances import Instances
from tests.evaluation.scene import random_pair

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "b & <b>bold</b>",
)
SHAPE = (100, 120)


class Scenes(Dataset):
    """Images of noise with ellipses; no files."""

    def __init__(self, number: int = 4, classes: tuple[str, ...] = HOSTILE, seed: int = 0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        for class_id, name in enumerate(classes, start=1):
            self.add_class("made", class_id, name)
        self.pairs: dict[int, tuple[Instances, Instances]] = {}
        for image_id in range(number):
            self.add_image("made", image_id, f"/nowhere/<i>{image_id}<i> '\"&.png", height=SHAPE[0], width=SHAPE[1])
            self.pairs[image_id] = random_pair(rng, SHAPE, len(classes), crowds=0.1)
        self.prepare()

    def load_image(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        ground_truth, _ = self.pairs[index]
        return ground_truth.masks.transpose(1, 2, 0), ground_truth.class_ids


def evaluated(dataset: Scenes, with_masks: bool = True, shift: int = 0):
    """The report and the result of the scene's own predictions, or of ones moved to the right by `shift` pixels."""
    report = EvaluationReport(dataset, about={"model": HOSTILE[0]}, machine={"GPUs": HOSTILE[1]})
    metric = CocoMetric(dataset.class_names, dataset.category_ids)
    for image_id, (ground_truth, prediction) in dataset.pairs.items():
        masks = np.roll(prediction.masks, shift, 2) if with_masks else None
        boxes = prediction.boxes + np.float32([0, shift, 0, shift])
        moved = Instances(boxes, prediction.class_ids, SHAPE, prediction.scores, masks)
        report.update(image_id, ground_truth, moved)
        metric.update(image_id, ground_truth, moved)
    return report, metric.result()
