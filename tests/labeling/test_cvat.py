from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from mrcnn.errors import DependencyError
from mrcnn.inference import detect
from mrcnn.labeling.cvat import CvatFunction
from tests.blob_finder import BlobFinder, image

PIXELS = image(64, 128, (0, 16, 32, 48, 96), (1, 0, 0, 8, 8))


def test_without_the_sdk(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    with pytest.raises(DependencyError, match=r"pip install 'mrcnn-keras\[cvat\]'"):
        CvatFunction(BlobFinder())


@pytest.fixture
def sdk():
    return pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk is not installed (extra cvat)")


def context(sdk, **choices):
    """A context as CVAT's driver makes it, of the SDK's own abstract class."""
    abstract = sdk.DetectionFunctionContext
    values = dict.fromkeys(abstract.__abstractmethods__) | {"frame_name": "a.png"} | choices
    return type("Context", (abstract,), {name: property(lambda _, v=v: v) for name, v in values.items()})()


def test_labels_are_the_classes(sdk) -> None:
    spec = CvatFunction(BlobFinder()).spec
    assert isinstance(spec, sdk.DetectionFunctionSpec)
    assert [(label.name, label.id) for label in spec.labels] == [("red", 1), ("green", 2), ("blue", 3)]


def test_masks_are_those_of_detect(sdk) -> None:
    from cvat_sdk.masks import encode_mask
    from cvat_sdk.models import LabeledShapeRequest

    shapes = CvatFunction(BlobFinder()).detect(context(sdk, conv_mask_to_poly=False), Image.fromarray(PIXELS))
    (expected,) = detect(BlobFinder(), PIXELS)
    assert [shape.label_id for shape in shapes] == expected.class_ids.tolist() == [1, 2]
    for shape, mask in zip(shapes, expected.masks, strict=True):
        assert isinstance(shape, LabeledShapeRequest) and shape.type.value == "mask" and shape.frame == 0
        x1, y1, x2, y2 = (int(side) for side in shape.points[-4:])
        counts = [int(count) for count in shape.points[:-4]]
        bits = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(y2 - y1 + 1, x2 - x1 + 1)
        assert (bits == mask[y1 : y2 + 1, x1 : x2 + 1]).all() and bits.sum() == mask.sum()
        assert list(shape.points) == list(encode_mask(mask, [x1, y1, x2 + 1, y2 + 1]))


def test_polygons_and_the_threshold_of_cvat(sdk) -> None:
    function = CvatFunction(BlobFinder())
    (shape,) = function.detect(context(sdk, conv_mask_to_poly=True, conf_threshold=0.8), Image.fromarray(PIXELS))
    assert shape.type.value == "polygon" and shape.label_id == 1
    (expected,) = detect(BlobFinder(), PIXELS, score_threshold=0.8)
    points = np.array(shape.points).reshape(-1, 2)
    y1, x1, _, _ = expected.boxes[0]
    assert points.min(0) == pytest.approx([x1, y1], abs=1) and len(points) == 4


def test_a_model_without_masks_gives_boxes(sdk, monkeypatch) -> None:
    model = BlobFinder()
    model.config.outputs = ()
    (shape, _) = CvatFunction(model).detect(context(sdk), Image.fromarray(PIXELS))
    assert shape.type.value == "rectangle" and len(shape.points) == 4
