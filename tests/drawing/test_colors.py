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


# Linear RGB as people see it who lack long, middle or short cones.
# Ref: Machado, Oliveira, Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009.
MISSING_CONES = {
    "long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3),
}


def lab_seen(colors: np.ndarray, matrix) -> np.ndarray:
    """f[n, 3], CIELAB (D65) of u8[n, 3]."""
    value = np.asarray(colors) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(matrix).T, 0, 1)
    red, green, blue = (
        (0.4124564, 0.2126729, 0.0193339),
        (0.3575761, 0.7151522, 0.119192),
        (0.1804375, 0.072175, 0.9503041),
    )
    xyz = seen @ np.array([red, green, blue]) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


@pytest.mark.parametrize("cones", MISSING_CONES)
def test_color_blind_people_tell_the_palette_apart(cones):
    colors = lab_seen(PALETTE, MISSING_CONES[cones])
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + np.diag(np.full(len(colors), np.inf))
    assert distance[:5, :5].min() > 30 and distance.min() > 15  # 2.3 is the least that is noticed side by side
    assert (np.abs(colors - lab_seen([CROWD], MISSING_CONES[cones])).max(-1) > 10).all()


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
