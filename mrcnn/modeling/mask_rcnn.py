"""Mask R-CNN as a Keras model: the order of the rooms and nothing else. Ref: Mask R-CNN, arXiv 1703.06870."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.base import RoiHeadConfig
from mrcnn.modeling.fpn import FPNConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.input import InputConfig, content_window, detection_window, proposal_window
from mrcnn.modeling.neck import NeckConfig
from mrcnn.modeling.normalize import NormalizePixels
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.modeling.roi_sampler import RoiSamplerConfig, sample_rois
from mrcnn.modeling.rpn import RPNConfig
from mrcnn.settings import Settings, SettingsError
from mrcnn.structures import TRUTH_KEY, Batch, LossTerm


@dataclasses.dataclass(frozen=True)
class MaskRCNNConfig(Settings):
    """Settings of the whole model: one field per room. Defaults are the paper's ResNet-50-FPN."""

    num_classes: int = 80  # C, things only
    backbone: BackboneConfig = ResNetConfig()
    neck: NeckConfig = FPNConfig()
    rpn: RPNConfig = RPNConfig()
    roi_sampler: RoiSamplerConfig = RoiSamplerConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    heads: tuple[RoiHeadConfig, ...] = (MaskHeadConfig(),)  # further branches, run on the detections
    input: InputConfig = InputConfig()

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise SettingsError(f"num_classes: expected at least 1, got {self.num_classes}")


@keras.saving.register_keras_serializable("mrcnn")
class MaskRCNN(keras.Model):
    """Finds every object of the known classes in a picture: box, class, score and mask.

    Input is one batch as `structures.batch_spec` states it: a dict with `image` u8[B, H, W, 3] in RGB, padded right
    and below, `content_shape` i32[B, 2] and, in training, the `gt_*` keys and `seed`.

    * With truth the model returns its losses, a dict of f32[] (`rpn_objectness`, `rpn_box`, `roi_class`, `roi_box`,
      `roi_mask`), and `fit` minimises their sum. `training` decides on batch statistics only.
    * Without truth it returns detections, a dict of `boxes` f32[B, D, 4] in pixels of the padded picture,
      `class_ids` i32[B, D] from 1, `scores` f32[B, D], `valid` bool[B, D], `masks` f32[B, D, M, M], probabilities
      inside the box. `mrcnn.detect` turns them into `Instances` in pixels of the original picture.

    Args:
        config: settings of all rooms.
        class_names: C names; class id k is `class_names[k - 1]`. Default: "class 1", "class 2", ...
        category_ids: ids of the classes in the annotation file they came from, for results in its terms.

    Raises:
        ValueError: `class_names` or `category_ids` do not have `config.num_classes` entries.
    """

    def __init__(
        self,
        config: MaskRCNNConfig | dict[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        # True boxes stay float32 under a half-precision policy; the layers cast features themselves.
        super().__init__(autocast=False, **kwargs)
        if isinstance(config, dict):
            config = MaskRCNNConfig.from_dict(config)
        self.config = config = config or MaskRCNNConfig()
        c = config.num_classes
        self.class_names = tuple((f"class {k}" for k in range(1, c + 1)) if class_names is None else class_names)
        self.category_ids = tuple(int(k) for k in (range(1, c + 1) if category_ids is None else category_ids))
        for name in ("class_names", "category_ids"):
            if len(getattr(self, name)) != c:
                raise ValueError(f"{name}: expected {c} entries, one per class, got {len(getattr(self, name))}")

        self.normalize = NormalizePixels(config.backbone.pixel_norm, name="normalize")
        self.backbone = config.backbone.build("backbone")
        self.neck = config.neck.build(config.backbone.channels, config.backbone.strides, name="fpn")
        channels, strides = self.neck.channels, self.neck.strides
        self.rpn = config.rpn.build(channels, strides, name="rpn")
        self.box_head = config.box_head.build(c, RoiPooler(config.box_head.pool, strides, channels), name="box_head")
        self.heads = [
            head.build(c, RoiPooler(head.pool, strides, channels), name=head_name(head)) for head in config.heads
        ]
        self.loss_trackers: dict[str, keras.metrics.Mean] = {}
        self.built = True

    def build(self, *_: Any) -> None:
        """Nothing left to build: all weights exist from construction."""

    def call(self, batch: Batch, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Losses where the batch carries truth, detections where it does not; see the class."""
        features = self.extract_features(batch, training)
        output = self.rpn(features, training=training)
        if TRUTH_KEY in batch:
            terms = self.loss_terms(features, output, batch, training)
            return {name: term.total / term.count for name, term in terms.items()}
        proposals = self.rpn.propose(output, self._window(proposal_window, batch), for_training=False)
        window = self._window(detection_window, batch)
        pred = self.box_head(features, proposals.boxes, proposals.valid, window, training=training)
        detections = self.box_head.detect(pred, proposals, window)
        for head in self.heads:
            pred = head(features, detections.boxes, detections.valid, window, training=training)
            detections = head.attach(detections, pred)
        return detections.to_dict()

    def extract_features(self, batch: Batch, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Pyramid levels p2..p6 by name, [B, ceil(H / stride), ceil(W / stride), channels]."""
        zeroed = self.config.input.padding_pixels == "zero_input"
        pixels = self.normalize(batch["image"], self._window(content_window, batch) if zeroed else None)
        return self.neck(self.backbone(pixels, training=training), training=training)

    def _window(self, which: Callable[..., tf.Tensor], batch: Batch) -> tf.Tensor:
        """f32[B, 4], one of the windows of `modeling.input` for the pictures of a batch."""
        return which(tf.shape(batch["image"])[1:3], batch["content_shape"], self.config.input)

    def loss_terms(
        self, features: dict[str, tf.Tensor], output: Any, batch: Batch, training: bool | None = None
    ) -> dict[str, LossTerm]:
        """Every loss as sum and count, for a batch with truth."""
        batch = _without_empty_slots(batch)
        terms = self.rpn.loss(output, batch)
        proposals = self.rpn.propose(output, self._window(proposal_window, batch), for_training=True)
        rois = sample_rois(proposals, batch, self.config.roi_sampler)
        window = self._window(detection_window, batch)
        for head in (self.box_head, *self.heads):
            own = head.rois_for(rois)
            pred = head(features, own.boxes, own.valid, window, training=training)
            terms |= head.loss(pred, head.targets(own, batch), own)
        return terms

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """The sum of the loss terms (and of layer regularisers); also logs each term under its name."""
        del y, sample_weight, training
        if "rpn_objectness" not in y_pred:
            raise ValueError("the batch has no ground truth; make the pipeline with with_truth=True")
        # Keras averages the total by pictures; the terms must too, or they do not add up after a smaller last batch.
        num_pictures = tf.shape(x["image"])[0]
        for name, value in y_pred.items():
            self.loss_trackers[name].update_state(value, sample_weight=num_pictures)
        return tf.add_n([*y_pred.values(), *(tf.cast(extra, tf.float32) for extra in self.losses)])

    def compile(self, optimizer: Any = "sgd", **kwargs: Any) -> None:
        """As in Keras; no `loss` is needed, the model brings its own."""
        names = ["rpn_objectness", "rpn_box"]
        for head in (self.config.box_head, *self.config.heads):
            names += head.loss_names
        self.loss_trackers = {name: keras.metrics.Mean(name=name) for name in names}
        kwargs.setdefault("jit_compile", False)  # on CPUs XLA is slower here, on GPUs the NMS kernel is not compiled
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a model read from a .keras file as it was; Keras leaves that to whoever overrides `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Detections, also where the batch carries truth."""
        batch = keras.utils.unpack_x_y_sample_weight(data)[0]
        return self({k: v for k, v in batch.items() if not k.startswith("gt_")}, training=False)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras rebuilds the model."""
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "class_names": list(self.class_names),
            "category_ids": list(self.category_ids),
        }


def _without_empty_slots(batch: Batch) -> Batch:
    """The batch without the ground-truth slots that no picture fills: matching costs anchors times slots."""
    slots = tf.range(1, tf.shape(batch["gt_valid"])[1] + 1)
    used = tf.reduce_max(tf.where(batch["gt_valid"], slots, 1))
    return {k: v[:, :used] if k.startswith("gt_") else v for k, v in batch.items()}


def head_name(config: RoiHeadConfig) -> str:
    """Layer name of a head: MaskHeadConfig -> "mask_head"."""
    name = type(config).__name__.removesuffix("Config")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
