"""Filtering, picking and correcting, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.app.view import (
    Edits,
    View,
    class_counts,
    corrected,
    edited,
    filtered,
    numbers_of,
    pick,
    result,
    visible,
)
from mrcnn.structures.instances import Instances


def view_of(with_masks: bool = True) -> View:
    """Four instances of two classes; the second lies inside the first, the last is scored low."""
    boxes = [[0, 0, 8, 8], [2, 2, 5, 5], [0, 10, 4, 14], [6, 10, 8, 16]]
    masks = np.zeros((4, 10, 20), bool)
    for mask, (y1, x1, y2, x2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    masks[2, :, 12:] = False  # half of its box
    instances = Instances(boxes, [1, 2, 1, 2], (10, 20), [0.9, 0.8, 0.6, 0.2], masks if with_masks else None)
    return View("a.png", np.zeros((10, 20, 3), np.uint8), instances)


@pytest.mark.parametrize(
    "threshold, hidden, expected",
    [(0.5, (), [0, 1, 2]), (0.0, (), [0, 1, 2, 3]), (0.8, (), [0, 1]), (0.95, (), []), (0.1, (1,), [1, 3])],
)
def test_threshold_and_classes_choose(threshold, hidden, expected):
    view = filtered(view_of(), threshold, frozenset(hidden))
    assert visible(view).tolist() == expected
    assert result(view).class_ids.tolist() == [(1, 2, 1, 2)[n] for n in expected]


def test_accepted_instances_stay_and_deleted_ones_go_whatever_the_threshold():
    view = filtered(view_of(), 0.85, frozenset({2}))
    assert visible(edited(view, Edits().with_accepted(3))).tolist() == [0, 3]
    assert visible(edited(view, Edits().with_accepted(3).with_deleted(3).with_deleted(0))).tolist() == []
    assert visible(edited(view, Edits().with_deleted(0).with_accepted(0))).tolist() == [0]


def test_a_class_given_counts_for_the_filter_and_for_what_is_saved_but_not_in_what_the_model_gave():
    view = edited(view_of(), Edits().with_class(1, 1))
    assert corrected(view).class_ids.tolist() == [1, 1, 1, 2] and view.instances.class_ids.tolist() == [1, 2, 1, 2]
    assert class_counts(view) == {1: 3} and class_counts(filtered(view, 0.1, frozenset({1}))) == {1: 3, 2: 1}
    assert numbers_of(view, 1).state == "corrected" and numbers_of(view, 0).state == "as found"
    undone = edited(view, view.edits.without(1))
    assert corrected(undone).class_ids.tolist() == [1, 2, 1, 2] and len(undone.edits) == 0 and len(view.edits) == 1


def test_the_masks_are_those_of_the_model_not_copies_of_them():
    view = view_of()
    assert np.shares_memory(corrected(view).masks, view.instances.masks)


@pytest.mark.parametrize(
    "y, x, expected",
    [(3.5, 3.5, 1), (1.5, 1.5, 0), (0.5, 11.9, 2), (0.5, 12.5, 2), (7, 12, None), (9.5, 19.5, None), (-1, 3, None)],
)
def test_a_click_takes_the_smallest_mask_else_a_box(y, x, expected):
    """At (0.5, 12.5) no mask lies, but the box of the third; the fourth is not shown."""
    assert pick(view_of(), y, x) == expected


def test_without_masks_boxes_are_clicked_and_measured():
    view = view_of(with_masks=False)
    assert pick(view, 3, 3) == 1 and pick(view, 7.9, 7.9) == 0 and pick(view, 8, 8) is None
    assert numbers_of(view, 2).area == 16 and numbers_of(view_of(), 2).area == 8


def test_numbers_are_those_of_the_instance():
    numbers = numbers_of(view_of(), 2)
    assert (numbers.class_id, numbers.box, numbers.state) == (1, (0, 10, 4, 14), "as found")
    assert numbers.score == pytest.approx(0.6)


def test_what_is_not_shown_is_not_selected():
    view = dataclasses.replace(view_of(), selected=2)
    assert filtered(view, 0.5, frozenset()).selected == 2 and filtered(view, 0.7, frozenset()).selected is None
    assert edited(view, Edits().with_deleted(2)).selected is None


def test_corrections_of_more_instances_than_there_are_now_are_left_out():
    edits = Edits({0: 2, 5: 1}, frozenset({1, 7}), frozenset({0, 6}))
    assert edits.below(3) == Edits({0: 2}, frozenset({1}), frozenset({0}))


def test_nothing_in_an_image():
    view = View("a.png", np.zeros((4, 4, 3), np.uint8), Instances.empty((4, 4)))
    assert len(visible(view)) == 0 and len(result(view)) == 0 and class_counts(view) == {} and pick(view, 1, 1) is None
