"""`MaskRCNN.train`: a script's data set and Config, through this package's pipeline and training step."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from mrcnn.data import augmenters
from mrcnn.data import dataset as native
from mrcnn.data.pipeline import DataConfig, make_pipeline
from mrcnn.matterport import native_config, targets, utils, weights_file
from mrcnn.training.freezing import set_trainable as native_set_trainable
from mrcnn.training.schedules import SGDWithL2


class NativeDataset(native.Dataset):
    """A data set of a script as the components of this package see it: images resized as its Config says.

    Nothing is loaded before it is needed. Masks are asked for once an image, and kept as RLE.

    Args:
        source: the script's, after `prepare`.
        config: the script's.
        skip: show the next image in place of one without objects, or of one that cannot be loaded, which is logged;
            the sixth of those is raised.
    """

    def __init__(self, source: Any, config: Any, skip: bool = False) -> None:
        super().__init__()
        self._source, self._config, self._skip = source, config, skip
        self.channels = int(config.IMAGE_CHANNEL_COUNT)
        self._crowds: dict[int, frozenset[int]] = {}
        self._shown: dict[int, int] = {}
        self._failed: set[int] = set()
        for number, info in enumerate(source.class_info[1:], start=1):
            self.add_class("all", number, info["name"])
        for number in source.image_ids:
            self.add_image(source.image_info[number]["source"], int(number), None)

    def load_image(self, index: int) -> np.ndarray:
        """u8[h, w, channels], resized; crops are left to the pipeline."""
        return self._load_image(self._instead(index))

    def _load_image(self, index: int) -> np.ndarray:
        image = np.asarray(self._source.load_image(index))
        if image.ndim == 2:
            image = np.repeat(image[..., np.newaxis], self.channels, axis=2)
        image = self._resized(image)[0]
        return image if image.dtype == np.uint8 else np.clip(np.round(image), 0, 255).astype(np.uint8)

    def annotations(self, index: int) -> tuple[Any, ...]:
        """The objects of image number `index`, or of the one that is shown in its place."""
        return super().annotations(self._instead(index))

    def _derive(self, index: int) -> tuple[Any, ...]:
        found = super()._derive(index)
        return tuple(replace(a, is_crowd=a.annotation_id in self._crowds[index]) for a in found)

    def _instead(self, index: int) -> int:
        """The image to show for that of a number."""
        if not self._skip:
            return index
        for step in range(len(self)):
            number = (index + step) % len(self)
            shown = self._shown.get(number)
            if shown is not None:
                break
            if self._usable(number):
                shown = number
                break
        else:
            raise ValueError("train: no image of the data set has an object in it")
        self._shown[index] = shown
        return shown

    def _usable(self, number: int) -> bool:
        if number in self._failed:
            return False
        try:
            self._load_image(number)
            return bool(super().annotations(number))
        except Exception:
            logging.exception("Error processing image %s", self._source.image_info[number])
            self._failed.add(number)
            if len(self._failed) > targets.MOST_ERRORS:
                raise
            return False

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """bool[h, w, n] and i32[n], resized as the image."""
        masks, class_ids = self._source.load_mask(index)
        masks, class_ids = np.asarray(masks), np.asarray(class_ids).astype(np.int32).reshape(-1)
        if masks.ndim == 3 and masks.shape[2] == len(class_ids):
            # Scripts say "nothing here" by a mask without a pixel, often of class 0.
            there = masks.any((0, 1)) & (class_ids != 0)
            masks, class_ids = masks[:, :, there], class_ids[there]
        self._crowds[index] = frozenset(np.flatnonzero(class_ids < 0).tolist())  # a crowd has its class' negative
        class_ids = np.abs(class_ids)
        if not masks.size:
            return np.zeros((*self.image_shape(index), 0), bool), np.zeros(0, np.int32)
        _, _, scale, padding, _ = self._resized(np.zeros((*masks.shape[:2], 1), np.uint8))
        return utils.resize_mask(masks, scale, padding).astype(bool), class_ids

    def image_shape(self, index: int) -> tuple[int, int]:
        """(height, width), without loading the image where the Config fixes it."""
        if self._config.IMAGE_RESIZE_MODE == "square":
            return (int(self._config.IMAGE_MAX_DIM),) * 2
        if index not in self._shapes:
            try:
                self._shapes[index] = self._load_image(index).shape[:2]
            except Exception:
                if not self._skip:
                    raise
                return 1, 1  # `_usable` will say what is wrong with it
        return self._shapes[index]

    def _resized(self, image: np.ndarray) -> Any:
        config = self._config
        if config.IMAGE_RESIZE_MODE != "crop":
            return utils.resize_image(
                image,
                min_dim=config.IMAGE_MIN_DIM,
                min_scale=config.IMAGE_MIN_SCALE,
                max_dim=config.IMAGE_MAX_DIM,
                mode=config.IMAGE_RESIZE_MODE,
            )
        h, w = image.shape[:2]
        scale = max(1, config.IMAGE_MIN_DIM / min(h, w), config.IMAGE_MIN_SCALE or 0)
        if scale != 1:
            image = utils.resize(image, (round(h * scale), round(w * scale)), preserve_range=True).astype(image.dtype)
        return image, None, scale, [(0, 0)] * 3, None


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
    data = native_config.recipe(config, learning_rate).data
    print(f"\nStarting at epoch {model.epoch}. LR={learning_rate}\n")
    print(f"Checkpoint Path: {model.checkpoint_path}")
    model.set_trainable(layer_regex)
    model.compile(learning_rate, config.LEARNING_MOMENTUM)
    if epochs <= model.epoch:
        return keras_model.history if getattr(keras_model, "history", None) else keras.callbacks.History()
    os.makedirs(model.log_dir, exist_ok=True)
    change = augmenters.Augmentation(augmentation, plain_sources) if augmentation else None
    batches = _batches(train_dataset, config, data, model.epoch, change)
    steps = max(1, int(config.VALIDATION_STEPS))
    check = None if val_dataset is None else _batches(val_dataset, config, data, model.epoch)
    return keras_model.fit(
        batches,
        initial_epoch=model.epoch,
        epochs=epochs,
        steps_per_epoch=max(1, int(config.STEPS_PER_EPOCH)),
        shuffle=False,  # the pipeline has
        callbacks=[*_tensorboard(model.log_dir), _Checkpoint(model.checkpoint_path), *callbacks],
        validation_data=check,
        validation_steps=None if check is None else steps,
    )


def _tensorboard(log_dir: str) -> list[Any]:
    """The callback that writes curves for TensorBoard, where that is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return []
    return [keras.callbacks.TensorBoard(log_dir=log_dir, write_graph=False)]


def _batches(dataset: Any, config: Any, data: DataConfig, seed: int, augmentation: Any = None) -> Any:
    source = NativeDataset(dataset, config, skip=True)
    # NumPy's generator, which scripts seed, steers the order.
    seed += int(np.random.randint(2**20))  # noqa: NPY002
    return make_pipeline(
        source,
        native_config.as_resized(native_config.model_config(config).input),
        data,
        int(config.BATCH_SIZE),
        training=True,
        seed=seed,
        repeat=True,
        augmentation=augmentation,
    )


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
        for layer in dict.fromkeys(layers[path] for path in paths if path in layers):
            if layer == "rpn_conv_shared":
                print("In model:  rpn_model")
            kind = "BatchNorm" if layer.startswith("bn") or "_bn" in layer else "Conv2D"
            print(f"{' ' * indent}{layer:20}   ({kind})")
