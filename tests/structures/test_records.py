from __future__ import annotations

import numpy as np

from mrcnn.structures.records import Annotation, ImageRecord


def test_records_do_not_share_their_extras():
    first, second = ImageRecord(1, "a.png", 2, 3), ImageRecord(2, None, None, None)
    first.extra["license"] = "MIT"
    assert second.extra == {}
    assert first.annotations == ()
    annotation = Annotation(1, (0.0, 0.0, 1.0, 1.0))
    assert (annotation.segmentation, annotation.is_crowd, annotation.area) == (None, False, None)


def test_annotations_are_equal_by_value():
    def record(x: float) -> ImageRecord:
        polygon = np.array([[0, 0], [x, 0], [x, 5]])
        crowd = Annotation(2, (0, 0, 1, 1), {"size": [2, 3], "counts": [1, 5]}, np.zeros((2, 3)), True)
        return ImageRecord("a", None, 10, 10, (Annotation(1, (0, 0, 5, x), [polygon]), crowd), "here", {"pass": [1]})

    assert record(4.0) == record(4.0)
    assert record(4.0) != record(4.5)
    assert record(4.0).annotations[1] == record(9.0).annotations[1]
