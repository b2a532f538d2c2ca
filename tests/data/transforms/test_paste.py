"""Objects pasted onto an image that is its own ground truth."""

from __future__ import annotations

import numpy as np

from mrcnn.data import transforms as T
from tests.data.transforms.painted import check_agrees_with_pixels, make_sample, other_sample, same


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


def test_pasted_objects_are_things_in_the_semantic_map() -> None:
    sample = make_sample() | {"semantic": np.full((40, 60), 3, np.uint8)}
    result = T.paste(sample, other_sample())
    changed = (result["image"] != sample["image"]).any(axis=2)
    assert changed.any() and not result["semantic"][changed].any()
    assert set(np.unique(result["semantic"])) == {0, 3} and (sample["semantic"] == 3).all()
