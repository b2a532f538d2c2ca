"""Every transform is applied to an image that is its own ground truth: object k is painted in gray level 50 (k + 1).

So boxes and masks can be read off the transformed image, without repeating any formula.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mrcnn.data import transforms as T
from mrcnn.data.rasterize import mask_to_rle, mask_window
from mrcnn.structures.records import Annotation

LEVELS = (50, 100, 150, 75, 125, 175)  # of classes 1 to 6; a sample made here has the first three


def make_sample(height: int = 40, width: int = 60) -> T.Sample:
    """Three objects (an L, a disc, a bar at the edge), each with a joint on its first pixel's center."""
    image = np.zeros((height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    ell = ((y >= 4) & (y < 20) & (x >= 5) & (x < 9)) | ((y >= 16) & (y < 20) & (x >= 5) & (x < 17))
    disc = (y - 24.5) ** 2 + (x - 38.5) ** 2 < 81
    bar = (y >= height - 3) & (x < 25)
    masks, boxes, points = [], [], []
    for mask, level in zip((ell, disc, bar), LEVELS[:3], strict=True):
        image[mask] = level
        window = mask_window(Annotation(1, (0, 0, 1, 1), mask_to_rle(mask)), height, width)
        masks.append(window.bits * np.uint8(255))
        boxes.append(window.window)
        row, column = np.argwhere(mask)[0]
        points.append([[column + 0.5, row + 0.5, 2.0], [0.0, 0.0, 0.0]])
    boxes = np.array(boxes, np.float32)
    return {
        "image": image,
        "boxes": boxes,
        "windows": boxes.copy(),
        "masks": masks,
        "class_ids": np.array([1, 2, 3], np.int32),
        "is_crowd": np.array([False, False, True]),
        "keypoints": np.array(points, np.float32),
    }


def painted(sample: T.Sample, class_id: int) -> np.ndarray:
    return sample["image"][..., 0] == LEVELS[class_id - 1]


def tight_box(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def check_agrees_with_pixels(sample: T.Sample) -> None:
    """Exact for transforms that move pixels without mixing them."""
    n = len(sample["boxes"])
    assert len(sample["masks"]) == len(sample["windows"]) == len(sample["class_ids"]) == len(sample["keypoints"]) == n
    side = 64
    crops = T.crop_masks_to_boxes(sample, side)
    for i, class_id in enumerate(sample["class_ids"]):
        mask = painted(sample, class_id)
        box = tight_box(mask)
        np.testing.assert_array_equal(sample["boxes"][i], box)
        # What the crop says at the center of each pixel inside the box is that pixel's ground truth.
        y1, x1, y2, x2 = box
        rows = ((np.arange(y2 - y1) + 0.5) / (y2 - y1) * side).astype(int)
        columns = ((np.arange(x2 - x1) + 0.5) / (x2 - x1) * side).astype(int)
        np.testing.assert_array_equal(crops[i][np.ix_(rows, columns)], mask[y1:y2, x1:x2])
        x, y, seen = sample["keypoints"][i, 0]
        if seen:
            assert sample["image"][int(y), int(x), 0] == LEVELS[class_id - 1]
        np.testing.assert_array_equal(sample["keypoints"][i, 1], 0)


def same(one: T.Sample, two: T.Sample) -> None:
    for name in ("image", "boxes", "windows", "class_ids", "is_crowd", "keypoints"):
        np.testing.assert_allclose(one[name], two[name], atol=1e-4, err_msg=name)
    for a, b in zip(one["masks"], two["masks"], strict=True):
        np.testing.assert_array_equal(a, b)


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


def test_thin_objects_survive_a_strong_reduction() -> None:
    bits = np.zeros((400, 400), np.uint8)
    bits[:, 100:115] = 255  # narrower than two of 28 cells
    bits[0], bits[-1] = 255, 255
    window = np.array([[0, 0, 400, 400]], np.float32)
    crop = T.crop_masks_to_boxes({"boxes": window, "windows": window, "masks": [bits]}, 28)[0]
    assert crop[5:-5].any(axis=1).all()
    assert crop[5:-5].mean() == pytest.approx(15 / 400, rel=0.5)


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


def color(image: np.ndarray, *amounts: float) -> Any:
    return T.adjust_color({"image": image}, *amounts)["image"]


def test_color() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(color(image, 1, 1, 1, 0), image)
    np.testing.assert_array_equal(color(np.full((4, 4, 3), 100, np.uint8), 1.5, 1), np.full((4, 4, 3), 150))
    gray = color(image, 1, 1, 0, 0)
    np.testing.assert_allclose(gray[..., 0], image @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
    np.testing.assert_array_equal(color(image, 1, 0), np.full_like(image, color(image, 1, 0)[0, 0, 0]))
    # A third of a turn around the gray axis exchanges the channels.
    assert {tuple(color(np.full((1, 1, 3), (200, 20, 20), np.uint8), 1, 1, 1, h)[0, 0]) for h in (1 / 3, -1 / 3)} == {
        (20, 200, 20),
        (20, 20, 200),
    }
    np.testing.assert_allclose(color(np.full((1, 1, 3), 80, np.uint8), 1, 1, 1.7, 0.3), 80, atol=1)


def test_color_of_float_images_is_that_of_bytes_before_rounding() -> None:
    image = np.random.default_rng(0).integers(60, 180, (8, 8, 3), dtype=np.uint8)
    for amounts in ((1.3, 1.0), (1.0, 0.7), (0.8, 1.2, 0.5, 0.1)):
        floating = color(image.astype(np.float32), *amounts)
        assert floating.dtype == np.float32
        np.testing.assert_allclose(floating, color(image, *amounts), atol=1.6)
    assert color(np.full((4, 4, 3), 200.0, np.float32), 2.0, 1.0).max() == 255


@pytest.mark.parametrize("interpolation, dtype", [("antialias_u8", np.uint8), ("linear", np.float32)])
def test_resize_by_other_rules(interpolation: str, dtype: type) -> None:
    sample = T.resize(make_sample(), 30, 90, interpolation)
    assert sample["image"].dtype == dtype
    assert sample["image"].shape == (30, 90, 3)
    np.testing.assert_allclose(sample["boxes"], make_sample()["boxes"] * np.float32([0.75, 1.5, 0.75, 1.5]))
    assert T.resize(make_sample(), 40, 60, interpolation)["image"].dtype == dtype


def test_draws_are_within_their_amounts() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([T.draw_color(rng, 0.25, 0.0, 0.5, 0.1) for _ in range(300)])
    assert 0.8 <= draws[:, 0].min() < 0.85 < 1.2 < draws[:, 0].max() <= 1.25
    assert (draws[:, 1] == 1).all()
    assert np.abs(draws[:, 3]).max() <= 0.1


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


def other_sample() -> T.Sample:
    """The same three objects upside down in another image, as classes 4 to 6."""
    sample = T.flip_vertical(make_sample())
    image = sample["image"] + np.where(sample["image"] > 0, 25, 0).astype(np.uint8)
    return sample | {"image": image, "class_ids": sample["class_ids"] + 3, "is_crowd": np.zeros(3, bool)}


def test_pasted_objects_lie_on_top_and_cut_what_they_hide() -> None:
    below, above = make_sample(), other_sample()
    pasted = T.paste(below, above)
    expected = np.where(above["image"] > 0, above["image"], below["image"])
    np.testing.assert_array_equal(pasted["image"], expected)
    assert pasted["class_ids"].tolist() == [1, 2, 3, 4, 5, 6]
    assert pasted["is_crowd"].tolist() == [False, False, True, False, False, False]
    boxes = pasted["boxes"].copy()
    assert (boxes[:3] != below["boxes"]).any()  # something was hidden
    # A joint is where it was, also where its object is hidden there, and says so.
    points = pasted["keypoints"]
    np.testing.assert_array_equal(points[:3, :, :2], below["keypoints"][:, :, :2])
    for k in range(3):
        x, y, _ = below["keypoints"][k, 0]
        hidden = above["image"][int(y), int(x), 0] > 0
        assert points[k, 0, 2] == (1 if hidden else 2)
    np.testing.assert_array_equal(points[3:], above["keypoints"])
    visible = dict(pasted)
    visible["keypoints"] = np.where(points[..., 2:] == 2, points, 0)
    check_agrees_with_pixels(visible)


def test_what_is_hidden_or_hardly_visible_is_dropped() -> None:
    below = make_sample()
    whole = T.select(below, np.arange(2))
    covering = {**whole, "image": np.full_like(below["image"], 9)}
    assert T.paste(below, covering)["class_ids"].tolist() == [3, 1, 2]
    shifted = T.crop(covering, 0, 1, 40, 59)  # all move one pixel to the left: slivers remain
    assert T.paste(below, shifted)["class_ids"].tolist() == [1, 2, 3, 1, 2]
    assert T.paste(below, shifted, min_visible=0.5)["class_ids"].tolist() == [3, 1, 2]


def test_pasting_from_a_larger_image_cuts_and_from_nothing_changes_nothing() -> None:
    small = T.crop(make_sample(), 0, 0, 23, 30)
    pasted = T.paste(small, other_sample())
    assert pasted["image"].shape == (23, 30, 3)
    check_agrees_with_pixels(pasted | {"keypoints": np.zeros_like(pasted["keypoints"])})
    same(T.paste(make_sample(), T.select(other_sample(), np.arange(0))), make_sample())


def test_a_subset_has_any_size_from_one() -> None:
    rng = np.random.default_rng(0)
    drawn = [T.draw_subset(rng, np.array([2, 5, 7])).tolist() for _ in range(200)]
    assert {tuple(d) for d in drawn} == {(2,), (5,), (7,), (2, 5), (2, 7), (5, 7), (2, 5, 7)}
    assert T.draw_subset(rng, np.zeros(0, np.int64)).shape == (0,)
