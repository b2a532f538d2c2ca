from __future__ import annotations

import json

import numpy as np
import pytest

from mrcnn.evaluation import to_coco_results
from mrcnn.structures.instances import Instances
from tests.evaluation.scene import instances


def test_results_format():
    detections = instances([[1, 2, 4, 8]], [2], [0.25], np.ones((1, 100, 120), bool))
    (result,) = to_coco_results("x", detections, [3, 44])
    assert result["bbox"] == [2, 1, 6, 3]
    assert result["category_id"] == 44
    assert result["score"] == 0.25
    assert result["segmentation"]["size"] == [100, 120]
    assert isinstance(result["segmentation"]["counts"], str)
    assert to_coco_results(1, Instances.empty((4, 4))) == []
    json.dumps(result)


def test_detections_without_scores_or_of_no_class_are_refused():
    with pytest.raises(ValueError, match="image 7: detections need scores"):
        to_coco_results(7, instances([[0, 0, 1, 1]]))
    with pytest.raises(ValueError, match=r"image 7: class id 3 is not among 1\.\.2"):
        to_coco_results(7, instances([[0, 0, 1, 1]], [3], [0.5]), [4, 5])
