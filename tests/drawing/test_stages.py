from __future__ import annotations

import numpy as np
import pytest

from mrcnn.drawing import draw_boxes, draw_grid
from mrcnn.drawing.colors import PALETTE
from tests.rotated_model import inside

RED, GREEN = (255, 0, 0), (0, 255, 0)


def black(height=20, width=30):
    return np.zeros((height, width, 3), np.uint8)


def test_a_box_covers_its_first_and_last_pixel():
    drawing = draw_boxes(black(), [[2, 3, 8, 10]], colors=[RED], long_side=30)
    expected = np.zeros((20, 30), bool)
    expected[2:8, 3:10] = True
    expected[3:7, 4:9] = False
    np.testing.assert_array_equal((drawing == RED).all(-1), expected)
    assert not drawing[~expected].any()


def test_drawings_are_enlarged():
    drawing = draw_boxes(black(), [[2, 3, 8, 10]], colors=[RED], long_side=90)
    rows, columns = np.nonzero((drawing == RED).all(-1))
    assert drawing.shape == (60, 90, 3)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 23, 9, 29)
    assert draw_boxes(black(), np.zeros((0, 4))).shape == (160, 240, 3)  # at most 8 times


def test_groups_have_colors_and_a_legend():
    boxes = [[1, 1, 5, 5], [8, 8, 12, 12], [14, 1, 18, 5]]
    plain = draw_boxes(black(), boxes, groups=[0, 2, 0], long_side=300)
    assert {tuple(c) for c in plain.reshape(-1, 3).tolist()} == {(0, 0, 0), *map(tuple, PALETTE[[0, 2]].tolist())}
    titled = draw_boxes(black(), boxes, groups=[0, 2, 0], group_names=["a", "b", "c"], title="levels", long_side=300)
    header = titled[: len(titled) - len(plain)]
    np.testing.assert_array_equal(titled[len(header) :], plain)
    assert (header == PALETTE[0]).all(-1).any() and (header == PALETTE[2]).all(-1).any()
    assert not (header == PALETTE[1]).all(-1).any()  # no box of group "b"


def test_refined_boxes_are_solid_where_the_others_are_dashed():
    drawing = draw_boxes(black(60, 60), [[5, 5, 45, 45]], refined=[[10, 10, 50, 50]], colors=[GREEN], long_side=60)
    seen = (drawing == GREEN).all(-1)
    assert seen[49, 10:50].all() and seen[10:50, 49].all()  # edges of the refined box
    edge = seen[5, 5:45]
    assert edge.any() and not edge.all()
    assert drawing[7, 7].any()  # the line between the corners
    assert not drawing[:5].any() and not drawing[50:].any()


def test_rotated_boxes_are_drawn_turned():
    box = [[20, 30, 10, 40, 30]]
    drawing = draw_boxes(black(40, 60), box, colors=[GREEN], long_side=60).any(-1)
    edge = inside((20, 30, 14, 44, 30), 40, 60) & ~inside((20, 30, 6, 36, 30), 40, 60)
    assert (drawing & edge).sum() > 80 and not (drawing & ~edge).any()
    enlarged = draw_boxes(black(40, 60), box, colors=[GREEN], long_side=120).any(-1)
    assert (enlarged & inside((40, 60, 24, 84, 30), 80, 120)).sum() > 160
    refined = draw_boxes(black(40, 60), box, refined=[[20, 30, 10, 40, -30]], colors=[GREEN], long_side=60).any(-1)
    dashed = (refined & drawing).sum()
    assert 0.3 * drawing.sum() < dashed < 0.9 * drawing.sum()
    assert not draw_boxes(black(), [[np.nan, 0, 5, 5, 9]]).any()


def test_boxes_beyond_the_image_and_not_finite():
    whole = draw_boxes(black(), [[-50, -50, 100, 100], [np.nan, 0, 5, 5], [0, 0, np.inf, 4]], long_side=30)
    assert not whole.any()
    assert draw_boxes(black(), [[-50, -50, 1e30, 1e30]], refined=[[0, 0, 9, np.nan]], long_side=30).shape == (20, 30, 3)
    for name, value in (("groups", [1, 2]), ("refined", np.zeros((2, 4)))):
        with pytest.raises(ValueError, match=f"1 boxes, but 2 {name}"):
            draw_boxes(black(), [[0, 0, 1, 1]], **{name: value})


def test_grid_places_tiles_row_by_row():
    tiles = [np.full((4, 4), value, np.uint8) for value in (10, 20, 30)]
    grid = draw_grid(tiles, columns=2, side=8)
    assert grid.shape == (6 + 2 * 14, 6 + 2 * 14, 3)
    for value, y, x in ((10, 6, 6), (20, 6, 20), (30, 20, 6)):
        assert (grid[y : y + 8, x : x + 8] == value).all()
    grid[6:14, 6:14] = grid[6:14, 20:28] = grid[20:28, 6:14] = 255
    assert (grid == 255).all()
    assert draw_grid([]).shape == (0, 0, 3)


def test_grid_of_masks_maps_and_colors():
    mask = np.array([[True, False]])
    ramp = np.array([[0.0, 0.5, 1.0]])
    grid = draw_grid([mask, ramp, ramp * 2, np.full((2, 2, 3), RED, np.uint8)], side=12, columns=4)
    tiles = [grid[6:18, 6 + 18 * i : 18 + 18 * i] for i in range(4)]
    assert (tiles[0][:6, :6] == 255).all() and not tiles[0][:6, 6:].any()
    np.testing.assert_array_equal(tiles[1], tiles[2])  # each between its own lowest and highest value
    assert tiles[1][0, 0, 2] > tiles[1][0, 0, 0] and tiles[1][0, -1, 0] > tiles[1][0, -1, 2]  # blue to yellow
    assert (tiles[3] == RED).all()
    shared = draw_grid([ramp, ramp * 2], side=12, limits=(0, 2))
    assert not np.array_equal(shared[6:10, 6:18], shared[6:10, 24:36])
    np.testing.assert_array_equal(shared[6, 17], shared[6, 24 + 5])  # the value 1 in both
    constant = draw_grid([np.full((2, 2), np.nan)], side=4)
    assert len(np.unique(constant[6:10, 6:10].reshape(-1, 3), axis=0)) == 1


def test_grid_titles_are_below_and_cut_to_the_tile():
    tiles = [np.zeros((4, 4), np.uint8)] * 2
    plain = draw_grid(tiles, side=40)
    titled = draw_grid(tiles, ["one", "a title that is far too long"], side=40)
    assert titled.shape[1] == plain.shape[1] and titled.shape[0] > plain.shape[0]
    assert (titled[46:, :46] < 128).any() and (titled[46:, 92:] == 255).all()
    with pytest.raises(ValueError, match="2 tiles, but 1 titles"):
        draw_grid(tiles, ["one"])
    with pytest.raises(ValueError, match=r"got float64 of shape \(2, 2, 4\)"):
        draw_grid([np.zeros((2, 2, 4))])
