"""Checkpoints of a run: everything a training run is, in one file, so that it resumes as if it had never stopped.

RUN/checkpoints/step_00001234.safetensors holds every variable of model, optimizer and running means, bit for bit, and
as JSON what the rest of the program needs to know. A file appears whole or not at all, and carries a checksum of the
JSON and of each array: what a disk damaged is set aside, and the checkpoint before is taken.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from mrcnn.errors import MrcnnError
from mrcnn.files import atomic_write
from mrcnn.modeling.variables import generated_names, named_variables
from mrcnn.weights.safetensors_file import KEY, SUM_KEY, checksum, header_metadata

logger = logging.getLogger("mrcnn")

FORMAT = "mrcnn-run/1"
FOLDER = "checkpoints"
DAMAGED = ".damaged"
"""Added to the name of a checkpoint that was found damaged."""
_NAME = re.compile(r"step_(\d+)\.safetensors")


class CheckpointError(MrcnnError, ValueError):
    """A checkpoint is damaged, or belongs to another run; the message names the file and what was expected."""


def run_variables(model: Any) -> dict[str, Any]:
    """All variables of a compiled model, its optimizer and its running means, by name, in a fixed order.

    Names do not depend on what the process built before: where Keras numbered layers, the numbers are left out.
    """
    named = {}
    has_generated = bool(generated_names(model)) if isinstance(model, keras.Model) else False
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables), ("mean", metrics)):
        for number, variable in enumerate(variables):
            name = _without_numbers(variable.name) if has_generated else variable.name
            named[f"{kind}/{number:05d}/{name}"] = variable
    return named


def _without_numbers(name: str) -> str:
    return re.sub(r"_\d+(?=_|$)", "", name)


def read_state(model: Any) -> dict[str, np.ndarray]:
    """Copies of `run_variables`. On several machines all must call it, for running means are summed over them."""
    return {name: np.array(variable.numpy(), order="C") for name, variable in run_variables(model).items()}


def weights_metadata(model: Any, averaged: Sequence[Any] = ()) -> dict[str, Any]:
    """What a checkpoint says of the model in it, so that it loads as weights without the run.

    Args:
        model: compiled, its optimizer built.
        averaged: the variables of which the optimizer keeps a running average, in the order it was built for; none
            where there is no average.

    Returns:
        model: the config; class_names; category_ids; weights: path of each of the model's variables -> name of the
        checkpoint's array with its value, or with its average, as evaluation and `model.safetensors` have it.
    """
    named = run_variables(model)
    by_variable = {id(variable): name for name, variable in named.items()}
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a LossScaleOptimizer
    averages = optimizer._model_variables_moving_average if averaged else []
    sources = {id(v): id(a) for v, a in zip(averaged, averages, strict=True)}
    category_ids = getattr(model, "category_ids", None)
    return {
        "model": model.config.to_dict(),
        "class_names": list(model.class_names),
        "category_ids": None if category_ids is None else [int(i) for i in category_ids],
        "weights": {
            path: by_variable[sources.get(id(variable), id(variable))]
            for path, variable in named_variables(model).items()
        },
    }


class Checkpoints:
    """The checkpoints in a run's folder: the last few, and the best.

    Args:
        run: the run's folder.
        keep: how many of the last to keep; the best is kept beside them.
        writes: False on all machines but one: then nothing is written or removed.
    """

    def __init__(self, run: str | os.PathLike[str], keep: int = 3, writes: bool = True) -> None:
        self.folder, self.keep, self.writes = Path(run) / FOLDER, max(1, keep), writes
        self.best: int | None = None  # step of the best checkpoint
        if writes and self.folder.is_dir():
            for leftover in self.folder.glob(".*.part.*"):  # of a training that was killed: one at a time writes here
                leftover.unlink(missing_ok=True)

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step_{step:08d}.safetensors"

    def steps(self) -> list[int]:
        """Steps with a checkpoint, the latest first."""
        if not self.folder.is_dir():
            return []
        return sorted((int(m[1]) for f in self.folder.iterdir() if (m := _NAME.fullmatch(f.name))), reverse=True)

    def save(self, step: int, model: Any, metadata: Mapping[str, Any], is_best: bool = False) -> Path | None:
        """Write the state of a run after `step` steps, then remove what need not be kept.

        Returns:
            The file; None where nothing was written, which is logged: a full disk must not end a training run.
        """
        state = read_state(model)
        if not self.writes:
            return None
        best = step if is_best else self.best
        content = {**metadata, "format": FORMAT, "step": step, "best_step": best}
        header = header_metadata(content, state)
        try:
            with atomic_write(self.path(step)) as temporary:
                safetensors.numpy.save_file(state, temporary, metadata=header)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
        except (OSError, safetensors.SafetensorError) as error:
            logger.error("%s: not written (%s); training goes on, older checkpoints stay", self.path(step), error)
            return None
        self.best = best
        for old in self.steps()[self.keep :]:
            if old != best:
                self.path(old).unlink(missing_ok=True)
        return self.path(step)

    def clear(self) -> None:
        """Remove all checkpoints."""
        if self.writes:
            for step in self.steps():
                self.path(step).unlink(missing_ok=True)

    def newest(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Metadata and arrays of the latest checkpoint that is whole; None if there is none.

        Damaged ones, later and earlier, are set aside under another name with a warning, so that only whole ones are
        counted when old ones are removed.
        """
        latest: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None
        for step in self.steps():
            try:
                whole = read_checkpoint(self.path(step))
            except CheckpointError as error:
                self._set_aside(step, error)
                continue
            if latest is None:
                latest = whole
                self.best = whole[0].get("best_step")
            if not self.writes:
                break  # the machine that writes looks at the others
        return latest

    def damaged(self) -> list[int]:
        """Steps whose checkpoint was set aside, the latest first."""
        if not self.folder.is_dir():
            return []
        names = (name.name.split(DAMAGED)[0] for name in self.folder.iterdir() if DAMAGED in name.name)
        return sorted((int(m[1]) for name in names if (m := _NAME.fullmatch(name))), reverse=True)

    def _set_aside(self, step: int, error: CheckpointError) -> None:
        """Rename a damaged checkpoint; nothing is overwritten."""
        path = self.path(step)
        if not self.writes:
            logger.warning("%s; trying the checkpoint before", error)
            return
        try:
            target = set_aside(path)
        except OSError as reason:
            raise CheckpointError(f"{error}, and cannot be renamed: {reason.strerror or reason}") from reason
        logger.warning("%s; it is set aside as %s", error, target.name)


def set_aside(path: Path) -> Path:
    """Give a damaged file another name, without replacing any; returns that name."""
    target, number = path.with_name(path.name + DAMAGED), 1
    while target.exists():
        target, number = path.with_name(f"{path.name}{DAMAGED}{number}"), number + 1
    return path.rename(target)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and arrays of one checkpoint of a run.

    Raises:
        CheckpointError: the file is damaged or is something else.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, "numpy") as file:
            header = file.metadata() or {}
            text = header.get(KEY, "{}")
            metadata = json.loads(text)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the checkpoint is damaged ({error})") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: no checkpoint of a training run, expected format {FORMAT!r}")
    if SUM_KEY in header and header[SUM_KEY] != str(zlib.crc32(text.encode())):  # absent in files of before
        raise CheckpointError(f"{path}: the checkpoint is damaged (its metadata is not what was written)")
    _check_metadata(metadata, str(path))
    sums = metadata.pop("crc32")
    for name, value in state.items():
        if value.size and sums.get(name) not in (checksum(value), zlib.crc32(value.tobytes())):  # the latter: of before
            raise CheckpointError(f"{path}: the checkpoint is damaged ({name} is not what was written)")
    missing = next((name for name in sums if name not in state), None)
    if missing is not None:
        raise CheckpointError(f"{path}: the checkpoint is damaged ({missing} is missing)")
    return metadata, state


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "crc32": dict,
    "step": int,
    "best_step": (int, type(None)),
}


def _check_metadata(metadata: Mapping[str, Any], source: str) -> None:
    """Refuse metadata without what every checkpoint has."""
    for name, kind in _FIELDS.items():
        if not isinstance(metadata.get(name), kind):
            raise CheckpointError(
                f"{source}: the checkpoint is damaged ({name} of its metadata is {metadata.get(name)!r:.40})"
            )


def _by_present_names(state: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """The state under the names of `run_variables`; earlier versions kept the numbers that Keras gave to layers."""
    present = {_without_numbers(name): name for name in names}
    return {present.get(_without_numbers(name), name): value for name, value in state.items()}


def restore(model: Any, state: Mapping[str, np.ndarray], source: str) -> None:
    """Put the arrays of a checkpoint into a compiled model with a built optimizer.

    Raises:
        CheckpointError: the model or the optimizer is not the one the checkpoint was written with.
    """
    variables = run_variables(model)
    state = _by_present_names(state, variables)
    for name, variable in variables.items():
        if name not in state or tuple(state[name].shape) != tuple(variable.shape):
            have = f"of shape {list(state[name].shape)}" if name in state else "none"
            raise CheckpointError(
                f"{source}: another model or optimizer, expected {name} of shape {list(variable.shape)}, found {have}"
            )
    if len(state) != len(variables):
        extra = next(name for name in state if name not in variables)
        raise CheckpointError(f"{source}: another model or optimizer, {extra} has no place in this one")
    for name, variable in variables.items():
        variable.assign(state[name])
