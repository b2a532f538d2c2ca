"""Checkpoints of a training run as weights: the model's arrays in a file that also holds an optimizer's.

`mrcnn.training.checkpoints` writes them: RUN/checkpoints/step_00001234.safetensors, format "mrcnn-run/1". Their
metadata name the array of each of the model's variables ("weights"); those of earlier versions have the recipe only,
and arrays numbered in the order of the model's variables.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.migrations import migrate_recipe
from mrcnn.weights.report import WeightsError
from mrcnn.weights.safetensors_file import checked, open_safetensors
from mrcnn.weights.stored_array import StoredArray

FORMAT = "mrcnn-run/1"
FOLDER = "checkpoints"
_NAME = re.compile(r"step_(\d+)\.safetensors")
_log = logging.getLogger(__name__)


def weights_of_run(
    metadata: Mapping[str, Any], tensors: Mapping[str, StoredArray], path: Path
) -> tuple[dict[str, Any], dict[str, StoredArray]]:
    """The metadata and arrays of a run's checkpoint as those of a model's.

    Args:
        metadata, tensors: what `open_safetensors` gave.
        path: the file.

    Returns:
        (metadata, arrays by our variable names); an array is compared with its checksum whenever it is read.

    Raises:
        WeightsError: the metadata does not say which arrays are the model's, or says it wrong.
    """
    content = {key: value for key, value in metadata.items() if key not in ("weights", "crc32")}
    if "weights" in metadata:
        names = metadata["weights"]
    else:
        content, names = _of_earlier_version(content, tensors, path)
    sums = metadata.get("crc32")
    if not isinstance(names, dict) or not isinstance(sums, dict):
        raise WeightsError(f"{path}: damaged, its metadata names no weights, or has no checksums")
    arrays = {}
    for ours, theirs in names.items():
        if not isinstance(theirs, str) or theirs not in tensors:
            raise WeightsError(f"{path}: damaged, the array of {ours} is not in it")
        arrays[ours] = checked(tensors[theirs], sums.get(theirs), theirs, path)
    return content, arrays


def _of_earlier_version(
    content: dict[str, Any], tensors: Mapping[str, StoredArray], path: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Metadata with the model's config, and the array of each variable, by building the recipe's model."""
    from mrcnn.modeling.variables import named_variables
    from mrcnn.weights.checkpoint import build_model, stored_model

    recipe = migrate_recipe(content.get("recipe"))
    model_config = recipe.get("model") if isinstance(recipe, Mapping) else None
    if not isinstance(model_config, Mapping):
        raise WeightsError(f"{path}: damaged, its metadata has no recipe with a model")
    number = model_config.get("num_classes", 80)
    if not isinstance(number, int) or not 0 < number <= len(tensors) * 10_000:
        raise WeightsError(f"{path}: damaged, a model of {number!r:.40} classes")
    content = {**content, "model": dict(model_config), "class_names": [f"class {k}" for k in range(1, number + 1)]}
    model = build_model(*stored_model(content, str(path)), tensors, str(path))
    order = {id(variable): index for index, variable in enumerate(model.variables)}
    by_number = {int(m[1]): name for name in tensors if (m := re.match(r"model/(\d+)/", name))}
    return content, {name: by_number.get(order[id(variable)], "") for name, variable in named_variables(model).items()}


def newest_checkpoint(run: Path) -> Path | None:
    """The latest whole checkpoint in a run's folder, or in the folder of checkpoints itself.

    Returns:
        The file; None if there are no checkpoints. Damaged ones are passed over, with a warning.

    Raises:
        WeightsError: there are checkpoints, and none is whole; quotes what is wrong with the latest.
    """
    by_step = {}
    for folder in (run / FOLDER, run):
        if folder.is_dir():
            by_step = {int(m[1]): entry for entry in folder.iterdir() if (m := _NAME.fullmatch(entry.name))}
        if by_step:
            break
    first: WeightsError | None = None
    for step in sorted(by_step, reverse=True):
        try:
            _read_through(by_step[step])
        except WeightsError as error:
            _log.warning("%s; trying the checkpoint before", error)
            first = first or error
            continue
        return by_step[step]
    if first is not None:
        raise WeightsError(f"{run}: none of its {len(by_step)} checkpoints is whole; the latest: {first}") from first
    return None


def _read_through(path: Path) -> None:
    """Read every array of a checkpoint.

    Raises:
        WeightsError: it is damaged.
    """
    metadata, tensors = open_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{path}: no checkpoint of a training run, expected format {FORMAT!r}")
    sums = metadata.get("crc32")
    for name, array in tensors.items():
        np.asarray(checked(array, sums.get(name) if isinstance(sums, dict) else None, name, path))
