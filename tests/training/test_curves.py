"""History and curves as files."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from mrcnn.training.curves import draw_curves, write_history


def test_a_column_for_whatever_any_row_has(tmp_path: Path) -> None:
    write_history([{"epoch": 1, "loss": 2.0}, {"epoch": 1.5, "loss": 1.0, "val_mask/AP": 0.25}], tmp_path / "new/h.csv")
    with (tmp_path / "new/h.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["epoch", "loss", "val_mask/AP"], ["1", "2.0", ""], ["1.5", "1.0", "0.25"]]
    assert len(list((tmp_path / "new").iterdir())) == 1


def _drawn(path: Path, *rows: dict[str, float]) -> np.ndarray:
    draw_curves(rows, path)
    return cv2.imread(str(path))


@pytest.mark.parametrize(
    "low, high, half",
    [
        ({"loss": 2.0, "rpn_box": 0.2}, {"loss": 2.0, "rpn_box": 1.9}, slice(None, 450)),
        ({"val_mask/AP": 0.1}, {"val_mask/AP": 0.9}, slice(520, None)),
    ],
)
def test_one_epoch_has_a_mark(tmp_path: Path, low: dict[str, float], high: dict[str, float], half: slice) -> None:
    """A line through one point has no length."""
    one, other = (_drawn(tmp_path / "c.png", {"epoch": 1} | numbers)[:, half] for numbers in (low, high))
    assert (one != other).any()


def test_terms_that_a_later_row_brings_are_drawn(tmp_path: Path) -> None:
    """An interrupted epoch may have other numbers than the one before."""
    first = {"epoch": 1, "loss": 2.0}
    without = _drawn(tmp_path / "c.png", first, {"epoch": 2, "loss": 1.0})
    with_it = _drawn(tmp_path / "c.png", first, {"epoch": 2, "loss": 1.0, "roi_mask": 0.5})
    assert (without[:, :450] != with_it[:, :450]).any()


def test_rows_without_losses_make_an_empty_drawing(tmp_path: Path) -> None:
    assert _drawn(tmp_path / "c.png", {"epoch": 1}).std() > 0  # axes
