"""Detections of rotated boxes in pixels of the original image; what takes axis-aligned ones only refuses them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from mrcnn.drawing import draw_array
from mrcnn.errors import InputError
from mrcnn.export import ExportError
from mrcnn.export.base import exporters
from mrcnn.inference import detect_augmented, detect_tiled, to_instances
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.ops.rotated_boxes import rotated_bounds
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.instances import Instances
from tests.rotated_model import inside, rotated_config

BOXES = np.float32([[30, 50, 10, 60, 30], [20, 20, 8, 30, 100]])


def detections(origin: tuple[int, int] = (0, 0)) -> dict[str, np.ndarray]:
    """Two bars whose masks fill their boxes, and a padded entry."""
    boxes = np.concatenate([BOXES + np.float32([*origin, 0, 0, 0]), np.zeros((1, 5), np.float32)])
    return {
        "boxes": rotated_bounds(boxes).numpy(),
        "rotated_boxes": boxes,
        "class_ids": np.array([1, 1, 0], np.int32),
        "scores": np.array([0.9, 0.8, 0], np.float32),
        "valid": np.array([True, True, False]),
        "masks": np.ones((3, 28, 28), np.float32) * np.array([1, 1, 0], np.float32)[:, None, None],
    }


@pytest.mark.parametrize("origin", [(0, 0), (7, 11)])
def test_boxes_and_masks_in_pixels_of_the_original(origin: tuple[int, int]) -> None:
    instances = to_instances(detections(origin), (64, 96), (128, 192), 0.5, origin=origin, config=InputConfig())
    assert len(instances) == 2 and instances.rotated_boxes is not None and instances.masks is not None
    np.testing.assert_allclose(instances.rotated_boxes[0], BOXES[0] * [2, 2, 2, 2, 1], atol=1e-3)
    np.testing.assert_allclose(instances.rotated_boxes[1], BOXES[1] * [2, 2, 2, 2, 1] - [0, 0, 0, 0, 180], atol=1e-3)
    for mask, box, bounds in zip(instances.masks, instances.rotated_boxes, instances.boxes, strict=True):
        assert (mask ^ inside(box, 128, 192)).mean() < 0.01
        rows, columns = np.nonzero(mask)
        assert rows.min() >= bounds[0] - 1 and columns.max() <= bounds[3] + 1
    assert instances[1:].rotated_boxes[0].tolist() == instances.rotated_boxes[1].tolist()


def test_masks_go_through_an_uneven_resize_as_they_are() -> None:
    """Stretched threefold in x, a rectangle is a parallelogram; so is its mask."""
    instances = to_instances(detections(), (64, 96), (64, 288), config=InputConfig())
    y, x = np.mgrid[:64, :288] + 0.5
    center_y, center_x, height, width, angle = BOXES[0].tolist()
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    down, right = (
        cosine * (y - center_y) + sine * (x / 3 - center_x),
        cosine * (x / 3 - center_x) - sine * (y - center_y),
    )
    stretched = (np.abs(down) <= height / 2) & (np.abs(right) <= width / 2)
    assert (instances.masks[0] ^ stretched).mean() < 0.01
    np.testing.assert_allclose(instances.rotated_boxes[0, :2], [30, 150], atol=1e-3)


def test_fields_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match=r"Instances.rotated_boxes: expected shape \(1, 5\), got \(2, 5\)"):
        Instances([[0, 0, 4, 4]], [1], (9, 9), rotated_boxes=BOXES)


def test_rotated_boxes_are_drawn_in_place_of_their_bounds() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    one = Instances(rotated_bounds(BOXES[:1]).numpy(), [1], (64, 96), rotated_boxes=BOXES[:1], scores=[0.9])
    drawn = draw_array(image, one, labels=False, long_side=96).any(axis=-1)
    box, border = BOXES[0], np.float32([0, 0, 4, 4, 0])
    edge = inside(box + border, 64, 96) & ~inside(box - border, 64, 96)
    assert drawn.any() and not (drawn & ~edge).any()
    assert (drawn & edge).sum() > 0.8 * 2 * (box[2] + box[3])
    one.rotated_boxes = np.full((1, 5), np.nan, np.float32)
    assert not draw_array(image, one, labels=False, long_side=96).any()


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    keras.utils.set_random_seed(0)
    return MaskRCNN(rotated_config(), ["bar", "other"])


@pytest.mark.parametrize("name", sorted(exporters()))
def test_exports_refuse_them(model: MaskRCNN, name: str, tmp_path: Any) -> None:
    exporter = exporters()[name]
    with pytest.raises(ExportError, match=r"model\.rpn is RotatedRPNConfig: exported models give boxes"):
        exporter.export(model, exporter.path_in(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("function", [detect_augmented, detect_tiled])
def test_what_joins_axis_aligned_boxes_refuses_them(model: MaskRCNN, function: Any) -> None:
    with pytest.raises(InputError, match=f"{function.__name__}: model.rpn is RotatedRPNConfig"):
        function(model, np.zeros((64, 64, 3), np.uint8))
