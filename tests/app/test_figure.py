"""The drawing of a view, and the way back from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.app.figure import LAYERS, LONGEST, draw_view, drawn_side, to_image
from mrcnn.app.view import View, filtered
from mrcnn.structures.instances import Instances


@pytest.fixture
def view():
    masks = np.zeros((2, 64, 128), bool)
    masks[0, 8:40, 8:40] = masks[1, 8:40, 72:104] = True
    boxes = [[8, 8, 40, 40], [8, 72, 40, 104]]
    instances = Instances(boxes, [1, 2], (64, 128), [0.9, 0.6], masks)
    return View("a.png", np.zeros((64, 128, 3), np.uint8), instances)


def middle(drawn, number):
    return drawn[24 * 8, (24 + 64 * number) * 8].tolist()


def test_sides_are_readable_and_quickly_sent():
    assert drawn_side(64, 128) == 1024 and drawn_side(10, 10) == 80 and drawn_side(1200, 900) == 1200
    assert drawn_side(6000, 8000) == LONGEST


def test_what_is_shown_is_drawn_in_a_color_that_stays(view):
    both = draw_view(view, ["a", "b"])
    one = draw_view(filtered(view, 0.7, frozenset()), ["a", "b"])
    assert both.shape == (512, 1024, 3) and middle(both, 1) != [0, 0, 0] and middle(one, 1) == [0, 0, 0]
    assert middle(both, 0) == middle(one, 0) != [0, 0, 0]
    other = draw_view(filtered(view, 0.5, frozenset({1})), ["a", "b"])
    assert middle(other, 1) == middle(both, 1) and middle(other, 0) == [0, 0, 0]


def test_the_selected_one_is_white_and_layers_can_be_left_out(view):
    selected = draw_view(dataclasses.replace(view, selected=1), ["a", "b"])
    assert len(set(middle(selected, 1))) == 1 and middle(selected, 1)[0] > 80
    assert not draw_view(view, ["a", "b"], []).any() and set(LAYERS) == {"masks", "boxes", "labels"}


def test_a_click_leads_back_to_the_pixel(view):
    for y, x in ((0, 0), (24, 88), (63, 127)):
        row, column = to_image(view, x * 8 + 3.5, y * 8 + 3.5)
        assert (row, column) == (y + 0.5, x + 0.5)
