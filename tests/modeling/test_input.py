from __future__ import annotations

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.input import InputConfig, content_window, detection_window, proposal_window

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


@pytest.mark.parametrize("name", ["short_side", "long_side", "divisor"])
def test_sides_must_be_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"input\.{name}: expected at least 1, got 0"):
        InputConfig(**{name: 0})
