"""Resizing, mirrors, turns and crops of an image that is its own ground truth."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data import transforms as T
from tests.data.transforms.painted import LEVELS, check_agrees_with_pixels, make_sample, other_sample, same


@pytest.mark.parametrize("turns", range(-1, 5))
def test_rotate90(turns: int) -> None:
    sample = T.rotate90(make_sample(), turns)
    np.testing.assert_array_equal(sample["image"], np.rot90(make_sample()["image"], turns))
    check_agrees_with_pixels(sample)


def test_flips() -> None:
    check_agrees_with_pixels(T.flip_horizontal(make_sample()))
    check_agrees_with_pixels(T.flip_vertical(make_sample()))


def test_symmetries() -> None:
    sample = make_sample()
    same(T.flip_horizontal(T.flip_horizontal(sample)), sample)
    same(T.flip_vertical(T.flip_vertical(sample)), sample)
    same(T.rotate90(T.rotate90(sample, 1), 3), sample)
    same(T.rotate90(sample, 2), T.flip_vertical(T.flip_horizontal(sample)))


def test_nothing_is_changed_in_place() -> None:
    sample, twin = make_sample(), make_sample()
    T.flip_horizontal(sample, (1, 0))
    T.rotate90(sample, 1)
    T.crop(sample, 5, 5, 20, 20)
    T.resize(sample, 20, 20)
    T.adjust_color(sample, 1.5, 0.5, 0.5, 0.1)
    T.paste(sample, other_sample())
    same(sample, twin)


def test_crop_draws_boxes_around_what_is_left() -> None:
    for y, x, h, w in ((0, 0, 40, 60), (10, 7, 25, 35), (17, 0, 23, 60), (0, 30, 26, 30)):
        sample = T.crop(make_sample(), y, x, h, w)
        present = [k + 1 for k, level in enumerate(LEVELS) if (sample["image"] == level).any()]
        assert sample["class_ids"].tolist() == present
        check_agrees_with_pixels(sample)


def test_crop_drops_what_is_hardly_visible() -> None:
    sample = make_sample()
    column = 38  # cuts the disc in half
    assert 2 in T.crop(sample, 0, column, 40, 22, min_visible=0.4)["class_ids"]
    assert 2 not in T.crop(sample, 0, column, 40, 22, min_visible=0.6)["class_ids"]
    # The box of the L reaches into this window, its pixels do not.
    assert 1 not in T.crop(sample, 4, 10, 10, 10)["class_ids"]
    nothing = T.crop(sample, 0, 58, 2, 2)
    assert nothing["boxes"].shape == (0, 4)
    assert T.crop_masks_to_boxes(nothing, 8).shape == (0, 8, 8)


@pytest.mark.parametrize("factor", [2, 3])
def test_resize_by_whole_factors(factor: int) -> None:
    sample = T.resize(make_sample(), 40 * factor, 60 * factor)
    np.testing.assert_array_equal(sample["boxes"], make_sample()["boxes"] * factor)
    np.testing.assert_array_equal(T.crop_masks_to_boxes(sample, 32), T.crop_masks_to_boxes(make_sample(), 32))
    np.testing.assert_array_equal(sample["keypoints"][..., :2], make_sample()["keypoints"][..., :2] * factor)


@pytest.mark.parametrize("interpolation, dtype", [("antialias_u8", np.uint8), ("linear", np.float32)])
def test_resize_by_other_rules(interpolation: str, dtype: type) -> None:
    sample = T.resize(make_sample(), 30, 90, interpolation)
    assert sample["image"].dtype == dtype
    assert sample["image"].shape == (30, 90, 3)
    np.testing.assert_allclose(sample["boxes"], make_sample()["boxes"] * np.float32([0.75, 1.5, 0.75, 1.5]))
    assert T.resize(make_sample(), 40, 60, interpolation)["image"].dtype == dtype


def test_any_chain_keeps_masks_on_their_pixels(rng: np.random.Generator) -> None:
    for _ in range(30):
        sample = make_sample()
        for _ in range(4):
            h, w = sample["image"].shape[:2]
            step = rng.integers(4)
            if step == 0:
                sample = T.flip_horizontal(sample)
            elif step == 1:
                sample = T.flip_vertical(sample)
            elif step == 2:
                sample = T.rotate90(sample, int(rng.integers(4)))
            else:
                y, x = int(rng.integers(h // 3)), int(rng.integers(w // 3))
                sample = T.crop(sample, y, x, h - y - int(rng.integers(h // 4)), w - x - int(rng.integers(w // 4)))
        check_agrees_with_pixels(sample)


def test_mirrored_joints_swap_sides() -> None:
    names = ("nose", "left_eye", "right_eye", "left_only")
    order = T.mirrored_joints(names)
    assert order == (0, 2, 1, 3)
    sample = make_sample()
    flipped = T.flip_horizontal(sample, (1, 0))
    np.testing.assert_array_equal(flipped["keypoints"][:, 1, 0], 60 - sample["keypoints"][:, 0, 0])
    np.testing.assert_array_equal(flipped["keypoints"][:, 0], 0)


def test_joints_outside_a_crop_become_unlabeled() -> None:
    sample = T.crop(make_sample(), 10, 0, 30, 60)
    assert sample["keypoints"][0, 0].tolist() == [0, 0, 0]  # the first pixel of the L is cut off
    assert sample["keypoints"][1, 0, 2] == 2


def with_map(sample: T.Sample) -> T.Sample:
    """The first channel of the image as its semantic map."""
    return sample | {"semantic": np.ascontiguousarray(sample["image"][..., 0])}


def test_the_semantic_map_moves_with_the_image() -> None:
    sample = with_map(make_sample())
    for moved in (
        T.flip_horizontal(sample),
        T.flip_vertical(sample),
        T.rotate90(sample, 1),
        T.rotate90(sample, 3),
        T.crop(sample, 5, 9, 20, 30),
        T.crop(sample, 0, 58, 2, 2),
    ):
        np.testing.assert_array_equal(moved["semantic"], moved["image"][..., 0])
    third = T.resize(T.crop(sample, 0, 0, 39, 60), 13, 20)["semantic"]  # the middle of three
    np.testing.assert_array_equal(third, sample["semantic"][1:39:3, 1::3])
    twice = T.resize(sample, 80, 120)["semantic"]
    np.testing.assert_array_equal(twice, sample["semantic"].repeat(2, 0).repeat(2, 1))
