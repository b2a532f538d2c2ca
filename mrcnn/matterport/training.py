"""`MaskRCNN.train`: a script's data set and Config, through this package's model and training step."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.data import augmenters
from mrcnn.matterport import weights_file
from mrcnn.matterport.feed import Feed
from mrcnn.matterport.layers import in_order, layer_listing
from mrcnn.training.freezing import set_trainable as native_set_trainable
from mrcnn.training.schedules import SGDWithL2


class _Checkpoint(keras.callbacks.Callback):
    """Writes the weights after every epoch."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.save_weights(self.path.format(epoch=epoch + 1))


def train(
    model: Any,
    train_dataset: Any,
    val_dataset: Any,
    learning_rate: float,
    epochs: int,
    layer_regex: str,
    augmentation: Any,
    callbacks: Sequence[Any],
    plain_sources: Sequence[str] = (),
) -> Any:
    """`MaskRCNN.train`, with `layers` as a pattern.

    Args:
        model: matterport's MaskRCNN, in training mode.
    """
    config, keras_model = model.config, model.keras_model
    if not config.USE_RPN_ROIS:
        raise ValueError(
            "USE_RPN_ROIS = False: train() has no RoIs to hand in; leave it True, or call keras_model.fit_generator("
            "data_generator(..., random_rois=config.POST_NMS_ROIS_TRAINING), ...)"
        )
    print(f"\nStarting at epoch {model.epoch}. LR={learning_rate}\n")
    print(f"Checkpoint Path: {model.checkpoint_path}")
    model.set_trainable(layer_regex)
    model.compile(learning_rate, config.LEARNING_MOMENTUM)
    if epochs <= model.epoch:
        return keras_model.history if getattr(keras_model, "history", None) else keras.callbacks.History()
    os.makedirs(model.log_dir, exist_ok=True)
    if augmentation:
        augmenters.Augmentation(augmentation, plain_sources)  # refuses what is not known to be safe for masks
    feed = _feed(train_dataset, config, augmentation, plain_sources)
    check = None if val_dataset is None else _feed(val_dataset, config)
    try:
        return keras_model.fit(
            feed.batches(),
            initial_epoch=model.epoch,
            epochs=epochs,
            steps_per_epoch=max(1, int(config.STEPS_PER_EPOCH)),
            shuffle=False,  # the data generator has
            callbacks=[*_tensorboard(model.log_dir), _Checkpoint(model.checkpoint_path), *callbacks],
            validation_data=None if check is None else check.batches(),
            validation_steps=None if check is None else max(1, int(config.VALIDATION_STEPS)),
        )
    except tf.errors.OpError:
        for source in (feed, check):
            if source is not None and source.error is not None:
                raise source.error from None  # as it was raised in the script's own code
        raise


def _feed(dataset: Any, config: Any, augmentation: Any = None, plain_sources: Sequence[str] = ()) -> Feed:
    from mrcnn.matterport import model  # it imports this module

    return Feed(dataset, config, model.load_image_gt, model.compute_backbone_shapes, augmentation, plain_sources)


def _tensorboard(log_dir: str) -> list[Any]:
    """The callback that writes curves for TensorBoard, where that is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(log_dir=log_dir, write_graph=False)]


def compile_model(keras_model: Any, config: Any, learning_rate: float, momentum: float) -> None:
    """Compile with SGD, the gradient clipped by its global norm; weight decay is a part of the loss, as it was.

    With `PAPER` the decay is the paper's: that of the optimizer.
    """
    decay = float(config.WEIGHT_DECAY)
    keras_model.mean_square_decay = 0.0 if config.PAPER else decay
    clip = float(config.GRADIENT_CLIP_NORM) if config.GRADIENT_CLIP_NORM else None
    optimizer = SGDWithL2(
        float(learning_rate), momentum=float(momentum), l2=decay if config.PAPER else 0.0, global_clipnorm=clip
    )
    keras_model.compile(optimizer)


def set_trainable(keras_model: Any, config: Any, layer_regex: str, indent: int, verbose: int) -> None:
    """Train the weights whose layer of matterport's matches the pattern as a whole; print these layers."""
    layers = weights_file.layer_names(keras_model, config)
    if verbose > 0 and keras_model.name != "rpn_model":
        print("Selecting layers to train")
    paths = native_set_trainable(keras_model, lambda path: bool(re.fullmatch(layer_regex, layers.get(path, path))))
    if verbose > 0:
        chosen = {layers[path] for path in paths if path in layers}
        for line in layer_listing(name for name in in_order(set(layers.values())) if name in chosen):
            print(f"{' ' * indent}{line}")
