"""A run and its checkpoints: what a run starts from, and what it leaves to be resumed from."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from mrcnn.errors import InputError
from mrcnn.evaluation import compare_class_names
from mrcnn.recipes import Recipe
from mrcnn.training.callbacks import Resumable
from mrcnn.training.checkpoints import CheckpointError, Checkpoints, restore, weights_metadata
from mrcnn.training.data_digest import data_digest
from mrcnn.training.devices import num_workers
from mrcnn.training.provenance import record_start
from mrcnn.training.run import Position, Run
from mrcnn.training.run_folder import BEST_FILE
from mrcnn.weights.checkpoint import MODEL_FILE

logger = logging.getLogger("mrcnn")

_MAY_CHANGE = (  # fields of a recipe that a resumed run may have otherwise: they do not touch what is trained
    "on_nonfinite",
    "eval_every_epochs",
    "best_by",
    "stop_after",
    "checkpoint_images",
    "keep_checkpoints",
)


class Handover:
    """Hands a run's state to its checkpoints, and takes it from there.

    Args:
        run: with a folder, or without: then nothing is written.
        callbacks: the state of those that are `Resumable` goes along.
        history: Keras' log of epochs; goes along.
    """

    def __init__(
        self, run: Run, callbacks: Sequence[keras.callbacks.Callback], history: keras.callbacks.History
    ) -> None:
        self.run, self.history = run, history
        self.resumable = {type(c).__name__: c for c in callbacks if isinstance(c, Resumable)}
        self.position = Position()
        self.digest = data_digest(run.train_data)
        self.checkpoints: Checkpoints | None = None
        if run.folder is not None:
            self.checkpoints = Checkpoints(run.folder, run.recipe.train.keep_checkpoints, writes=run.is_chief)

    def begin(self, *, resume: bool, overwrite: bool) -> None:
        """Set the state to start from, and open the folder.

        Raises:
            InputError: the folder holds a run that is neither to be resumed nor overwritten.
            CheckpointError: the run in the folder is another one.
        """
        checkpoints, folder = self.checkpoints, self.run.folder
        if checkpoints is None or folder is None:
            return
        if overwrite and not resume:
            checkpoints.clear()
        steps = checkpoints.steps()
        if steps and not resume and self.run.is_chief:
            raise InputError(f"train: {folder} holds a run of {steps[0]} steps; resume it, or overwrite it")
        newest = checkpoints.newest() if resume else None
        if newest is not None:
            metadata, state = newest
            self._restore(metadata, state, str(checkpoints.path(metadata["step"])))
        elif resume and self.run.is_chief:
            _keep_models_of_lost_run(checkpoints, folder)
        if self.run.is_chief:
            self._record_start(folder)

    def save(self, is_best: bool = False) -> None:
        """Write a checkpoint of the run as it is; all machines must call this at the same step."""
        if self.checkpoints is None:
            return
        run = self.run
        metadata = {
            "recipe": run.recipe.to_dict(),
            "batch": run.plan.batch_size,
            "images": len(run.train_data),
            "data_digest": self.digest,
            **weights_metadata(run.model, run.variables if run.recipe.train.weight_average else ()),
            "callbacks": {name: callback.get_state() for name, callback in self.resumable.items()},
            "history": {name: [float(v) for v in values] for name, values in self.history.history.items()},
            "epochs": list(self.history.epoch),
            "epochs_done": self.position.epochs_done,
            "ended": bool(run.model.stop_training),
        }
        self.checkpoints.save(self.position.step, run.model, metadata, is_best)

    def _restore(self, metadata: dict[str, Any], state: dict[str, Any], source: str) -> None:
        run, config = self.run, self.run.recipe.train
        check_same_run(metadata, run, self.digest, source)
        restore(run.model, state, source)
        self.position.step, self.position.epochs_done = metadata["step"], metadata["epochs_done"]
        stored = metadata["recipe"]["train"]
        if metadata["ended"] and all(stored[name] == getattr(config, name) for name in ("stop_after", "best_by")):
            self.position.epochs_done = run.plan.epochs  # stopped early, and would be again
        for name, callback in self.resumable.items():
            if name in metadata["callbacks"]:
                callback.set_state(metadata["callbacks"][name])
        self.history.history, self.history.epoch = metadata["history"], metadata["epochs"]
        logger.info("%s: resuming after step %d of %d", source, self.position.step, run.plan.total_steps)

    def _record_start(self, folder: Path) -> None:
        run = self.run
        folder.mkdir(parents=True, exist_ok=True)
        run.recipe.save(folder / "recipe.yaml")
        record_start(
            folder,
            {
                "seed": run.recipe.train.seed,
                "first_step": self.position.step,
                "steps": run.plan.total_steps,
                "devices": run.strategy.num_replicas_in_sync,
                "machines": num_workers(run.strategy),
                "images_per_step": run.plan.batch_size,
                "training_set": {"file": run.train_data.path, "images": len(run.train_data)},
            },
        )


def _keep_models_of_lost_run(checkpoints: Checkpoints, folder: Path) -> None:
    """A run all of whose checkpoints are damaged starts anew: say so, and keep what it had trained."""
    damaged = checkpoints.damaged()
    if not damaged:
        return
    kept = []
    for name in (MODEL_FILE, BEST_FILE):
        path = folder / name
        target = path.with_name(f"{path.stem}_before_step_{damaged[0]:08d}{path.suffix}")
        if path.exists() and not target.exists():
            path.rename(target)
            kept.append(target.name)
    logger.warning(
        "%s: no whole checkpoint is left, %d damaged one%s set aside; the run starts anew at step 0, and its %d"
        " steps are lost%s",
        *(checkpoints.folder, len(damaged), " is" if len(damaged) == 1 else "s are", damaged[0]),
        f"; what they had trained is kept as {' and '.join(kept)}" if kept else "",
    )


def check_same_run(metadata: Mapping[str, Any], run: Run, digest: str, source: str) -> None:
    """Refuse to resume a run as another one.

    Args:
        metadata: of the checkpoint. Those of earlier versions have neither class names nor a digest of the data.
        run: what would be resumed with it.
        digest: of its training set, see `data_digest`.
        source: what messages call the checkpoint.

    Raises:
        CheckpointError: the recipes differ, or the classes, or what each step is made of; names every difference.
    """
    names = compare_class_names(
        metadata.get("class_names", run.model.class_names), run.model.class_names, "the run", "this model"
    )
    if names is not None:
        raise CheckpointError(f"{source}: cannot resume: {names}")
    theirs, ours = Recipe.from_dict(metadata["recipe"]).to_dict(), run.recipe.to_dict()
    differing = [path for path in _differences(theirs, ours) if path.rsplit(".", 1)[-1] not in _MAY_CHANGE]
    if metadata["batch"] != run.plan.batch_size:
        differing.append(f"images per step ({metadata['batch']}, now {run.plan.batch_size})")
    if metadata["images"] != len(run.train_data):
        differing.append(f"images in the training set ({metadata['images']}, now {len(run.train_data)})")
    if differing:
        raise CheckpointError(
            f"{source}: cannot resume: these fields differ from the run's recipe: {', '.join(differing)}"
        )
    if metadata.get("data_digest", digest) != digest:
        raise CheckpointError(
            f"{source}: cannot resume: the training set is another one (ids, sizes, classes or boxes differ from those "
            f"that the run was started with); train on {run.train_data.path or 'this data set'} in another folder"
        )


def _differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Dotted paths at which two plain values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(dict.fromkeys(itertools.chain(a, b)))
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{path}.{k}".strip("."))]
    return [] if a == b else [path]
