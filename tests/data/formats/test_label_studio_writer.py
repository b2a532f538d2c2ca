from __future__ import annotations

import numpy as np

from mrcnn.data.formats.label_studio_writer import label_studio_image, label_studio_region
from mrcnn.data.rle import mask_to_rle
from mrcnn.structures.records import Annotation


def test_percentages_by_hand() -> None:
    box = label_studio_region("fig", Annotation(1, (10, 10, 20, 50)), 40, 200, "r1")
    assert box is not None and box["type"] == "rectanglelabels" and box["original_width"] == 200
    assert box["value"] == {"x": 5, "y": 25, "width": 20, "height": 25, "rotation": 0, "rectanglelabels": ["fig"]}
    triangle = Annotation(1, (0, 0, 20, 100), [np.array([[0, 0], [100, 0], [0, 20]])])
    region = label_studio_region("fig", triangle, 40, 200, "r2")
    assert region is not None and region["from_name"] == "polygon"
    assert region["value"]["points"] == [[0, 0], [50, 0], [0, 50]]
    nothing = Annotation(1, (0, 0, 1, 1), mask_to_rle(np.zeros((40, 200), bool)))
    assert label_studio_region("fig", nothing, 40, 200, "r3") is None
    assert label_studio_image("a.png") == "/data/local-files/?d=a.png"
