"""`EvaluationReport`: sees what an evaluation sees, and makes a page and a file of numbers of it."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mrcnn.evaluation import CocoMetric, EvaluationResult, Metric, as_instances
from mrcnn.evaluation.metric import GroundTruth
from mrcnn.evaluation.pairs import ImagePairs, pair_image
from mrcnn.files import atomic_write
from mrcnn.report.gallery import Gallery, Outlines
from mrcnn.report.numbers import report_numbers
from mrcnn.report.page import evaluation_page
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import WindowMasks

PAGE_FILE = "report.html"
DATA_FILE = "report_data.json"


class EvaluationReport(Metric):
    """What an evaluation says beyond its numbers, as one HTML file that needs no other, and as JSON.

    Args:
        dataset: that is evaluated; its images are shown.
        about: what is shown as the origin, text by name: {"model": ..., "data": ...}.
        machine: the same of the machine, such as that of `mrcnn.diagnose`.

    Example:
        >>> report = mrcnn.EvaluationReport(dataset)  # doctest: +SKIP
        >>> result = mrcnn.evaluate(model, dataset, metrics=[report])  # doctest: +SKIP
        >>> report.save("out", result)  # doctest: +SKIP
    """

    abstract: ClassVar[bool] = True  # made by hand for its data set, not by its name
    name: ClassVar[str] = "report"

    def __init__(
        self, dataset: Any, *, about: Mapping[str, str] | None = None, machine: Mapping[str, str] | None = None
    ) -> None:
        self.dataset = dataset
        self.about, self.machine = dict(about or {}), dict(machine or {})
        self._boundary = CocoMetric(dataset.class_names, dataset.category_ids, kinds=["boundary"])
        self.reset()

    def reset(self) -> None:
        """Forget all images; the time of the evaluation starts."""
        self._images: list[ImagePairs] = []
        self._outlines: list[Outlines] = []
        self._boundary.reset()
        self._started = time.perf_counter()
        self._busy = 0.0

    def update(self, image_id: int | str, ground_truth: GroundTruth, prediction: Instances) -> None:
        """Add one image; see `Metric.update`."""
        started = time.perf_counter()
        objects = as_instances(ground_truth, prediction.image_shape)
        if prediction.has_masks:  # lazy ones would be pasted for each measure
            windows = WindowMasks(tuple(prediction.mask_windows()), *prediction.image_shape)
            prediction = dataclasses.replace(prediction, masks=windows)
        self._images.append(pair_image(image_id, ground_truth, prediction))
        self._outlines.append(Outlines.of(objects, prediction))
        if self._images[-1].of_masks:
            self._boundary.update(image_id, ground_truth, prediction)
        self._busy += time.perf_counter() - started

    def get_state(self) -> dict[str, Any]:
        """What the images seen so far left here, for `merge` in another process."""
        return {"images": self._images, "outlines": self._outlines, "boundary": self._boundary.get_state()}

    def merge(self, state: dict[str, Any]) -> None:
        """Take in the images another report has seen."""
        self._images += state["images"]
        self._outlines += state["outlines"]
        self._boundary.merge(state["boundary"])

    def compute(self) -> dict[str, float]:
        """Nothing: the numbers are in the file that `save` writes."""
        return {}

    def save(self, directory: str | os.PathLike[str], result: EvaluationResult) -> tuple[Path, Path]:
        """Write report.html and report_data.json into a directory, made if it is absent.

        Args:
            directory: files of these names are replaced.
            result: of the evaluation that this has seen.

        Returns:
            paths of the two files.

        Raises:
            DataError: an image that is to be shown cannot be read.
        """
        started = time.perf_counter()
        boundary = self._boundary.result() if any(image.of_masks for image in self._images) else None
        numbers = report_numbers(self._images, result, boundary, self.dataset.class_names, self._files())
        gallery = Gallery.of(self._images, self._outlines, numbers, self.dataset)
        evaluation = started - self._started - self._busy
        numbers["about"] = self.about
        numbers["machine"] = self.machine
        numbers["seconds"] = {
            "evaluation": round(evaluation, 2),
            "per_image": round(evaluation / max(1, len(self._images)), 4),
            "report": round(self._busy + time.perf_counter() - started, 2),
        }
        page, data = Path(directory) / PAGE_FILE, Path(directory) / DATA_FILE
        with atomic_write(page) as temporary:
            temporary.write_text(evaluation_page(numbers, gallery), encoding="utf-8")
        with atomic_write(data) as temporary:
            temporary.write_text(json.dumps(numbers, allow_nan=False, separators=(",", ":")) + "\n", encoding="utf-8")
        return page, data

    def _files(self) -> dict[int | str, str]:
        """Image id -> the name of its file, or the id as text."""
        records = (self.dataset.record(index) for index in range(len(self.dataset)))
        return {r.image_id: Path(r.path).name if r.path else str(r.image_id) for r in records}
