"""One row of a table with one seed: train, evaluate, and keep the result in a file that makes it unnecessary again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import scales
from scales import PaperError, Places
from tables import TABLES, Row, Table

import mrcnn

RESULT = "result.json"
SIDES = tuple(range(400, 1201, 100))  # shorter sides of test-time augmentation, pixels


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all rows of a command have in common.

    Attributes:
        scale: of `scales.SCALES`.
        out: folder; a table has one in it, a row with a seed one in that.
        places: data sets and weights.
        changes: dotted fields of the recipe, over those of scale and row.
        devices: of `mrcnn.use_devices`.
    """

    scale: str
    out: Path
    places: Places
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    devices: str = "1"

    def folder(self, key: str, row: Row, seed: int) -> Path:
        """Of one run."""
        name = re.sub(r"[^a-z0-9]+", "_", row.name.lower()).strip("_")
        return self.out / f"table_{key}_{self.scale}" / f"{name}_seed{seed}"

    def recipe(self, key: str, row: Row, seed: int) -> mrcnn.Recipe:
        """What one run trains."""
        made = scales.recipe(TABLES[key], row, self.scale, self.places)
        return made.override(self.changes | {"train.seed": seed})


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON; see `write_text`."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def finished(plan: Plan, key: str, row: Row, seed: int) -> dict[str, Any] | None:
    """The result of a run that is done, None of one that is not.

    Raises:
        PaperError: the folder holds the result of another recipe, or a file that is no result.
    """
    path = plan.folder(key, row, seed) / RESULT
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        same = result["recipe"] == json.loads(json.dumps(plan.recipe(key, row, seed).to_dict()))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise PaperError(f"{path}: not the result of a run; remove the file to run it again") from error
    if not same:
        raise PaperError(f"{path}: the result of another recipe; choose another --out, or remove the folder")
    return result


def run(plan: Plan, key: str, row: Row, seed: int) -> dict[str, Any]:
    """Train and evaluate; a run that was interrupted resumes from its last checkpoint.

    Returns:
        {"seed", "numbers" (in percent), "seconds" of training and evaluation, "start", "images", "recipe"}; also
        written to the run's folder.
    """
    import keras  # with TensorFlow, which a mere list of the tables does not need

    table, folder, recipe = TABLES[key], plan.folder(key, row, seed), plan.recipe(key, row, seed)
    train_data, val_data = scales.data(table, plan.scale, plan.places)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = recipe.build_model(train_data.class_names, train_data.category_ids)
    start = scales.load_start(model, table, row, plan.scale, plan.places)
    strategy = mrcnn.use_devices(plan.devices) if plan.devices != "1" else None
    times = [time.time()]
    mrcnn.train(model, train_data, recipe=recipe, out=folder, resume=True, strategy=strategy)
    times.append(time.time())
    numbers = _evaluate(model, table, row, val_data, folder)
    times.append(time.time())
    result = {
        "seed": seed,
        "numbers": {name: round(100 * value, 4) for name, value in numbers.items()},
        "seconds": [round(end - begin, 1) for begin, end in itertools.pairwise(times)],
        "start": start,
        "images": [len(train_data), len(val_data)],
        "recipe": recipe.to_dict(),
    }
    write_json(folder / RESULT, result)
    return result


def _evaluate(model: mrcnn.MaskRCNN, table: Table, row: Row, data: mrcnn.Dataset, folder: Path) -> dict[str, float]:
    """The table's metrics as fractions."""
    if row.augmented:
        return _evaluate_augmented(model, table, data)
    metrics = [mrcnn.CityscapesMetric(data.class_names)] if table.data == "cityscapes" else []
    numbers = mrcnn.evaluate(model, data, out=folder, metrics=metrics, progress=True).numbers
    return {name: numbers[name] for name in table.metrics if numbers.get(name, -1) >= 0}


def _evaluate_augmented(model: mrcnn.MaskRCNN, table: Table, data: mrcnn.Dataset) -> dict[str, float]:
    """At the paper's nine sizes and mirrored. Ref: Mask R-CNN, appendix B."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results: list[dict[str, Any]] = []
    for index, image_id in enumerate(data.image_ids):
        instances = mrcnn.detect_augmented(model, data.load_image(index), SIDES, score_threshold=None)
        results += mrcnn.to_coco_results(image_id, instances, model.category_ids)
    ground_truth = COCO(str(data.path))
    numbers = {}
    for kind, name in (("bbox", "box"), ("segm", "mask"), ("keypoints", "keypoints")):
        if results and any(metric.startswith(f"{name}/") for metric in table.metrics):
            metric = COCOeval(ground_truth, ground_truth.loadRes(results), kind)
            metric.params.imgIds = list(data.image_ids)
            metric.evaluate()
            metric.accumulate()
            metric.summarize()
            numbers[f"{name}/AP"] = float(metric.stats[0])
    return {name: value for name, value in numbers.items() if name in table.metrics}
