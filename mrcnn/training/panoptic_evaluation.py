"""A panoptic model measured on a data set: panoptic quality."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrcnn.data.formats.coco_panoptic_writer import free_stuff_ids, save_panoptic
from mrcnn.errors import InputError
from mrcnn.evaluation import compare_class_names
from mrcnn.evaluation.panoptic import PanopticQuality
from mrcnn.inference import detect_panoptic_dataset
from mrcnn.inference.panoptic import Joining
from mrcnn.progress import Progress
from mrcnn.structures.panoptic import PanopticSegments


@dataclasses.dataclass(frozen=True)
class PanopticResult:
    """Panoptic quality of a data set; `str` of it is a table.

    numbers: "PQ", "SQ" and "RQ", then those of things ("PQ_things") and of stuff; NaN where there is no class.
    per_class: (is_thing, name) -> "PQ", "SQ", "RQ", "matched", "predicted", "true".
    """

    numbers: dict[str, float]
    per_class: dict[tuple[bool, str], dict[str, float]]

    def __str__(self) -> str:
        lines = [f"{'':20}{'PQ':>7}{'SQ':>7}{'RQ':>7}"]
        for suffix, kind in _KINDS.items():
            values = (self.numbers[f"{name}{suffix}"] for name in ("PQ", "SQ", "RQ"))
            lines.append(f"{kind:20}" + "".join(f"{value:7.3f}" for value in values))
        return "\n".join(lines)


_KINDS: dict[str, str] = {"": "panoptic", "_things": "things", "_stuff": "stuff"}


def evaluate_panoptic(
    model: Any,
    dataset: Any,
    *,
    batch_size: int = 1,
    out: str | os.PathLike[str] | None = None,
    min_score: float = 0.5,
    max_overlap: float = 0.5,
    min_stuff_area: int = 4096,
    progress: bool = False,
) -> PanopticResult:
    """Find the things and the stuff of every image of a data set, and compute panoptic quality.

    Args:
        model: a panoptic `MaskRCNN`.
        dataset: a `Dataset` with semantic maps, of the model's classes.
        batch_size: images of one padded shape run at once; does not change the numbers.
        out: directory to write panoptic.json and the folder panoptic/ to; None = write nothing.
        min_score, max_overlap, min_stuff_area: see `mrcnn.detect_panoptic`.
        progress: report how far it is.

    Raises:
        InputError: the data set's classes, of things or of stuff, are not those of the model.

    Example:
        >>> result = mrcnn.evaluate_panoptic(model, mrcnn.load_dataset("panoptic_val.json"))  # doctest: +SKIP
        >>> result.numbers["PQ"]  # doctest: +SKIP
        0.39
    """
    stuff_names = model.config.stuff_names
    for names, others in ((model.class_names, dataset.class_names), (stuff_names, dataset.stuff_names)):
        difference = compare_class_names(names, others)
        if difference is not None:
            kind = "stuff: " if names is stuff_names else ""
            raise InputError(f"evaluate_panoptic: {kind}{difference}")
    quality, shown = PanopticQuality(), Progress("panoptic quality", len(dataset), shown=progress)
    joining = Joining(min_score, max_overlap, min_stuff_area)

    def measured() -> Iterator[tuple[int | str, PanopticSegments]]:
        detections = detect_panoptic_dataset(model, dataset, batch_size, joining=joining)
        for index, (image_id, segments) in enumerate(detections):
            quality.update(dataset.panoptic(index), segments)
            yield image_id, segments
            shown.update(index + 1)
        shown.finish()

    if out is None:
        collections.deque(measured(), maxlen=0)
    else:
        things = dataset.category_ids
        stuff = free_stuff_ids(things, dataset.stuff_names, dataset.stuff_category_ids)
        save_panoptic(measured(), Path(out) / "panoptic.json", category_ids=things, stuff_category_ids=stuff)
    table = {
        (is_thing, (dataset.class_names if is_thing else stuff_names)[class_id - 1]): row
        for (is_thing, class_id), row in quality.per_class().items()
    }
    return PanopticResult(quality.compute(), table)
