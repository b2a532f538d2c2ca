"""What inspection draws: histograms of box sizes, sample images with their ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.drawing import draw_array, save_image
from mrcnn.files import atomic_write
from mrcnn.inspection.anchors import POOR_FIT
from mrcnn.inspection.details import log_bins
from mrcnn.inspection.report import SOFTWARE, Inspection
from mrcnn.text import file_stem


def draw_box_sizes(report: Inspection, path: Path) -> Path:
    """Write histograms of box sides and ratios beside the anchors'; returns the path."""
    from matplotlib.figure import Figure  # heavy, and only needed here

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, values, marks, title in (
        (left, report.sides, report.anchor_sizes, "sqrt(box area) after resizing, pixels"),
        (right, report.ratios, report.anchor_ratios, "box height / width"),
    ):
        axis.hist(values, log_bins(values, marks), color="#4477aa")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        for mark in marks:
            axis.axvline(mark, color="#cc3311", lw=1.2, ls="--")
        axis.plot([], [], color="#cc3311", lw=1.2, ls="--", label="anchors")
        axis.set(xlabel=title, ylabel="objects")
        axis.legend(frameon=False)
    figure.suptitle(f"{len(report.sides)} objects; {report.poor_fit:.1%} fit no anchor (best IoU under {POOR_FIT:g})")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": SOFTWARE})
    return path


def draw_samples(
    dataset: Dataset, indices: Sequence[int], num_samples: int, folder: Path, issues: list[DatasetIssue]
) -> list[Path]:
    """Draw some images with their ground truth.

    Args:
        dataset: of the images.
        indices: images to choose from, evenly.
        num_samples: how many, at most.
        folder: to write to.
        issues: an image that cannot be decoded is appended, unless it is there already.

    Returns:
        the files written.
    """
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(num_samples, len(indices))).round().astype(int))
    files: list[Path] = []
    taken: set[str] = set()
    for index in (indices[i] for i in chosen.tolist()):
        image_id = dataset.image_ids[index]
        try:
            image, ground_truth = dataset.load_image(index), dataset.instances(index)
        except DataError as error:
            note_damage(issues, image_id, error)
            continue
        name = stem = file_stem(image_id)
        while name.casefold() in taken:  # another id may give the same name
            name = f"{stem}_{len(taken)}"
        taken.add(name.casefold())
        drawing = draw_array(image, ground_truth, class_names=dataset.class_names)
        files.append(save_image(folder / f"sample_{name}.png", drawing, software=SOFTWARE))
    return files


def note_damage(issues: list[DatasetIssue], image_id: int | str, error: DataError) -> list[DatasetIssue]:
    """Append that an image cannot be decoded, unless it is there already; returns what was appended."""
    if any(issue.image_id == image_id and issue.fatal for issue in issues):
        return []
    issues.append(DatasetIssue("image", str(error), image_id=image_id, fatal=True))
    return issues[-1:]
