"""The numbers of a run's epochs as a table and as curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrcnn.files import atomic_write

Row = Mapping[str, float]
"""The logs of an epoch, and "epoch": 1, 2, ...; a fraction for an epoch that is not done."""

_VALIDATION = ("val_box/AP", "val_mask/AP", "val_mask/AP50", "val_keypoints/AP")


def write_history(rows: Sequence[Row], path: Path) -> None:
    """Write a CSV file with a line for each row and a column for whatever any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw losses (left) and validation numbers (right) over the epochs; a mark for each row, so that one is seen."""
    from matplotlib.figure import Figure  # heavy, and only needed here

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = dict.fromkeys(name for row in rows for name in row)
    for name in [n for n in names if n == "loss" or n.startswith(("rpn_", "roi_"))]:
        left.plot(*_points(rows, name), marker=".", label=name, lw=2.5 if name == "loss" else 1.2)
    left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    if left.lines:
        left.legend(fontsize=7)
    for name in (n for n in _VALIDATION if n in names):
        right.plot(*_points(rows, name), marker=".", label=name.removeprefix("val_"))
    right.set(xlabel="epoch", ylabel="validation", ylim=(0, 1))
    if right.lines:
        right.legend(fontsize=7)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _points(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    having = [row for row in rows if name in row]
    return [row["epoch"] for row in having], [row[name] for row in having]
