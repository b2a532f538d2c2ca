"""`mrcnn.model` of matterport: `MaskRCNN(mode, config, model_dir)` and the functions beside it."""

from __future__ import annotations

import datetime
import logging
import multiprocessing  # noqa: F401 - a name of this module
import os
import random  # noqa: F401
import re  # noqa: F401
from collections import OrderedDict  # noqa: F401
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.matterport import checkpoint_paths, native_config, training, weights_file
from mrcnn.matterport import utils as utils
from mrcnn.matterport.checkpoint_paths import LastCheckpoint as LastCheckpoint
from mrcnn.matterport.detector import Detector
from mrcnn.matterport.detector import log as log
from mrcnn.matterport.eager import eagerly
from mrcnn.matterport.generator import Samples, batches_of
from mrcnn.matterport.graph import *  # noqa: F403 - names that scripts take from this module, as the two below
from mrcnn.matterport.graph_boxes import *  # noqa: F403
from mrcnn.matterport.graph_losses import *  # noqa: F403
from mrcnn.matterport.graph_networks import *  # noqa: F403
from mrcnn.matterport.images import compose_image_meta as compose_image_meta
from mrcnn.matterport.images import compute_backbone_shapes as compute_backbone_shapes
from mrcnn.matterport.images import load_image_gt as load_image_gt
from mrcnn.matterport.images import mold_image as mold_image
from mrcnn.matterport.images import parse_image_meta as parse_image_meta
from mrcnn.matterport.images import parse_image_meta_graph as parse_image_meta_graph
from mrcnn.matterport.images import unmold_image as unmold_image
from mrcnn.matterport.keras_model import KerasModel, LayerView
from mrcnn.matterport.names import engine, imported
from mrcnn.matterport.targets import build_detection_targets as build_detection_targets
from mrcnn.matterport.targets import build_rpn_targets as build_rpn_targets
from mrcnn.matterport.targets import generate_random_rois as generate_random_rois

# Names that scripts take from here because matterport's module had imported them.
K, KL, KM, KE = keras.backend, keras.layers, keras.models, engine()
_IMPORTED = {"LooseVersion": "packaging.version:Version"}


def __getattr__(name: str) -> Any:
    return imported(__name__, _IMPORTED, name)


_log = logging.getLogger("mrcnn")

LAYERS = {
    "heads": r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "3+": r"(res3.*)|(bn3.*)|(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "4+": r"(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "5+": r"(res5.*)|(bn5.*)|(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)",
    "all": ".*",
}
"""Names of the parts that `train` takes, and the layers they stand for."""


def data_generator(
    dataset: Any,
    config: Any,
    shuffle: bool = True,
    augment: bool = False,
    augmentation: Any = None,
    random_rois: int = 0,
    batch_size: int = 1,
    detection_targets: bool = False,
    no_augmentation_sources: Any = None,
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Endless batches as matterport's network took them; training here has a pipeline of its own.

    Yields:
        ([images f32[B, h, w, 3] less the mean, image_meta, rpn_match i32[B, A, 1], rpn_bbox, gt_class_ids i32[B, G],
        gt_boxes i32[B, G, 4], gt_masks [B, h, w, G]], []). With `random_rois` also rpn_rois i32[B, random_rois, 4];
        with `detection_targets` then rois, and as outputs those of `build_detection_targets`. Images without objects
        are left out; the sixth image that cannot be loaded raises.
    """
    samples = Samples(
        load_image_gt,
        mold_image,
        compute_backbone_shapes,
        dataset,
        config,
        shuffle=shuffle,
        augment=augment,
        augmentation=augmentation,
        plain_sources=no_augmentation_sources,
        random_rois=int(random_rois),
        detection_targets=detection_targets,
    )
    return batches_of(samples, config, batch_size)


# The model


class MaskRCNN(Detector):
    """A model for training or for detection; what it does with images is in `Detector`.

    Args:
        mode: "training" or "inference".
        config: a `Config`.
        model_dir: folder of logs and checkpoints.

    Attributes:
        keras_model: the model itself.
        epoch: epochs trained so far. log_dir, checkpoint_path: where the next ones go.
    """

    def __init__(self, mode: str, config: Any, model_dir: Any) -> None:
        assert mode in ["training", "inference"]
        self.mode = mode
        self.config = config
        self.model_dir = model_dir
        self.set_log_dir()
        self.keras_model = self.build(mode=mode, config=config)

    def build(self, mode: str, config: Any) -> KerasModel:
        """The Keras model of a `Config`.

        Raises:
            Exception: IMAGE_SHAPE is not divisible by 64.
            ValueError: the Config asks for what this package does not have; names the attribute.
        """
        assert mode in ["training", "inference"]
        h, w = config.IMAGE_SHAPE[:2]
        if h % 64 or w % 64:
            raise Exception(
                "Image size must be dividable by 2 at least 6 times to avoid fractions when downscaling and upscaling."
                " For example, use 256, 320, 384, 448, 512, ... etc. "
            )
        model = eagerly(self._build, config)
        model.mode = mode
        return model

    @staticmethod
    def _build(config: Any) -> KerasModel:
        model = KerasModel(native_config.model_config(config), name="mask_rcnn")
        model.source = config
        return model

    # Files

    def find_last(self) -> str:
        """The newest checkpoint of this NAME below `model_dir`.

        Raises:
            FileNotFoundError: there is none.
        """
        return checkpoint_paths.find_last(self.model_dir, self.config.NAME)

    def load_weights(self, filepath: Any, by_name: bool = False, exclude: Sequence[str] | None = None) -> None:
        """Load weights; see `weights_file.load`. A checkpoint of `train` also sets the epoch to go on from."""
        filepath = str(filepath)
        report = eagerly(
            weights_file.load, self.keras_model, self.config, filepath, by_name or bool(exclude), exclude or ()
        )
        self.keras_model.load_report = report
        self.set_log_dir(filepath)

    def get_imagenet_weights(self) -> str:
        """The path of ResNet-50's ImageNet weights, fetched once by Keras."""
        return keras.utils.get_file(
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            cache_subdir="models",
            md5_hash="a268eb855778b3df3c7506639542a6af",
        )

    def set_log_dir(self, model_path: Any = None) -> None:
        """Start a new folder and epoch 0, or continue those of a checkpoint's path."""
        self.epoch, started = 0, datetime.datetime.now()
        stated = checkpoint_paths.time_and_epoch(str(model_path)) if model_path else None
        if stated is not None:
            started, self.epoch = stated
            print(f"Re-starting from epoch {self.epoch}")
        name = self.config.NAME.lower()
        self.log_dir = os.path.join(str(self.model_dir), f"{name}{started:%Y%m%dT%H%M}")
        self.checkpoint_path = os.path.join(self.log_dir, f"mask_rcnn_{name}_{{epoch:04d}}.h5")

    # Training

    def compile(self, learning_rate: float, momentum: float) -> None:
        """Prepare `keras_model` for training, with fresh momentum."""
        training.compile_model(self.keras_model, self.config, learning_rate, momentum)

    def set_trainable(self, layer_regex: str, keras_model: Any = None, indent: int = 0, verbose: int = 1) -> None:
        """Train the layers whose whole name, as matterport's, matches, and no others; prints them."""
        training.set_trainable(keras_model or self.keras_model, self.config, layer_regex, indent, verbose)

    def get_trainable_layers(self) -> list[LayerView]:
        """The layers that have weights, by matterport's names."""
        return self.keras_model.weighted_layers()

    def train(
        self,
        train_dataset: Any,
        val_dataset: Any,
        learning_rate: float,
        epochs: int,
        layers: str,
        augmentation: Any = None,
        custom_callbacks: Sequence[Any] | None = None,
        no_augmentation_sources: Sequence[str] | None = None,
        **ignored: Any,
    ) -> Any:
        """Train up to `epochs` epochs in all, counted from the first call; returns Keras' History.

        Args:
            train_dataset, val_dataset: after `prepare`.
            learning_rate: of a batch.
            epochs: to stop at; where the model has them already, nothing happens.
            layers: a name of `LAYERS`, or a pattern of layer names.
            augmentation: an augmenter of imgaug or Albumentations; see `mrcnn.data.augmenters`.
            custom_callbacks: run after those that write logs and checkpoints.
            no_augmentation_sources: images of these sources are not augmented.
            **ignored: `verbose`; others are refused by name.
        """
        assert self.mode == "training", "Create model in training mode."
        unknown = sorted(set(ignored) - {"verbose"})
        if unknown:
            raise TypeError(f"train() has no argument {unknown[0]!r} in matterport's Mask_RCNN")
        history = eagerly(
            training.train,
            self,
            train_dataset,
            val_dataset,
            learning_rate,
            epochs,
            LAYERS.get(layers, layers),
            augmentation,
            custom_callbacks or [],
            no_augmentation_sources or (),
        )
        self.epoch = max(self.epoch, epochs)
        return history
