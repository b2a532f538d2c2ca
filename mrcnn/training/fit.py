"""Training a model on data sets: one device, several, or several machines; stopped at any time and resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.errors import InputError
from mrcnn.evaluation import compare_class_names
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.recipes import Recipe
from mrcnn.training.callbacks import EarlyStop, Evaluation, WaitTimer
from mrcnn.training.devices import is_multi_worker
from mrcnn.training.events import Events
from mrcnn.training.faults import TrainingError
from mrcnn.training.handover import Handover
from mrcnn.training.lock import lock_run
from mrcnn.training.loop import Loop
from mrcnn.training.plan import make_plan
from mrcnn.training.progress_log import ProgressLog
from mrcnn.training.run import Run
from mrcnn.training.run_folder import RunFolder
from mrcnn.training.setup import compile_model, model_for

_UNANSWERED = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
"""What TensorFlow's collectives raise where one of their members is silent."""


def train(
    model: MaskRCNN,
    train_data: Dataset,
    val_data: Dataset | None = None,
    *,
    recipe: Recipe,
    out: str | os.PathLike[str] | None = None,
    epochs: float | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    log: Callable[[str], None] | None = None,
    progress: bool = True,
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
        epochs: how often to go through `train_data`, in place of the recipe's `train.images`; 0.5: half of it.
        callbacks: further Keras callbacks.
        log: called with each line on the progress of training and validation, one every 30 seconds and one per epoch;
            None: lines on standard error, and a bar where that is a terminal.
        progress: False: nothing is reported.
        strategy: of `mrcnn.use_devices` or `mrcnn.join_workers`; None: the one the model was made under, else one
            device. `batch_size` images go to each device, and the learning rate follows the whole batch.
        optimizer: any of Keras', in place of the recipe's optimizer and schedule.
        resume: go on from the last whole checkpoint in `out`, if there is one.
        overwrite: start anew though `out` holds checkpoints, which are removed.
        augmentation: further random changes of images and objects; see `make_pipeline`.

    Returns:
        Keras' History; `history` holds each loss term, `data_wait` (share of time waiting for data), `images_per_s`,
        the learning rate and, with `val_data`, `val_box/AP`, `val_mask/AP`, ...

    Raises:
        InputError: a ValueError. The data set is empty, its classes do not fit the model, or `out` holds another run.
        DataError: the training set has no object to train on; or an image or an annotation cannot be used: names the
            image and the file, in the step that would have shown it.
        CheckpointError: the run in `out` cannot be resumed with these arguments.
        RunLockedError: another training writes to `out`.
        TrainingError: a loss or gradient is not finite and `train.on_nonfinite` is "stop"; or another machine is gone.
        SystemExit, KeyboardInterrupt: the process was asked to end (SIGTERM, Ctrl-C); a checkpoint was written first.

    Example:
        >>> recipe = mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn")
        >>> data = mrcnn.load_coco("train.json")                                              # doctest: +SKIP
        >>> model = recipe.build_model(data.class_names, data.category_ids)                   # doctest: +SKIP
        >>> history = mrcnn.train(model, data, recipe=recipe, out="RUN", epochs=10)           # doctest: +SKIP
    """
    if epochs is not None:
        recipe = _with_epochs(recipe, epochs, len(train_data))
    _check_arguments(model, train_data, val_data, recipe)
    config = recipe.train
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    strategy = strategy or model.distribute_strategy
    trained = model_for(model, strategy, config.precision)
    plan = make_plan(config, len(train_data), strategy.num_replicas_in_sync)
    variables = compile_model(trained, plan, config, strategy, optimizer)
    run = Run(
        trained,
        variables,
        recipe.with_model(trained.config),
        plan,
        strategy,
        train_data,
        val_data,
        None if out is None else Path(out),
    )
    try:
        locked = lock_run(run.folder) if run.folder is not None and run.is_chief else contextlib.nullcontext()
        with locked, _losing_machines(strategy):
            history = _train(run, callbacks, log, progress, resume, overwrite, augmentation)
        if config.weight_average:
            trained.optimizer.finalize_variable_values(variables)
        return history
    finally:
        if trained is not model:
            model.set_weights(trained.get_weights())


def _with_epochs(recipe: Recipe, epochs: float, num_images: int) -> Recipe:
    if not epochs > 0:
        raise InputError(f"epochs: expected a positive number, got {epochs}")
    images = max(1, round(epochs * num_images))
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, images=images))


def _check_arguments(model: MaskRCNN, train_data: Dataset, val_data: Dataset | None, recipe: Recipe) -> None:
    """Refuse what cannot be trained."""
    if len(train_data) == 0:
        raise InputError("train: the training set has no images")
    for role, data in (("training", train_data), ("validation", val_data)):
        if data is None:
            continue
        difference = compare_class_names(model.class_names, data.class_names, data=f"the {role} set")
        if difference is not None:
            raise InputError(f"train: {difference}")
        if getattr(model, "semantic_head", None) is not None:
            difference = compare_class_names(model.config.stuff_names, data.stuff_names, data=f"the {role} set")
            if difference is not None:
                raise InputError(f"train: stuff: {difference}")
    train_data.check_trainable()
    config = recipe.train
    if config.stop_after and val_data is None and config.best_by.lstrip("-").startswith("val_"):
        raise InputError(f"train.stop_after: {config.best_by} is never measured without a validation set")


def _train(
    run: Run,
    further: Sequence[keras.callbacks.Callback],
    log: Callable[[str], None] | None,
    progress: bool,
    resume: bool,
    overwrite: bool,
    augmentation: Any,
) -> keras.callbacks.History:
    """All steps that are left of a run."""
    config, shown = run.recipe.train, progress and run.is_chief
    timer, history = WaitTimer(run.plan.batch_size), keras.callbacks.History()
    history.epoch = []
    callbacks: list[keras.callbacks.Callback] = [timer]
    if run.val_data is not None:
        every = config.eval_every_epochs
        callbacks.append(Evaluation(run.val_data, every, wanted=config.best_by, progress=shown, log=log))
    keeper = None
    if run.folder is not None and run.is_chief:
        keeper = RunFolder(run.folder, extra={"recipe": run.recipe.to_dict()}, best_by=config.best_by)
        callbacks.append(keeper)
    if config.stop_after:
        callbacks.append(EarlyStop(config.stop_after, config.best_by))
    callbacks += further
    handover = Handover(run, callbacks, history)
    handover.begin(resume=resume, overwrite=overwrite)
    if run.folder is not None and run.is_chief:
        first_step, every = handover.position.step, config.eval_every_epochs
        callbacks.append(Events(run.folder / "events", first_step, run.val_data, run.recipe.data, every))
    if shown:
        callbacks.append(ProgressLog(log))
    listed = keras.callbacks.CallbackList(
        [*callbacks, history],
        add_history=False,
        model=run.model,
        verbose=0,
        epochs=run.plan.epochs,
        steps=run.plan.steps_per_epoch,
    )
    Loop(run, handover, listed, timer, keeper, augmentation).go()
    return history


@contextlib.contextmanager
def _losing_machines(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """What TensorFlow raises where another machine of the run does not answer, with what to do about it."""
    try:
        yield
    except _UNANSWERED as error:
        if not is_multi_worker(strategy):
            raise
        raise TrainingError(
            "another machine of this run is gone, or cannot be reached; start the same command again on all "
            f"machines to resume from the last checkpoint ({str(error).splitlines()[0][:200]})"
        ) from error
