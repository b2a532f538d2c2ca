from __future__ import annotations

import numpy as np

from mrcnn.modeling.input import content_window, detection_window, proposal_window
from mrcnn.preprocessing import InputConfig

CONTENT = np.array([[20, 30], [15, 31]], np.int32)


def test_windows_in_the_corner() -> None:
    for window in (content_window, detection_window, proposal_window):
        np.testing.assert_array_equal(window((32, 32), CONTENT, InputConfig()), [[0, 0, 20, 30], [0, 0, 15, 31]])


def test_windows_in_the_middle_round_down() -> None:
    config = InputConfig(padding="center", end_offset=-1.0, clip_to="canvas")
    window = content_window(np.array([32, 32]), CONTENT, config)
    np.testing.assert_array_equal(window, [[6, 1, 26, 31], [8, 0, 23, 31]])
    np.testing.assert_array_equal(detection_window((32, 32), CONTENT, config), window - np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(proposal_window((32, 40), CONTENT, config), [[0, 0, 31, 39]] * 2)


def test_no_images() -> None:
    assert proposal_window((32, 32), CONTENT[:0], InputConfig(clip_to="canvas")).shape == (0, 4)
