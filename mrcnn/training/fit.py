"""Training a model on data sets: one device, several, or several machines; stopped at any time and gone on with."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline import Share, make_pipeline
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.train_step import TrainStep
from mrcnn.recipes import REFERENCE_BATCH, Recipe
from mrcnn.training.callbacks import EarlyStop, Evaluation, Resumable, RunDirectory, WaitTimer
from mrcnn.training.checkpoints import CheckpointError, Checkpoints, restore, weights_metadata
from mrcnn.training.devices import is_multi_worker, num_workers, worker_index
from mrcnn.training.events import Events
from mrcnn.training.faults import TrainingError, find_fault, save_batch, say_if_stalled
from mrcnn.training.freezing import set_trainable
from mrcnn.training.provenance import record_start
from mrcnn.training.schedules import make_optimizer

logger = logging.getLogger("mrcnn")

_MOST_SKIPPED = 20  # steps in a row that are not finite: then skipping them mends nothing
_MAY_CHANGE = (  # fields of a recipe that a resumed run may have otherwise: they do not touch what is learnt
    "on_nonfinite",
    "eval_every_epochs",
    "best_by",
    "stop_after",
    "checkpoint_images",
    "keep_checkpoints",
)


def train(
    model: MaskRCNN,
    train_data: Dataset,
    val_data: Dataset | None = None,
    *,
    recipe: Recipe,
    out: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
    strategy: tf.distribute.Strategy | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    resume: bool = False,
    overwrite: bool = False,
    augmentation: Any = None,
) -> keras.callbacks.History:
    """Train `model` as the recipe says and keep the run in a folder.

    Args:
        model: built, with the weights to start from; changed in place.
        train_data: images with annotations.
        val_data: evaluated (box and mask AP) every `train.eval_every_epochs` epochs and at the end.
        recipe: its `data` and `train` parts decide; its `model` part only documents.
        out: folder for recipe.yaml, run.json, model.safetensors, best.safetensors, history.csv, curves.png,
            checkpoints/ and events/ (TensorBoard); None keeps nothing. Several machines must see the same folder.
        callbacks: further Keras callbacks.
        verbose: 0 silent, 1 progress bar, 2 a line per epoch.
        strategy: of `mrcnn.training.devices`; None: the one the model was made under, else one device. `batch_size`
            images go to each device, and the learning rate follows the whole batch.
        optimizer: any of Keras', in place of the recipe's optimizer and schedule.
        resume: go on from the last whole checkpoint in `out`, if there is one.
        overwrite: start anew though `out` holds checkpoints, which are removed.
        augmentation: further random changes of images and objects; see `make_pipeline`.

    Returns:
        Keras' History; `history` holds each loss term, `data_wait` (share of time waiting for data), `images_per_s`,
        the learning rate and, with `val_data`, `val_box/AP`, `val_mask/AP`, ...

    Raises:
        ValueError: the data set is empty, its classes do not fit the model, or `out` holds another run.
        DataError: an image or an annotation cannot be used; names the image and the file, in the step that would
            have shown it.
        TrainingError: a loss or gradient is not finite and `train.on_nonfinite` is "stop"; or another machine is gone.
        SystemExit, KeyboardInterrupt: the process was told to end (SIGTERM, ctrl-C); a checkpoint was written first.
    """
    if len(train_data) == 0:
        raise ValueError("train: the training set has no images")
    for role, data in (("training", train_data), ("validation", val_data)):
        if data is not None and tuple(data.class_names) != model.class_names:
            raise ValueError(
                f"train: the {role} set has classes {list(data.class_names)}, the model {list(model.class_names)}"
            )
    config = recipe.train
    if config.stop_after and val_data is None and config.best_by.lstrip("-").startswith("val_"):
        raise ValueError(f"train.stop_after: {config.best_by} is never measured without a validation set")
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    strategy = strategy or model.distribute_strategy
    trained = _trained_model(model, strategy, config.precision)
    run = _Run(trained, train_data, val_data, recipe, out, strategy, optimizer, overwrite and not resume)
    run.augmentation = augmentation
    try:
        return run.go(callbacks, verbose, resume)
    except tf.errors.OpError as error:
        fault = _data_fault(str(error))
        if fault is not None:
            raise DataError(fault) from None  # what TensorFlow adds are two tracebacks of its own worker threads
        if is_multi_worker(strategy):
            raise TrainingError(
                "another machine of this run is gone, or cannot be reached; start the same command again on all "
                f"machines to go on from the last checkpoint ({str(error).splitlines()[0][:200]})"
            ) from error
        raise
    finally:
        if trained is not model:
            model.set_weights(trained.get_weights())


def _trained_model(model: Any, strategy: tf.distribute.Strategy, precision: str) -> Any:
    """The model itself, or a twin with its weights where it was made for another strategy or another precision."""
    if model.distribute_strategy is strategy and (precision == "float32" or model.dtype_policy.name == precision):
        return model
    policy = keras.config.dtype_policy()
    try:
        if precision != "float32":
            keras.config.set_dtype_policy(precision)
        with strategy.scope():
            twin = type(model).from_config(model.get_config())
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights(model.get_weights())
    return twin


class _Run:
    """One training run: how long it is, what it reads, what it writes."""

    def __init__(
        self,
        model: Any,
        train_data: Dataset,
        val_data: Dataset | None,
        recipe: Recipe,
        out: str | os.PathLike[str] | None,
        strategy: tf.distribute.Strategy,
        optimizer: keras.optimizers.Optimizer | None,
        overwrite: bool,
    ) -> None:
        config = recipe.train
        self.model, self.train_data, self.val_data, self.strategy = model, train_data, val_data, strategy
        self.recipe, self.config = recipe.with_model(model.config), config
        self.num_replicas = strategy.num_replicas_in_sync
        self.is_chief = worker_index(strategy) == 0
        self.batch_size = config.batch_size * config.accumulate * self.num_replicas
        self.epochs = max(1, round(config.images / len(train_data)))
        self.steps_per_epoch = math.ceil(math.ceil(config.images / self.batch_size) / self.epochs)
        self.total_steps = self.epochs * self.steps_per_epoch
        self.step, self.epochs_done = 0, 0  # finished; the last steps of an epoch may be, its evaluation not
        self.augmentation: Any = None
        self.phases = [(0, config.train_layers)]
        self.phases += [(round(part * self.total_steps), layers) for part, layers in config.unfreeze]
        self.variables = self._compile(optimizer)
        self.folder = None if out is None else Path(out)
        self.checkpoints = None
        if self.folder is not None:
            self.checkpoints = Checkpoints(self.folder, config.keep_checkpoints, writes=self.is_chief)
            if overwrite:
                for step in self.checkpoints.steps():
                    self.checkpoints.path(step).unlink(missing_ok=True)
        self.stopped_by: int | None = None  # signal number
        self._all_is_saved = False
        self._skipped = 0

    def _compile(self, optimizer: keras.optimizers.Optimizer | None) -> list[Any]:
        """Compile, with an optimizer for every weight that trains at any time; returns those weights."""
        chosen: dict[int, Any] = {}
        for _, layers in reversed(self.phases):
            set_trainable(self.model, layers)
            chosen |= {id(v): v for v in self.model.trainable_variables}
        variables = [v for v in self.model.variables if id(v) in chosen]
        by_recipe = optimizer is None
        with self.strategy.scope():
            if optimizer is None:
                optimizer = make_optimizer(self.config, self.batch_size, self.total_steps)
            self.model.compile(optimizer)
            self.model.optimizer.build(variables)
        if isinstance(self.model, TrainStep):
            self.model.num_parts = self.config.accumulate
            self.model.recompute_backbone = self.config.recompute_backbone
            norm = self.model.config.backbone.norm
            if self.config.recompute_backbone and norm in ("bn", "sync_bn"):
                raise ValueError(f"train.recompute_backbone: backbone norm {norm} would count each batch twice")
        elif self.config.accumulate > 1:
            raise ValueError(f"train.accumulate: {type(self.model).__name__} has no step that can be taken in parts")
        if self.is_chief and by_recipe:
            rate = self.config.learning_rate
            logger.info(
                "%d device%s, %d images a step, learning rate %g x %d / %d = %g, %d steps",
                *(self.num_replicas, "s" * (self.num_replicas > 1), self.batch_size, rate, self.batch_size),
                *(REFERENCE_BATCH, rate * self.batch_size / REFERENCE_BATCH, self.total_steps),
            )
        return variables

    def go(self, callbacks: Sequence[Any], verbose: int | str, resume: bool) -> keras.callbacks.History:
        """All steps that are left."""
        config = self.config
        timer, history = WaitTimer(self.batch_size), keras.callbacks.History()
        history.epoch = []
        stages: list[Any] = [timer]
        if self.val_data is not None:
            stages.append(Evaluation(self.val_data, config.eval_every_epochs, wanted=config.best_by))
        keeper = None
        if self.folder is not None and self.is_chief:
            keeper = RunDirectory(self.folder, extra={"recipe": self.recipe.to_dict()}, best_by=config.best_by)
            stages.append(keeper)
        if config.stop_after:
            stages.append(EarlyStop(config.stop_after, config.best_by))
        stages += callbacks
        self._begin(stages, history, resume)
        if self.folder is not None and self.is_chief:
            stages.append(
                Events(self.folder / "events", self.step, self.val_data, self.recipe.data, config.eval_every_epochs)
            )
        if verbose == "auto":
            verbose = 1
        listed = keras.callbacks.CallbackList(
            [*stages, history],
            add_history=False,
            add_progbar=verbose != 0 and self.is_chief,
            model=self.model,
            verbose=verbose,
            epochs=self.epochs,
            steps=self.steps_per_epoch,
        )
        self.model.stop_training = False
        past = {name: list(values) for name, values in history.history.items()}, list(history.epoch)
        listed.on_train_begin()
        history.history, history.epoch = past
        with self._signals():
            logs: dict[str, float] = {}
            batches = self._batches()
            for epoch in range(self.epochs_done, self.epochs):
                logs = self._epoch(epoch, batches, timer, listed, stages, history)
                if self.val_data is not None:  # an evaluation can take long; what was learnt must not wait for it
                    self._save(stages, history)
                with averaged_weights(self.model, self.variables, self.config.weight_average), self._leaving_at_once():
                    listed.on_epoch_end(epoch, logs)
                self.epochs_done = epoch + 1
                self._save(stages, history, is_best=keeper is not None and keeper.is_best)
                self._leave_if_told(written=True)
                if self.model.stop_training:
                    break
            listed.on_train_end(logs)
        if self.config.weight_average:
            self.model.optimizer.finalize_variable_values(self.variables)
        return history

    def _begin(self, stages: Sequence[Any], history: keras.callbacks.History, resume: bool) -> None:
        """The state to start from, and the folder."""
        if self.folder is None or self.checkpoints is None:
            return
        if self.checkpoints.steps() and not resume and self.is_chief:
            raise ValueError(
                f"train: {self.folder} holds a run of {self.checkpoints.steps()[0]} steps; resume it, or overwrite it"
            )
        found = self.checkpoints.newest() if resume else None
        if found is not None:
            metadata, state = found
            source = str(self.checkpoints.path(metadata["step"]))
            self._check_same_run(metadata, source)
            restore(self.model, state, source)
            self.step, self.epochs_done = metadata["step"], metadata["epochs_done"]
            if metadata["ended"] and all(
                metadata["recipe"]["train"][name] == getattr(self.config, name) for name in ("stop_after", "best_by")
            ):
                self.epochs_done = self.epochs  # stopped early, and would be again
            states = metadata["callbacks"]
            for stage in stages:
                if isinstance(stage, Resumable) and type(stage).__name__ in states:
                    stage.set_state(states[type(stage).__name__])
            history.history, history.epoch = metadata["history"], metadata["epochs"]
            logger.info("%s: going on after step %d of %d", source, self.step, self.total_steps)
        if self.is_chief:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.recipe.save(self.folder / "recipe.yaml")
            record_start(
                self.folder,
                {
                    "seed": self.config.seed,
                    "first_step": self.step,
                    "steps": self.total_steps,
                    "devices": self.num_replicas,
                    "machines": num_workers(self.strategy),
                    "images_per_step": self.batch_size,
                    "training_set": {"file": self.train_data.path, "images": len(self.train_data)},
                },
            )

    def _check_same_run(self, metadata: Mapping[str, Any], source: str) -> None:
        theirs, ours = Recipe.from_dict(metadata["recipe"]).to_dict(), self.recipe.to_dict()
        differing = [path for path in _differences(theirs, ours) if path.rsplit(".", 1)[-1] not in _MAY_CHANGE]
        if metadata["batch"] != self.batch_size:
            differing.append(f"images a step ({metadata['batch']}, now {self.batch_size})")
        if metadata["images"] != len(self.train_data):
            differing.append(f"images in the training set ({metadata['images']}, now {len(self.train_data)})")
        if differing:
            raise CheckpointError(f"{source}: a run with other config cannot be gone on with: {', '.join(differing)}")

    def _batches(self) -> Iterator[Any]:
        """Batches from the current step on, without end; what a step takes."""
        local = self.num_replicas // num_workers(self.strategy)
        share = Share(self.num_replicas, worker_index(self.strategy) * local, local)

        def make(_: Any = None) -> tf.data.Dataset:
            return make_pipeline(
                self.train_data,
                self.recipe,
                batch_size=self.batch_size,
                training=True,
                seed=self.config.seed,
                repeat=True,
                start_batch=self.step,
                share=share,
                augmentation=self.augmentation,
            )

        batches = make() if self.num_replicas == 1 else self.strategy.distribute_datasets_from_function(make)
        self._spec = batches.element_spec
        return iter(batches)

    def _step_function(self) -> Any:
        """One step on all devices, as a graph for the weights that train now."""
        strategy, model = self.strategy, self.model

        def on_replica(batch: Any, leave: tf.Tensor) -> dict[str, tf.Tensor]:
            logs = dict(model.train_step(batch))
            if is_multi_worker(strategy):  # all machines must stop after the same step
                # A tensor of its own on this device: an argument of the graph lies on none.
                logs["leave"] = tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(leave))
            return logs

        @tf.function(input_signature=[self._spec, tf.TensorSpec([], tf.float32)], autograph=False)
        def step(batch: Any, leave: tf.Tensor) -> dict[str, Any]:
            return strategy.run(on_replica, args=(batch, leave))

        def local(batch: Any) -> dict[str, float]:
            logs = step(batch, tf.constant(float(self.stopped_by is not None)))
            logs = {name: float(strategy.experimental_local_results(value)[0]) for name, value in logs.items()}
            if logs.pop("leave", 0.0) and self.stopped_by is None:
                self.stopped_by = signal.SIGTERM
            return logs

        return local

    def _epoch(
        self, epoch: int, batches: Iterator[Any], timer: WaitTimer, listed: Any, stages: Any, history: Any
    ) -> dict[str, float]:
        begin = self.step - epoch * self.steps_per_epoch
        if begin == 0:
            self.model.reset_metrics()
        listed.on_epoch_begin(epoch)
        logs: dict[str, float] = {}
        for number in range(begin, self.steps_per_epoch):
            self._start_phase()
            listed.on_train_batch_begin(number)
            with timer.waiting(), say_if_stalled():
                batch = next(batches)
            logs = self._function(batch)
            if not math.isfinite(logs["loss"]):
                self._not_finite(batch, stages, history)
                logs = {name: value for name, value in logs.items() if name != "loss"}
            else:
                self._skipped = 0
            self.step += 1
            listed.on_train_batch_end(number, logs)
            every = self.config.checkpoint_images // self.batch_size
            written = number + 1 < self.steps_per_epoch and every > 0 and self.step % every == 0
            if written:
                self._save(stages, history)
            if number + 1 < self.steps_per_epoch:
                self._leave_if_told(written, stages, history)
            if self.model.stop_training:
                break
        return {**logs, **{k: float(v) for k, v in self.model.get_metrics_result().items()}}

    def _start_phase(self) -> None:
        """Choose what trains from the current step on; make the step anew where that changes."""
        phase = [layers for start, layers in self.phases if start <= self.step][-1]
        if getattr(self, "_phase", None) != phase:
            set_trainable(self.model, phase)
            self._phase, self._function = phase, self._step_function()

    def _save(self, stages: Sequence[Any], history: keras.callbacks.History, is_best: bool = False) -> None:
        if self.checkpoints is None:
            return
        metadata = {
            "recipe": self.recipe.to_dict(),
            "batch": self.batch_size,
            "images": len(self.train_data),
            **weights_metadata(self.model, self.variables if self.config.weight_average else ()),
            "callbacks": {type(s).__name__: s.get_state() for s in stages if isinstance(s, Resumable)},
            "history": {name: [float(v) for v in values] for name, values in history.history.items()},
            "epochs": list(history.epoch),
            "epochs_done": self.epochs_done,
            "ended": bool(self.model.stop_training),
        }
        self.checkpoints.save(self.step, self.model, metadata, is_best)

    def _not_finite(self, batch: Any, stages: Sequence[Any], history: Any) -> None:
        """A step was left out because its loss or gradient was not finite: say why, then stop or go on."""
        self._skipped += 1
        stops = self.config.on_nonfinite == "stop" or self._skipped > _MOST_SKIPPED
        if not isinstance(self.model, TrainStep):
            raise TrainingError(f"step {self.step + 1}: the loss is not finite")
        arrays = _local_arrays(batch, self.strategy)
        fault = find_fault(self.model, arrays, self.step + 1)
        message = str(fault)
        if self.folder is not None:
            name = f"nonfinite_step{self.step + 1:08d}_worker{worker_index(self.strategy)}.npz"
            with contextlib.suppress(OSError):
                path = save_batch(self.folder / name, arrays, fault, self.model.class_names)
                message += f"; the batch is in {path}, see it with: mrcnn inspect --data {path} --out DIR"
        if stops:
            self._save(stages, history)
            raise TrainingError(
                message + ("" if self._skipped > _MOST_SKIPPED else "; train.on_nonfinite=skip passes over such steps")
            )
        logger.warning("%s; the step is skipped", message)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and the first ctrl-C end the run after the step, with a checkpoint; the second ctrl-C at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def told(number: int, _: Any) -> None:
            if self._all_is_saved:
                logger.warning(
                    "stopped after step %d of %d; resume the run in %s", self.step, self.total_steps, self.folder
                )
                raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
            if number == signal.SIGINT and (self.stopped_by is not None or self.checkpoints is None):
                raise KeyboardInterrupt
            self.stopped_by = number
            logger.warning("told to stop; the run ends after this step")

        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _leaving_at_once(self) -> Iterator[None]:
        """Around what can be done again after a resume: a signal needs no wait for its end."""
        self._all_is_saved = self.checkpoints is not None and self.val_data is not None
        try:
            yield
        finally:
            self._all_is_saved = False

    def _leave_if_told(self, written: bool, stages: Sequence[Any] = (), history: Any = None) -> None:
        if self.stopped_by is None:
            return
        if not written:
            self._save(stages, history)
        where = "" if self.folder is None else f"; resume the run in {self.folder}"
        logger.warning("stopped after step %d of %d%s", self.step, self.total_steps, where)
        if self.stopped_by == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.stopped_by)


@contextlib.contextmanager
def averaged_weights(model: Any, variables: Sequence[Any], momentum: float = 1.0) -> Iterator[None]:
    """The model with the running average of its weights, which the optimizer keeps; afterwards with its own again.

    Args:
        model: compiled.
        variables: those the optimizer was built for, in that order.
        momentum: of the average; 0: there is none, and nothing changes.
    """
    if not momentum:
        yield
        return
    own = [v.numpy() for v in variables]
    model.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def _local_arrays(batch: Mapping[str, Any], strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """The images of a step on all devices of this machine."""
    parts = {key: strategy.experimental_local_results(value) for key, value in batch.items()}
    return {key: np.concatenate([np.asarray(part) for part in values]) for key, values in parts.items()}


def _differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Dotted paths at which two plain values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(dict.fromkeys(itertools.chain(a, b)))
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{path}.{k}".strip("."))]
    return [] if a == b else [path]


def _data_fault(message: str) -> str | None:
    """What the data component said, out of TensorFlow's report on a worker; None where it is about something else."""
    found = re.search(r"\bDataError: (.*?)\s*(?:\nTraceback |\n\n|\Z)", message, re.DOTALL)
    return found.group(1) if found else None
