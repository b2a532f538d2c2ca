"""The page that a run shows on the Hugging Face Hub: a README.md whose front matter the Hub reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mrcnn.text import printable
from mrcnn.weights import checkpoint
from mrcnn.weights.report import WeightsError

BEST_FILE = "best.safetensors"
"""The file in a run's folder that holds the model of the best epoch."""
CURVES_FILE = "curves.png"
_MANY = 200  # class names that are listed
_METRICS = {
    "val_mask/AP": "mask AP",
    "val_mask/AP50": "mask AP50",
    "val_box/AP": "box AP",
    "val_keypoints/AP": "keypoint AP",
}
_TASKS = {"keypoint": "keypoint-detection", "mask": "image-segmentation"}


def model_card(run: Path, repo: str, *, license_id: str = "unknown", last: bool = False) -> str:
    """A model card made from a run: classes, AP, curves, license, how to load.

    Args:
        run: the folder of a training run.
        repo: "user/repo", for the lines that load it.
        license_id: as the Hub names licenses: "mit", "apache-2.0", "cc-by-nc-4.0", ...
        last: of the last model rather than of the best.

    Returns:
        Markdown with YAML front matter; fields as in the Hub's documentation of model cards.

    Raises:
        WeightsError: the folder holds no model.
    """
    import yaml

    path = model_of(run, last=last)
    metadata, _ = checkpoint.read_checkpoint(path)
    stored = checkpoint.stored_model(metadata, str(path))
    is_best = path.name == BEST_FILE
    recipe = metadata.get("recipe")
    row = _row(run, recipe if isinstance(recipe, dict) else {}, is_best)
    scores = {title: float(row[key]) for key, title in _METRICS.items() if row.get(key)}
    heads = ["box", *(head.layer_name.removesuffix("_head") for head in stored.config.heads)]
    heads += [] if stored.config.semantic_head is None else ["semantic"]
    data = _data(run)
    front = _front_matter(repo, license_id, heads, scores, data)
    name = repo.rsplit("/", 1)[-1]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        f"# {name}",
        "",
        f"Mask R-CNN, {stored.config.backbone.title}, heads: {', '.join(heads)}; trained with mrcnn"
        + (f" on {data[1]} images of `{data[0]}`." if data else "."),
        "",
        *_score_lines(scores, row, is_best),
        *([f"![losses and validation over the epochs]({CURVES_FILE})", ""] if (run / CURVES_FILE).exists() else []),
        "## Use",
        "",
        "```",
        "pip install 'mrcnn-keras[hf]'",
        "```",
        "",
        "```python",
        "import mrcnn",
        "",
        f'model = mrcnn.load_pretrained("hf://{repo}")',
        'instances = mrcnn.detect(model, mrcnn.read_image("image.jpg"))[0]',
        "```",
        "",
        f"or `mrcnn detect --model hf://{repo} --out results image.jpg`.",
        "",
        "## Classes",
        "",
        *_class_lines(stored.class_names),
        "",
        "## License",
        "",
        "Not stated by its author." if license_id == "unknown" else f"`{license_id}`, as stated by its author.",
        "",
    ]
    return "\n".join(lines)


def model_of(run: Path, *, last: bool) -> Path:
    """The model file of a run: the best, where there is one and it is wanted, else the last.

    Raises:
        WeightsError: the folder holds none.
    """
    if not run.is_dir():
        raise WeightsError(f"{run}: expected the folder of a training run")
    names = (checkpoint.MODEL_FILE,) if last else (BEST_FILE, checkpoint.MODEL_FILE)
    for name in names:
        if (run / name).is_file():
            return run / name
    raise WeightsError(f"{run}: no {' or '.join(names)} there; expected the folder of a training run")


def _front_matter(
    repo: str, license_id: str, heads: list[str], scores: Mapping[str, float], data: tuple[str, int] | None
) -> dict[str, Any]:
    task = next((task for head, task in _TASKS.items() if head in heads), "object-detection")
    front: dict[str, Any] = {
        "license": license_id,
        "library_name": "mrcnn-keras",
        "pipeline_tag": task,
        "tags": ["mask-rcnn", "instance-segmentation", "keras", "tensorflow"],
    }
    if scores:
        name = f"validation set of {data[0]}" if data else "validation set"
        results = [
            {"type": title.replace(" ", "_").lower(), "name": title, "value": round(100 * value, 2)}
            for title, value in scores.items()
        ]
        task_name = {"type": task, "name": task.replace("-", " ").capitalize()}
        dataset = {"type": "validation", "name": name}
        name_of_model = repo.rsplit("/", 1)[-1]
        result = {"task": task_name, "dataset": dataset, "metrics": results}
        front["model-index"] = [{"name": name_of_model, "results": [result]}]
    return front


def _score_lines(scores: Mapping[str, float], row: Mapping[str, str], is_best: bool) -> list[str]:
    if not scores:
        return ["No average precision was measured in this run.", ""]
    which = "best" if is_best else "last"
    return [
        f"Measured on the validation set after epoch {float(row.get('epoch') or 0):g}, the {which}, in percent:",
        "",
        "| " + " | ".join(scores) + " |",
        "|" + "---|" * len(scores),
        "| " + " | ".join(f"{100 * value:.1f}" for value in scores.values()) + " |",
        "",
    ]


def _class_lines(names: list[str]) -> list[str]:
    shown = [f"{number}. {_plain(name)}" for number, name in enumerate(names[:_MANY], start=1)]
    return shown + ([f"\n... {len(names)} in all"] if len(names) > _MANY else [])


def _plain(name: str) -> str:
    """A class name that is no markup: names come from files of anybody."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!" else char for char in printable(name))


def _row(run: Path, recipe: Mapping[str, Any], is_best: bool) -> dict[str, str]:
    """The line of the run's history that the model is of; empty where there is none."""
    try:
        with (run / "history.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):  # a run that was copied without it
        return {}
    if not is_best:
        return rows[-1] if rows else {}
    train = recipe.get("train")
    best_by = str(train.get("best_by", "val_mask/AP")) if isinstance(train, Mapping) else "val_mask/AP"
    key, sign = best_by.lstrip("-"), -1.0 if best_by.startswith("-") else 1.0
    having = [row for row in rows if _number(row.get(key)) is not None]
    return max(having, key=lambda row: sign * (_number(row[key]) or 0.0), default={})


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _data(run: Path) -> tuple[str, int] | None:
    """Name and number of images of the training set; no folder of the user's machine."""
    try:
        start = json.loads((run / "run.json").read_text(encoding="utf-8"))[0]["training_set"]
        return printable(Path(str(start["file"])).name).replace("`", "'"), int(start["images"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # it only documents the run
        return None
