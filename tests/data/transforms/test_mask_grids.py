"""Masks on the pixels of their image and in their boxes."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data import transforms as T
from tests.data.transforms.painted import make_sample, painted


def test_thin_objects_survive_a_strong_reduction() -> None:
    bits = np.zeros((400, 400), np.uint8)
    bits[:, 100:115] = 255  # narrower than two of 28 cells
    bits[0], bits[-1] = 255, 255
    window = np.array([[0, 0, 400, 400]], np.float32)
    crop = T.crop_masks_to_boxes({"boxes": window, "windows": window, "masks": [bits]}, 28)[0]
    assert crop[5:-5].any(axis=1).all()
    assert crop[5:-5].mean() == pytest.approx(15 / 400, rel=0.5)


def test_a_mask_is_empty_beyond_its_window_and_full_up_to_its_edge() -> None:
    boxes = np.array([[0, 0, 8, 8], [0, 0, 4, 4]], np.float32)
    windows = np.array([[2, 0, 6, 8], [0, 0, 4, 4]], np.float32)
    masks = [np.full((4, 8), 255, np.uint8), np.full((1, 1), 255, np.uint8)]
    crops = T.crop_masks_to_boxes({"boxes": boxes, "windows": windows, "masks": masks}, 8)
    expected = np.zeros((8, 8))
    expected[2:6] = 1
    np.testing.assert_array_equal(crops[0], expected)
    assert crops[1].all()


def test_full_frame_masks_are_the_painted_pixels():
    for sample in (make_sample(), T.flip_horizontal(make_sample()), T.rotate90(make_sample(), 1)):
        masks = T.full_frame_masks(sample)
        assert masks.dtype == np.uint8
        for mask, class_id in zip(masks, sample["class_ids"], strict=True):
            np.testing.assert_array_equal(mask, painted(sample, class_id))


def test_full_frame_masks_after_resizing_cover_the_same_part():
    sample = T.resize(make_sample(), 104, 96)  # no edge runs through the center of a pixel
    masks = T.full_frame_masks(sample)
    assert masks.shape == (3, 104, 96)
    for before, after in zip(T.full_frame_masks(make_sample()), masks, strict=True):
        assert abs(after.mean() - before.mean()) < 0.05 * before.mean() + 1e-3


def test_full_frame_masks_of_no_objects():
    sample = make_sample()
    empty = {name: value if name == "image" else value[:0] for name, value in sample.items()}
    assert T.full_frame_masks(empty).shape == (0, 40, 60)
