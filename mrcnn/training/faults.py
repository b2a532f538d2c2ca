"""A step that went wrong, taken apart: which loss, layer and images; its batch is kept for `mrcnn inspect`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn.data.pipeline import images_in_work
from mrcnn.errors import MrcnnError
from mrcnn.files import atomic_write

logger = logging.getLogger("mrcnn")

_NAMED = 6  # of a longer list, so many are shown


class TrainingError(MrcnnError, RuntimeError):
    """Training cannot go on; the message says what was found and what to do about it."""


@dataclasses.dataclass(frozen=True)
class TrainingFault:
    """What is not finite in a step, in the order in which it is computed.

    weights: variables that were so before the step. layer: the first layer whose output is, though its input is not.
    terms: losses. gradients: variables. image_ids: images whose losses are so when taken alone.
    """

    step: int
    weights: tuple[str, ...]
    layer: str | None
    terms: tuple[str, ...]
    gradients: tuple[str, ...]
    image_ids: tuple[int, ...]
    batch_ids: tuple[int, ...]

    def __str__(self) -> str:
        parts = [
            ("weights", ", ".join(self.weights[:_NAMED])),
            ("first in layer", self.layer or ""),
            ("loss", ", ".join(self.terms)),
            ("gradient of", ", ".join(self.gradients[:_NAMED])),
        ]
        places = "; ".join(f"{name} {what}" for name, what in parts if what) or "not again when computed a second time"
        ids = self.image_ids or self.batch_ids
        return f"step {self.step}: loss or gradient is not finite ({places}); image ids {', '.join(map(str, ids))}"


def find_fault(model: Any, batch: Mapping[str, Any], step: int) -> TrainingFault:
    """Compute a step again without an update, looking at everything on the way.

    Args:
        model: a `TrainStep` whose weights are those before the step.
        batch: the images of the step, as arrays or tensors.
        step: its number.
    """
    batch = {key: tf.convert_to_tensor(value) for key, value in batch.items()}
    weights = tuple(_path(v, model) for v in model.variables if not _is_finite(v.numpy()))
    variables = model.trainable_variables
    with _first_bad_layer() as layer, tf.GradientTape() as tape:
        terms = {name: term.mean() for name, term in model.batch_terms(batch, training=False).items()}
        total = tf.add_n(list(terms.values()))
    gradients = tape.gradient(total, variables)
    bad = [_path(v, model) for v, g in zip(variables, gradients, strict=True) if g is not None and not _is_finite(g)]
    image_ids = []
    rows = batch["image_id"].numpy().tolist()
    for i, image_id in enumerate(rows):
        alone = model.batch_terms({key: value[i : i + 1] for key, value in batch.items()}, training=False)
        if not all(_is_finite(term.mean()) for term in alone.values()):
            image_ids.append(image_id)
    return TrainingFault(
        step,
        weights,
        layer[0] if layer else None,
        tuple(name for name, value in terms.items() if not _is_finite(value)),
        tuple(bad),
        tuple(image_ids),
        tuple(rows),
    )


def _path(variable: Any, model: Any) -> str:
    return variable.path.removeprefix(f"{model.name}/")


def _is_finite(value: Any) -> bool:
    return all(
        bool(np.isfinite(np.asarray(tf.cast(tensor, tf.float32))).all())
        for tensor in tf.nest.flatten(value)
        if hasattr(tensor, "dtype") and tf.as_dtype(tensor.dtype).is_floating
    )


@contextlib.contextmanager
def _first_bad_layer() -> Iterator[list[str]]:
    """A list that will hold the name of the first layer that turns finite input into something else."""
    places: list[str] = []
    call = keras.layers.Layer.__call__

    def looked_at(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = call(self, *args, **kwargs)
        if not places and tf.executing_eagerly() and not _is_finite(output):
            places.append(f"{self.path or self.name}" + ("" if _is_finite((args, kwargs)) else " (its input was not)"))
        return output

    keras.layers.Layer.__call__ = looked_at
    try:
        yield places
    finally:
        keras.layers.Layer.__call__ = call


def save_batch(path: Path, batch: Mapping[str, Any], fault: TrainingFault, class_names: tuple[str, ...]) -> Path:
    """Write a batch and what was found in it to an .npz file; `mrcnn inspect FILE` shows it."""
    arrays: dict[str, Any] = {key: np.asarray(value) for key, value in batch.items()}
    about = json.dumps({**dataclasses.asdict(fault), "message": str(fault), "class_names": list(class_names)})
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(about), **arrays)
    return path


@contextlib.contextmanager
def log_if_stalled(seconds: float = 60.0) -> Iterator[None]:
    """Log what the pipeline is reading if the body, which waits for a batch, takes longer; again at twice the time."""
    done, begin = threading.Event(), time.monotonic()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            reading = "; ".join(f"{name} for {since:.0f} s" for name, since in images_in_work()[:_NAMED])
            passed = time.monotonic() - begin
            logger.warning("no batch for %.0f s; being read: %s", passed, reading or "nothing: all threads are idle")
            wait *= 2

    thread = threading.Thread(target=watch, name="mrcnn-stall", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
