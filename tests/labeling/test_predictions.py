from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.formats.brush import decode_brush
from mrcnn.labeling.label_config import read_label_config
from mrcnn.labeling.predictions import task_prediction
from mrcnn.structures.instances import Instances


def config_of(*tags: str):
    joints = '<KeyPointLabels name="k" toName="i"><Label value="nose"/><Label value="tail"/></KeyPointLabels>'
    labels = {tag: f'<{tag} name="{tag}" toName="i"><Label value="leaf"/></{tag}>' for tag in tags}
    image = '<Image name="i" value="$image"/>'
    return read_label_config(f"<View>{image}{''.join(labels.values())}{joints}</View>", ["leaf", "stem"])


@pytest.fixture
def plants() -> Instances:
    masks = np.zeros((3, 10, 20), bool)
    masks[0, 2:6, 4:12] = True
    masks[1, 1:9, 1:19] = True
    masks[1, 4:5, 8:9] = False  # a hole
    masks[2, 0:3, 0:3] = True
    boxes = [[2, 4, 6, 12], [1, 1, 9, 19], [0, 0, 3, 3]]
    joints = np.zeros((3, 2, 3))
    joints[0, 1] = 10, 5, 0.9
    return Instances(boxes, [1, 1, 2], (10, 20), [0.9, 0.8, 0.7], masks, joints)


def test_polygons_and_brushes(plants: Instances) -> None:
    prediction = task_prediction(plants, ["leaf", "stem"], config_of("PolygonLabels", "BrushLabels"), "v1")
    outline, joint, brush = prediction["result"]
    assert prediction["model_version"] == "v1" and prediction["score"] == pytest.approx(0.85)
    assert outline["from_name"] == "PolygonLabels" and outline["to_name"] == "i" and outline["score"] == 0.9
    assert sorted(outline["value"]["points"]) == [[20, 20], [20, 60], [60, 20], [60, 60]]
    assert outline["value"]["polygonlabels"] == ["leaf"]
    assert joint["value"] == {"x": 50, "y": 50, "width": 0.5, "keypointlabels": ["tail"]}
    assert joint["parentID"] == outline["id"] and joint["from_name"] == "k"
    assert brush["type"] == "brushlabels" and brush["value"]["brushlabels"] == ["leaf"]
    pixels = decode_brush(bytes(brush["value"]["rle"]), 4 * 200).reshape(10, 20, 4)
    assert (pixels[..., 3] > 0).tolist() == plants.masks[1].tolist()


@pytest.mark.parametrize(
    "tag, kind", [("PolygonLabels", "polygon"), ("BrushLabels", "brush"), ("RectangleLabels", "rectangle")]
)
def test_one_tag_takes_every_shape(plants: Instances, tag: str, kind: str) -> None:
    result = task_prediction(plants, ["leaf", "stem"], config_of(tag), "v1")["result"]
    assert [entry["type"] for entry in result] == [f"{kind}labels", "keypointlabels", f"{kind}labels"]
    boxes = Instances(plants.boxes, plants.class_ids, plants.image_shape)
    result = task_prediction(boxes, ["leaf", "stem"], config_of(tag), "v1")
    assert [entry["type"] for entry in result["result"]] == [f"{kind}labels"] * 2 and "score" not in result


def test_fewer_points(plants: Instances) -> None:
    y, x = np.mgrid[:100, :100]
    disc = ((y - 50) ** 2 + (x - 50) ** 2 <= 40**2)[None]
    one = Instances([[10, 10, 91, 91]], [1], (100, 100), [0.9], disc)
    fine, coarse = (
        task_prediction(one, ["leaf"], config_of("PolygonLabels"), "v", tolerance)["result"][0]["value"]["points"]
        for tolerance in (0, 1.0)
    )
    assert len(fine) > 100 and len(coarse) < 40


def test_nothing_detected() -> None:
    nothing = Instances.empty((8, 8))
    assert task_prediction(nothing, ["leaf"], config_of("BrushLabels"), "v") == {"model_version": "v", "result": []}
