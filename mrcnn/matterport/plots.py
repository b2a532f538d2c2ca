"""matterport's plots for notebooks: precision over recall, overlaps, statistics of weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def plot_precision_recall(AP: float, precisions: np.ndarray, recalls: np.ndarray) -> None:
    """The curve of precision over recall in a new figure."""
    _, ax = plt.subplots(1)
    ax.set_title(f"Precision-Recall Curve. AP@50 = {AP:.3f}")
    ax.set_ylim(0, 1.1)
    ax.set_xlim(0, 1.1)
    ax.plot(recalls, precisions)


def plot_overlaps(
    gt_class_ids: Any,
    pred_class_ids: Any,
    pred_scores: Any,
    overlaps: np.ndarray,
    class_names: Sequence[str],
    threshold: float = 0.5,
) -> None:
    """A table of the overlaps of predictions and objects, in a new figure."""
    gt_class_ids, pred_class_ids = (np.asarray(ids)[np.asarray(ids) != 0] for ids in (gt_class_ids, pred_class_ids))
    plt.figure(figsize=(12, 10))
    plt.imshow(overlaps, interpolation="nearest", cmap=plt.cm.Blues)
    plt.yticks(
        np.arange(len(pred_class_ids)),
        [f"{class_names[int(c)]} ({pred_scores[i]:.2f})" for i, c in enumerate(pred_class_ids)],
    )
    plt.xticks(np.arange(len(gt_class_ids)), [class_names[int(c)] for c in gt_class_ids], rotation=90)
    dark = overlaps.max(initial=0) / 2.0
    for i, j in itertools.product(range(overlaps.shape[0]), range(overlaps.shape[1])):
        text = ""
        if overlaps[i, j] > threshold:
            text = "match" if gt_class_ids[j] == pred_class_ids[i] else "wrong"
        plt.text(
            j,
            i,
            f"{overlaps[i, j]:.3f}\n{text}",
            horizontalalignment="center",
            verticalalignment="center",
            fontsize=9,
            color="white" if overlaps[i, j] > dark else "black",
        )
    plt.tight_layout()
    plt.xlabel("Ground Truth")
    plt.ylabel("Predictions")


def display_table(table: Sequence[Sequence[Any]]) -> None:
    """Rows as an HTML table, where IPython is; else as text."""
    try:
        import IPython.display
    except ImportError:
        print("\n".join("\t".join(str(cell) for cell in row) for row in table))
        return
    rows = ["".join(f"<td>{cell}</td>" for cell in row) for row in table]
    display: Any = IPython.display  # without types
    display.display(display.HTML("<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"))


def display_weight_stats(model: Any) -> None:
    """Shape, range and spread of every weight that trains, as a table."""
    table = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for layer in model.get_trainable_layers():
        for variable in layer.weights:
            value = np.asarray(variable, np.float32)
            alert = "*** dead?" if value.min() == value.max() and "bias" not in variable.path else ""
            numbers = (f"{number:+10.4f}" for number in (value.min(), value.max()))
            table.append([variable.path + alert, str(value.shape), *numbers, f"{value.std():+9.4f}"])
    display_table(table)
