from __future__ import annotations

import numpy as np
import pytest

from mrcnn.drawing.colors import CROWD, PALETTE, assign, class_color, track_colors
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances


def test_colors_of_neighbors_differ():
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2) * 10.0
    boxes = np.concatenate([grid, grid + 9], 1)
    colors = assign(Instances(boxes, np.ones(144), (130, 130)), "instance").astype(int)
    near = np.square(grid[:, None] - grid[None]).sum(2) <= 100
    same = (colors[:, None] == colors[None]).all(2)
    assert not (near & same & ~np.eye(144, dtype=bool)).any()


def test_colors_by_class():
    objects = Instances(np.zeros((4, 4)), [1, 2, 1, 2], (9, 9), is_crowd=[0, 0, 0, 1])
    by_class = assign(objects, "class")
    assert np.array_equal(by_class[0], by_class[2])
    assert np.array_equal(by_class[3], CROWD)
    varied = assign(objects)
    assert not np.array_equal(varied[0], varied[2])
    assert np.array_equal(assign(objects, {1: (1, 2, 3)})[0], (1, 2, 3))
    far = len(PALETTE) * 3
    assert len({tuple(class_color(c)) for c in range(1, far + 1)}) == far


def test_colors_of_tracks_and_of_the_caller():
    instances = Instances([[0, 0, 9, 9], [20, 20, 30, 30]], [1, 1], (40, 40))
    of_tracks = track_colors(np.array([7, 3]))
    assert of_tracks.tolist() == [PALETTE[6].tolist(), PALETTE[2].tolist()]
    assert assign(instances, of_tracks).tolist() == of_tracks.tolist()
    assert track_colors(np.zeros(0, int)).shape == (0, 3)
    with pytest.raises(InputError, match=r"colors: expected one for each instance, \(2, 3\), got \(1, 3\)"):
        assign(instances, of_tracks[:1])
