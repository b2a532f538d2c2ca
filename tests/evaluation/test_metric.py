from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from mrcnn import components
from mrcnn.evaluation import CocoMetric, Metric, as_instances, find_metric
from mrcnn.evaluation.metric import metrics
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation, ImageRecord
from tests.evaluation.scene import instances


@pytest.fixture
def counter():
    """A metric of another module, which is forgotten again."""
    module = types.ModuleType("somebodys_metrics")
    source = """
from mrcnn.evaluation import Metric


class Counter(Metric):
    name = "counter"

    def __init__(self):
        self.seen = 0

    def reset(self):
        self.seen = 0

    def update(self, image_id, ground_truth, prediction):
        self.seen += len(prediction)

    def compute(self):
        return {"detections": float(self.seen)}
"""
    sys.modules[module.__name__] = module
    exec(source, vars(module))
    yield module.Counter
    del sys.modules[module.__name__]
    module.Counter.abstract = True  # no component any more, however long the class lives


def test_a_metric_of_another_module_is_found_by_its_name(counter) -> None:
    assert find_metric("coco") is CocoMetric
    assert find_metric("counter") is counter
    assert find_metric("somebodys_metrics:Counter") is counter
    assert metrics()["counter"] is counter
    metric = find_metric("counter")()
    metric.update(1, Instances.empty((4, 4)), instances([[0, 0, 1, 1]], scores=[0.5]))
    assert metric.compute() == {"detections": 1.0}


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(components.ComponentError, match="CocoMetric"):
        find_metric("cocoo")
    with pytest.raises(components.ComponentError, match="not imported"):
        find_metric("not_there:F1")


def test_a_metric_lacks_nothing() -> None:
    class Half(Metric):
        abstract = True

        def reset(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Half()
    assert "Half" not in metrics()


def test_a_record_as_instances() -> None:
    square = [np.array([[2, 3], [6, 3], [6, 8], [2, 8]])]
    joints = np.ones((2, 3), np.float32)
    annotations = (Annotation(2, (3, 2, 8, 6), square, keypoints=joints), Annotation(1, (0, 0, 2, 3), is_crowd=True))
    record = ImageRecord(7, None, 10, 12, annotations)
    made = as_instances(record)
    assert made.image_shape == (10, 12) and made.scores is None
    assert made.class_ids.tolist() == [2, 1] and made.is_crowd.tolist() == [False, True]
    assert made.masks.sum(axis=(1, 2)).tolist() == [20, 6]
    assert made.keypoints.shape == (2, 2, 3)
    assert as_instances(made) is made
    unsized = ImageRecord(7, None, None, None, annotations)
    assert as_instances(unsized, (10, 12)) == made
    with pytest.raises(ValueError, match="image 7: its record states no size"):
        as_instances(unsized)
    assert len(as_instances(ImageRecord(7, None, 10, 12))) == 0
