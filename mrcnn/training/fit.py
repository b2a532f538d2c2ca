"""Training a model on data sets with Keras' own `fit`."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline import make_pipeline
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.recipes import Recipe
from mrcnn.training.callbacks import Evaluation, RunDirectory, WaitTimer
from mrcnn.training.freezing import set_trainable
from mrcnn.training.schedules import make_optimizer


def train(
    model: MaskRCNN,
    train_data: Dataset,
    val_data: Dataset | None = None,
    *,
    recipe: Recipe,
    out: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> keras.callbacks.History:
    """Train `model` as the recipe says and keep the run in a folder.

    Args:
        model: built, with the weights to start from; changed in place.
        train_data: pictures with annotations.
        val_data: evaluated (box and mask AP) every `train.eval_every_epochs` epochs and at the end.
        recipe: its `data` and `train` parts decide; its `model` part only documents.
        out: folder for recipe.yaml, model.safetensors, best.safetensors, history.csv and curves.png; None keeps
            nothing.
        callbacks: further Keras callbacks.
        verbose: 0 silent, 1 progress bar, 2 a line per epoch.

    Returns:
        Keras' History; `history` holds each loss term, `data_wait` (share of time waiting for data), the learning
        rate and, with `val_data`, `val_box/AP`, `val_mask/AP`, ...

    Raises:
        ValueError: the data set is empty, or its classes do not fit the model.
        DataError: a picture or an annotation cannot be used; names the picture and the file, in the step that would
            have shown it.
    """
    if len(train_data) == 0:
        raise ValueError("train: the training set has no pictures")
    for role, data in (("training", train_data), ("validation", val_data)):
        if data is not None and tuple(data.class_names) != model.class_names:
            raise ValueError(
                f"train: the {role} set has classes {list(data.class_names)}, the model {list(model.class_names)}"
            )
    config = recipe.train
    keras.utils.set_random_seed(config.seed)
    total_steps = math.ceil(config.images / config.batch_size)
    epochs = max(1, round(config.images / len(train_data)))
    steps_per_epoch = math.ceil(total_steps / epochs)
    set_trainable(model, config.train_layers)
    model.compile(make_optimizer(config, config.batch_size, epochs * steps_per_epoch))

    batches = make_pipeline(train_data, recipe.data, config.batch_size, training=True, seed=config.seed, repeat=True)
    timer = WaitTimer()
    stages: list[keras.callbacks.Callback] = [timer]
    if val_data is not None:
        stages.append(Evaluation(val_data, config.eval_every_epochs))
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        kept = dataclasses.replace(recipe, model=model.config)
        kept.save(folder / "recipe.yaml")
        stages.append(RunDirectory(folder, extra={"recipe": kept.to_dict()}))
    try:
        return model.fit(
            timer.wrap(batches),
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            callbacks=[*stages, *callbacks],
            verbose=verbose,
            shuffle=False,  # the pipeline does; Keras warns that it cannot
        )
    except tf.errors.OpError as error:
        fault = _data_fault(str(error))
        if fault is None:
            raise
        raise DataError(fault) from None  # what TensorFlow adds are two tracebacks of its own worker threads


def _data_fault(message: str) -> str | None:
    """What the data room said, out of TensorFlow's report on a worker; None where it is about something else."""
    found = re.search(r"\bDataError: (.*?)\s*(?:\nTraceback |\n\n|\Z)", message, re.DOTALL)
    return found.group(1) if found else None
