"""`mrcnn.model` of matterport: `MaskRCNN(mode, config, model_dir)` and the functions beside it."""

from __future__ import annotations

import datetime
import errno
import logging
import math
import multiprocessing  # noqa: F401 - a name of this module
import os
import random
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mrcnn
from mrcnn.data import augmenters
from mrcnn.data.rgb import turned
from mrcnn.inference import to_instances
from mrcnn.matterport import native_config, targets, training, utils, weights_file
from mrcnn.matterport.eager import eagerly
from mrcnn.matterport.graph import (  # noqa: F401 - names that scripts take from this module
    BatchNorm,
    DetectionLayer,
    DetectionTargetLayer,
    ProposalLayer,
    PyramidROIAlign,
    apply_box_deltas_graph,
    batch_pack_graph,
    build_fpn_mask_graph,
    build_rpn_model,
    clip_boxes_graph,
    conv_block,
    denorm_boxes_graph,
    detection_targets_graph,
    fpn_classifier_graph,
    identity_block,
    log2_graph,
    mrcnn_bbox_loss_graph,
    mrcnn_class_loss_graph,
    mrcnn_mask_loss_graph,
    norm_boxes_graph,
    overlaps_graph,
    refine_detections_graph,
    resnet_graph,
    rpn_bbox_loss_graph,
    rpn_class_loss_graph,
    rpn_graph,
    smooth_l1_loss,
    trim_zeros_graph,
)
from mrcnn.matterport.keras_model import KerasModel, LayerView
from mrcnn.matterport.names import engine, imported
from mrcnn.matterport.targets import build_detection_targets as build_detection_targets
from mrcnn.matterport.targets import build_rpn_targets as build_rpn_targets
from mrcnn.matterport.targets import generate_random_rois as generate_random_rois
from mrcnn.structures.instances import Instances
from mrcnn.structures.tensors import batch_spec

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
_CHECKPOINT = re.compile(r".*[/\\][\w-]+(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})[/\\]mask\_rcnn\_[\w-]+(\d{4})\.h5")


def log(text: str, array: Any = None) -> None:
    """Print a text, and of an array its shape, range and type in columns."""
    if array is not None:
        text = text.ljust(25) + f"shape: {array.shape!s:20}  "
        text += f"min: {array.min():10.5f}  max: {array.max():10.5f}" if array.size else f"min: {'':10}  max: {'':10}"
        text += f"  {array.dtype}"
    print(text)


# Images and what is said of them


def mold_image(images: np.ndarray, config: Any) -> np.ndarray:
    """f32, an image or a batch of them less the mean pixel."""
    return (images.astype(np.float32) - config.MEAN_PIXEL).astype(np.float32)


def unmold_image(normalized_images: np.ndarray, config: Any) -> np.ndarray:
    """u8, the inverse of `mold_image`."""
    return (normalized_images + config.MEAN_PIXEL).astype(np.uint8)


def compose_image_meta(
    image_id: int, original_image_shape: Any, image_shape: Any, window: Any, scale: float, active_class_ids: Any
) -> np.ndarray:
    """f[12 + NUM_CLASSES], what is known of an image in one row."""
    return np.array([image_id, *original_image_shape, *image_shape, *window, scale, *active_class_ids])


def parse_image_meta(meta: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of rows of `compose_image_meta`, [B, 12 + NUM_CLASSES], by name."""
    return {
        "image_id": meta[:, 0].astype(np.int32),
        "original_image_shape": meta[:, 1:4].astype(np.int32),
        "image_shape": meta[:, 4:7].astype(np.int32),
        "window": meta[:, 7:11].astype(np.int32),
        "scale": meta[:, 11].astype(np.float32),
        "active_class_ids": meta[:, 12:].astype(np.int32),
    }


def parse_image_meta_graph(meta: tf.Tensor) -> dict[str, tf.Tensor]:
    """`parse_image_meta` for tensors, which keep their type."""
    return {
        "image_id": meta[:, 0],
        "original_image_shape": meta[:, 1:4],
        "image_shape": meta[:, 4:7],
        "window": meta[:, 7:11],
        "scale": meta[:, 11],
        "active_class_ids": meta[:, 12:],
    }


def compute_backbone_shapes(config: Any, image_shape: Any) -> np.ndarray:
    """i[5, 2], height and width of each level of the pyramid."""
    if callable(config.BACKBONE):
        return config.COMPUTE_BACKBONE_SHAPE(image_shape)
    return np.array(
        [[math.ceil(image_shape[0] / stride), math.ceil(image_shape[1] / stride)] for stride in config.BACKBONE_STRIDES]
    )


def load_image_gt(
    dataset: Any,
    config: Any,
    image_id: int,
    augment: bool = False,
    augmentation: Any = None,
    use_mini_mask: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An image as the network is shown it, and its objects in that image.

    Args:
        dataset: after `prepare`.
        config: says how it is resized.
        image_id: number of the image.
        augment: mirror every second image.
        augmentation: an augmenter of imgaug.
        use_mini_mask: cut masks out along their boxes and reduce them to MINI_MASK_SHAPE.

    Returns:
        (image [h, w, 3], image_meta [12 + NUM_CLASSES], class_ids [n], boxes i32[n, 4], masks [h, w, n] or
        [mini h, mini w, n]). Objects of which nothing is left are left out.
    """
    image = dataset.load_image(image_id)
    mask, class_ids = dataset.load_mask(image_id)
    class_ids = np.asarray(class_ids)
    if getattr(dataset, "turn_exif", False) and dataset.image_info[image_id]["path"] is not None:
        mask = turned(np.asarray(mask), dataset.exif_orientation(image_id))
    original_shape = image.shape
    image, window, scale, padding, crop = utils.resize_image(
        image,
        min_dim=config.IMAGE_MIN_DIM,
        min_scale=config.IMAGE_MIN_SCALE,
        max_dim=config.IMAGE_MAX_DIM,
        mode=config.IMAGE_RESIZE_MODE,
    )
    if not mask.size:
        mask = np.zeros((*original_shape[:2], 0), mask.dtype)
    mask = utils.resize_mask(mask, scale, padding, crop)
    if augment and random.randint(0, 1):
        image, mask = np.fliplr(image), np.fliplr(mask)
    if augmentation:
        image, mask = augmenters.augment(augmentation, image, mask)
    kept = np.sum(mask, axis=(0, 1)) > 0
    mask, class_ids = mask[:, :, kept], class_ids[kept]
    boxes = utils.extract_bboxes(mask)
    active = np.zeros([dataset.num_classes], np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    if use_mini_mask:
        mask = utils.minimize_mask(boxes, mask, config.MINI_MASK_SHAPE)
    meta = compose_image_meta(image_id, original_shape, image.shape, window, scale, active)
    return image, meta, class_ids, boxes, mask


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
    return targets.data_generator(
        load_image_gt,
        mold_image,
        compute_backbone_shapes,
        dataset,
        config,
        shuffle,
        augment,
        augmentation,
        batch_size,
        no_augmentation_sources,
        int(random_rois),
        detection_targets,
    )


class LastCheckpoint(str):
    """The path of a checkpoint. `find_last()[1]`, of scripts that expect (folder, path), is the whole path too."""

    def __getitem__(self, index: Any) -> str:
        if isinstance(index, int) and index == 1:
            return str(self)
        return super().__getitem__(index)


# The model


class MaskRCNN:
    """A model for training or for detection.

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
        return eagerly(self._build, config)

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
        key = self.config.NAME.lower()
        folders = sorted(name for name in next(os.walk(self.model_dir), ((), ()))[1] if name.startswith(key))
        if not folders:
            raise FileNotFoundError(errno.ENOENT, f"Could not find model directory under {self.model_dir}")
        folder = os.path.join(self.model_dir, folders[-1])
        files = sorted(name for name in next(os.walk(folder))[2] if name.startswith("mask_rcnn"))
        if not files:
            raise FileNotFoundError(errno.ENOENT, f"Could not find weight files in {folder}")
        return LastCheckpoint(os.path.join(folder, files[-1]))

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
        self.epoch = 0
        now = datetime.datetime.now()
        match = _CHECKPOINT.match(str(model_path)) if model_path else None
        if match:
            now = datetime.datetime(*(int(part) for part in match.groups()[:5]))
            self.epoch = int(match[6])
            print(f"Re-starting from epoch {self.epoch}")
        name = self.config.NAME.lower()
        self.log_dir = os.path.join(str(self.model_dir), f"{name}{now:%Y%m%dT%H%M}")
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

    # Detection

    def mold_inputs(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images resized and less the mean: (molded f32[B, h, w, 3], image_metas [B, ...], windows i[B, 4])."""
        molded, metas, windows = [], [], []
        for image in images:
            resized, window, scale, _, _ = self._resized(image)
            molded.append(mold_image(resized, self.config))
            nothing = np.zeros([self.config.NUM_CLASSES], np.int32)
            metas.append(compose_image_meta(0, image.shape, resized.shape, window, scale, nothing))
            windows.append(window)
        return np.stack(molded), np.stack(metas), np.stack(windows)

    def _resized(self, image: np.ndarray, mode: str | None = None) -> Any:
        return utils.resize_image(
            image,
            min_dim=self.config.IMAGE_MIN_DIM,
            min_scale=self.config.IMAGE_MIN_SCALE,
            max_dim=self.config.IMAGE_MAX_DIM,
            mode=mode or self.config.IMAGE_RESIZE_MODE,
        )

    def detect(self, images: Any, verbose: int = 0) -> list[dict[str, np.ndarray]]:
        """Find objects in images.

        Args:
            images: a list, or an array [B, h, w, 3]; any number of any sizes.
            verbose: print what goes in.

        Returns:
            One dict an image: "rois" i32[n, 4], "class_ids" i32[n], "scores" f32[n], best first, and "masks"
            bool[h, w, n], in pixels of the image.
        """
        assert self.mode == "inference", "Create model in inference mode."
        images = list(images)
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
            if images:
                molded, metas, _ = self.mold_inputs(images)
                log("molded_images", molded)
                log("image_metas", metas)
                log("anchors", self.get_anchors(molded[0].shape))
        return eagerly(lambda: [self._detect_one(np.asarray(image)) for image in images])

    def _detect_one(self, image: np.ndarray) -> dict[str, np.ndarray]:
        channels = int(self.config.IMAGE_CHANNEL_COUNT)
        if image.ndim == 2:
            image = np.repeat(image[..., np.newaxis], channels, axis=2)
        plain = image.dtype == np.uint8 and not self.config.IMAGE_MIN_SCALE
        if channels == 3 and (plain or self.config.PAPER):
            as_uint8 = image if image.dtype == np.uint8 else np.clip(np.round(image), 0, 255).astype(np.uint8)
            return _as_result(mrcnn.detect(self.keras_model, as_uint8, score_threshold=None)[0])
        # Crops are for training: what is looked for is looked for in the whole image.
        mode = "pad64" if self.config.IMAGE_RESIZE_MODE == "crop" else self.config.IMAGE_RESIZE_MODE
        resized, window, *_ = self._resized(image, mode)
        return _as_result(self._run(resized.astype(np.float32), window, image.shape[:2]))

    def _run(self, image: np.ndarray, window: Sequence[int], original_shape: tuple[int, int]) -> Instances:
        """Detections in an image f32[h, w, 3] that lies in the window of its canvas, before the mean is taken."""
        y1, x1, y2, x2 = (int(side) for side in window)
        if not hasattr(self, "_graph"):
            model, spec = (
                self.keras_model,
                batch_spec(channels=int(self.config.IMAGE_CHANNEL_COUNT), with_ground_truth=False),
            )
            spec["image"] = tf.TensorSpec(spec["image"].shape, tf.float32, "image")
            self._graph = tf.function(lambda batch: dict(model(batch, training=False)), input_signature=[spec])
        output = self._graph(
            {
                "image": tf.constant(image[None]),
                "image_id": tf.constant([0], tf.int64),
                "original_shape": tf.constant([original_shape], tf.int32),
                "content_shape": tf.constant([(y2 - y1, x2 - x1)], tf.int32),
            }
        )
        return to_instances(
            {name: value.numpy()[0] for name, value in output.items()},
            (y2 - y1, x2 - x1),
            original_shape,
            origin=(y1, x1),
            config=self.keras_model.config.input,
            outputs=self.keras_model.config.outputs,
        )

    def detect_molded(
        self, molded_images: np.ndarray, image_metas: Any, verbose: int = 0
    ) -> list[dict[str, np.ndarray]]:
        """`detect` for images that are resized and less their mean already; results in their pixels."""
        assert self.mode == "inference", "Create model in inference mode."
        if verbose:
            log(f"Processing {len(molded_images)} images")
            for image in molded_images:
                log("image", image)
        del image_metas

        def one(molded: np.ndarray) -> dict[str, np.ndarray]:
            unmolded = (np.asarray(molded, np.float32) + np.asarray(self.config.MEAN_PIXEL)).astype(np.float32)
            return _as_result(self._run(unmolded, (0, 0, *molded.shape[:2]), molded.shape[:2]))

        return eagerly(lambda: [one(molded) for molded in molded_images])

    def run_graph(self, images: Any, outputs: Sequence[Any], image_metas: Any = None) -> OrderedDict[str, np.ndarray]:
        """The values of tensors of the graph; prints each.

        Args:
            images: images; with `image_metas` molded ones, [B, h, w, c].
            outputs: pairs of a name and a tensor, such as `keras_model.get_layer("ROI").output`.
            image_metas: rows of `compose_image_meta`; None: the images are molded here.

        Returns:
            the arrays by name.
        """
        outputs = OrderedDict(outputs)
        for name, tensor in outputs.items():
            assert tensor is not None, name
        molded = images
        if image_metas is None:
            molded, image_metas, _ = self.mold_inputs(images)
        molded = np.asarray(molded)
        anchors = self.get_anchors(molded.shape[1:])
        anchors = np.broadcast_to(anchors, (len(molded), *anchors.shape))
        values = eagerly(self.keras_model.view.run, list(outputs.values()), [molded, image_metas, anchors])
        result = OrderedDict(zip(outputs, values, strict=True))
        for name, value in result.items():
            log(name, value)
        return result

    def ancestor(self, tensor: Any, name: str, checked: Any = None) -> Any:
        """A tensor by its name in TensorFlow 1's graph: those inside the layer "ROI"; None for others."""
        del tensor, checked
        return self.keras_model.view.ancestor(name)

    def find_trainable_layer(self, layer: Any) -> Any:
        """The layer itself: there are no wrappers around layers."""
        return layer

    def unmold_detections(
        self, detections: np.ndarray, mrcnn_mask: np.ndarray, original_image_shape: Any, image_shape: Any, window: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Normalized detections [n, (y1, x1, y2, x2, class, score)] in pixels of the original image.

        Args:
            detections: rows of class 0 are padding.
            mrcnn_mask: f[n, m, m, NUM_CLASSES].
            original_image_shape, image_shape: of the image before and after it was resized.
            window: (y1, x1, y2, x2) of the image in the resized one, pixels.

        Returns:
            (boxes i32[k, 4], class_ids i32[k], scores f32[k], masks bool[h, w, k]).
        """
        class_ids = detections[:, 4].astype(np.int32)
        y1, x1, y2, x2 = (int(side) for side in window)
        instances = to_instances(
            {
                "boxes": (detections[:, :4] * (np.tile(image_shape[:2], 2) - 1)).astype(np.float32),
                "class_ids": class_ids,
                "scores": detections[:, 5],
                "valid": np.cumsum(class_ids == 0) == 0,
                "masks": mrcnn_mask[np.arange(len(class_ids)), :, :, class_ids],
            },
            (y2 - y1, x2 - x1),
            tuple(original_image_shape[:2]),
            origin=(y1, x1),
            config=native_config.MATTERPORT.input,
            outputs=native_config.MATTERPORT.mask_head.outputs,
        )
        result = _as_result(instances)
        return result["rois"], result["class_ids"], result["scores"], result["masks"]

    def get_anchors(self, image_shape: Any) -> np.ndarray:
        """f32[A, 4], the anchors of an image size, normalized; in pixels they become `self.anchors`."""
        self.anchors = utils.generate_pyramid_anchors(
            self.config.RPN_ANCHOR_SCALES,
            self.config.RPN_ANCHOR_RATIOS,
            compute_backbone_shapes(self.config, image_shape),
            self.config.BACKBONE_STRIDES,
            self.config.RPN_ANCHOR_STRIDE,
        )
        return utils.norm_boxes(self.anchors, image_shape[:2])


def _as_result(instances: Instances) -> dict[str, np.ndarray]:
    rois = np.around(instances.boxes).astype(np.int32)
    kept = (rois[:, 2] > rois[:, 0]) & (rois[:, 3] > rois[:, 1])
    masks = instances.masks if instances.masks is not None else np.zeros((len(rois), *instances.image_shape), bool)
    return {
        "rois": rois[kept],
        "class_ids": instances.class_ids[kept],
        "scores": instances.scores[kept],
        "masks": np.ascontiguousarray(np.moveaxis(masks[kept], 0, -1)),
    }
