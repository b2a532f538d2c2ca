from __future__ import annotations

import numpy as np
import pytest

from mrcnn.drawing import draw_array
from mrcnn.drawing.labels import draw_labels, font, one_line, with_header
from mrcnn.drawing.stages import draw_boxes, draw_grid
from mrcnn.structures.instances import Instances
from tests.drawing.test_image import NAMES, gray


def test_labels_do_not_cover_each_other():
    many = 40
    boxes = np.tile(np.array([[10, 10, 30, 30]], np.float32), (many, 1)) + np.arange(many)[:, None] * 0.1
    pile = Instances(boxes, np.ones(many), (60, 80), np.linspace(1, 0, many))
    one = draw_array(gray(), pile[0], masks=False, boxes=False)
    all_ = draw_array(gray(), pile, masks=False, boxes=False)
    covered = (one != 100).any(2).sum()
    assert covered > 0
    assert (all_ != 100).any(2).sum() < 10 * covered


def _grid(side: int) -> np.ndarray:
    """side x side boxes of 20 pixels without a gap, (y1, x1, y2, x2)."""
    corner = 20.0 * np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    return np.concatenate([corner, corner + 20], 1)


def test_among_many_objects_labels_hide_few_of_them():
    def drawn(side: int, inside: int) -> int:
        canvas = np.zeros((20 * side, 20 * side, 3), np.uint8)
        texts = ["a long name" if i < inside else "" for i in range(side * side)]
        white = np.full((side * side, 3), 255, np.uint8)
        return int((draw_labels(canvas, _grid(side), white, texts, 10) > 0).any(2).sum())

    assert drawn(8, 1) and drawn(8, 64) > drawn(8, 1)  # hides half of what is beside its own box
    assert drawn(12, 144) == 0


@pytest.mark.parametrize("text", NAMES)
def test_every_text_becomes_one_line_that_a_font_takes(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 80 and not set(line) & set("\n\r\t\x1b\u202e")
    line.encode()
    font(12).getlength(line)
    canvas = np.zeros((100, 200, 3), np.uint8)
    draw_labels(canvas, np.array([[50, 20, 80, 90]]), np.array([[255, 0, 0]], np.uint8), [text], 12)
    assert with_header(text, canvas).shape[0] > 100


def test_titles_and_legends_of_any_letters() -> None:
    for text in NAMES:
        assert draw_grid([np.ones((5, 5), bool)], [text]).ndim == 3
        drawing = draw_boxes(gray(), [[5, 5, 20, 20]], groups=[0], group_names=[text], title=text)
        assert drawing.shape[1:] == (640, 3)
