"""Rotated boxes of a sample's masks, whatever augmentation did to them."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data import transforms
from mrcnn.structures.rotated import mask_hull, minimum_area_boxes
from tests.rotated_model import inside

BARS = ((30, 40, 8, 50, 30), (60, 60, 10, 24, -70), (20, 70, 12, 12, 0))


def sample_of(boxes: tuple[tuple[float, ...], ...] = BARS, height: int = 80, width: int = 100) -> transforms.Sample:
    """An image of bars, each mask on the grid of the whole image."""
    masks = np.array([inside(box, height, width) for box in boxes])
    bounds = [(*np.argwhere(mask).min(0), *(np.argwhere(mask).max(0) + 1)) for mask in masks]
    return {
        "image": np.zeros((height, width, 3), np.uint8),
        "boxes": np.array(bounds, np.float32),
        "class_ids": np.ones(len(boxes), np.int32),
        "is_crowd": np.zeros(len(boxes), bool),
        "masks": [255 * mask.astype(np.uint8) for mask in masks],
        "windows": np.tile(np.float32([0, 0, height, width]), (len(boxes), 1)),
    }


def test_they_are_the_rectangles_around_the_masks() -> None:
    sample = sample_of()
    expected = minimum_area_boxes(np.array(sample["masks"]) > 0)
    np.testing.assert_allclose(transforms.rotated_boxes(sample), expected, atol=1e-3)
    np.testing.assert_allclose(expected[0], BARS[0], atol=1.5)  # a pixel counts with all its corners


@pytest.mark.parametrize("change", ["flip_horizontal", "flip_vertical", "resize"])
def test_they_follow_the_image(change: str) -> None:
    sample = sample_of()
    if change == "resize":
        changed = transforms.resize(sample, 160, 200)
        expected = transforms.rotated_boxes(sample) * np.float32([2, 2, 2, 2, 1])
    else:
        changed = getattr(transforms, change)(sample)
        masks = (
            np.array(sample["masks"])[:, :, ::-1] if change == "flip_horizontal" else np.array(sample["masks"])[:, ::-1]
        )
        expected = minimum_area_boxes(masks > 0)
    np.testing.assert_allclose(transforms.rotated_boxes(changed), expected, atol=1e-2)


def test_they_stretch_with_an_image_that_is_stretched() -> None:
    changed = transforms.resize(sample_of(((40, 50, 10, 40, 45),)), 80, 300)
    center_y, center_x, height, width, angle = transforms.rotated_boxes(changed)[0]
    # Stretched threefold in x the long axis (1, 1) becomes (1, 3).
    np.testing.assert_allclose([center_y, center_x], [40, 150], atol=1)
    assert abs(angle - np.degrees(np.arctan2(1, 3))) < 5 and width > 3 * height


def test_what_lies_beyond_the_image_does_not_count() -> None:
    sample = transforms.crop(sample_of(((30, 40, 8, 50, 30),)), 0, 40, 80, 60, min_visible=0.0)
    box = transforms.rotated_boxes(sample)[0]
    visible = inside((30, 0, 8, 50, 30), 80, 60)
    np.testing.assert_allclose(box, minimum_area_boxes(visible[None])[0], atol=1.5)


def test_a_mask_without_a_pixel_in_its_box_has_the_box() -> None:
    box = np.array([[2, 3, 6, 13], [2, 3, 12, 5]], np.float32)
    empty = np.zeros((4, 4), np.uint8)
    sample = {"boxes": box, "windows": box + np.float32([0, 0, 1, 1]), "masks": [empty, empty]}
    assert transforms.rotated_boxes(sample).tolist() == [[4, 8, 4, 10, 0], [7, 4, 2, 10, 90]]
    assert transforms.rotated_boxes({"boxes": box[:0], "windows": box[:0], "masks": []}).shape == (0, 5)
    assert mask_hull(empty > 0).shape == (0, 2)
