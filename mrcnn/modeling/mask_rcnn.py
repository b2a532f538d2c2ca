"""Mask R-CNN as a Keras model: the order of the components and nothing else. Ref: Mask R-CNN, arXiv 1703.06870."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.errors import InputError
from mrcnn.migrations import migrate_model
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.batch_checks import expect_batch, expect_keys, refuse_images
from mrcnn.modeling.compatibility import check_geometry
from mrcnn.modeling.heads.base import RoiHead, RoiHeadConfig, check_heads
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.input import content_window, detection_window, proposal_window
from mrcnn.modeling.necks.base import NeckConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.normalize import NormalizePixels
from mrcnn.modeling.padding import pad_to, trim_ground_truth, trim_padding
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.modeling.roi_sampler import RoiSamplerConfig, sample_rois
from mrcnn.modeling.roi_stage import RoiStageConfig
from mrcnn.modeling.rpn import AnchorSample, RPNConfig
from mrcnn.modeling.semantic_head import LOSS as SEMANTIC_LOSS
from mrcnn.modeling.semantic_head import SemanticHeadConfig, check_stuff
from mrcnn.modeling.train_step import COUNTS_KEY, TrainStep, loss_shares
from mrcnn.modeling.variables import generated_names, named_variables, stable_names
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.outputs import HeadOutput
from mrcnn.structures.tensors import (
    GROUND_TRUTH_KEY,
    SEMANTIC_KEY,
    SEMANTIC_LOGITS,
    Batch,
    Detections,
    LossTerm,
    RoiSample,
    RPNOutput,
)

RPN_LOSSES = ("rpn_objectness", "rpn_box")


@dataclasses.dataclass(frozen=True)
class MaskRCNNConfig(BaseConfig):
    """Configuration of the whole model: one field per component. Defaults are the paper's ResNet-50-FPN."""

    num_classes: int = 80  # C, things only
    backbone: BackboneConfig = ResNetConfig()
    neck: NeckConfig = FPNConfig()
    rpn: RPNConfig = RPNConfig()
    roi_sampler: RoiSamplerConfig = RoiSamplerConfig()
    roi_stage: RoiStageConfig | None = None  # layers that run on every pooled RoI before any head: res5 of a C4 model
    box_head: BoxHeadConfig = BoxHeadConfig()
    heads: tuple[RoiHeadConfig, ...] = (MaskHeadConfig(),)  # further branches, run on the detections
    semantic_head: SemanticHeadConfig | None = None  # stuff classes of all pixels: a panoptic model
    stuff_names: tuple[str, ...] = ()  # of the stuff classes 1..S
    stuff_category_ids: tuple[int, ...] = ()  # of these in the annotation file they came from; (): 1..S
    input: InputConfig = InputConfig()
    profile: str = "mrcnn"  # whose conventions the config follow; the name is informative, the config decide

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ConfigError(f"num_classes: expected at least 1, got {self.num_classes}")
        for i, head in enumerate(self.heads):
            if isinstance(head, BoxHeadConfig):
                raise ConfigError(f"heads.{i}: a box head belongs into box_head, got {type(head).__name__}")
            if head.num_stages not in (1, self.box_head.num_stages):
                raise ConfigError(
                    f"heads.{i}: {head.num_stages} stages, expected as many as box_head has: {self.box_head.num_stages}"
                )
        check_stuff(self.semantic_head, self.stuff_names, self.stuff_category_ids)
        check_heads((self.box_head, *self.heads), (*RPN_LOSSES, SEMANTIC_LOSS, "loss"))
        check_geometry(self.rpn, self.box_head, self.heads, self.input)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MaskRCNNConfig:
        """As `BaseConfig.from_dict`, of data that an earlier version wrote too; see `mrcnn.migrations`."""
        return super().from_dict(migrate_model(data) if isinstance(data, dict) else data)

    @property
    def outputs(self) -> tuple[HeadOutput, ...]:
        """What the heads give for each detection, by their names in the model."""
        return tuple(output for head in self.heads for output in head.named_outputs)


@keras.saving.register_keras_serializable("mrcnn")
class MaskRCNN(TrainStep):
    """Finds every object of the known classes in an image: box, class, score and mask.

    Input is one batch as `structures.batch_spec` states it: a dict with `image` u8[B, H, W, 3] in RGB, padded right
    and below, `content_shape` i32[B, 2] and, in training, the `gt_*` keys and `seed`.

    * With ground truth the model returns its losses, a dict of f32[] (`rpn_objectness`, `rpn_box`, `roi_class`,
      `roi_box`, `roi_mask`, as the heads are), and `fit` minimizes their sum; see `TrainStep`. `training`
      decides on batch statistics only.
    * Without ground truth it returns detections, a dict of `boxes` f32[B, D, 4] in pixels of the padded image,
      `class_ids` i32[B, D] from 1, `scores` f32[B, D], `valid` bool[B, D] and, by the heads, `masks` f32[B, D, M, M],
      probabilities inside the box, `keypoints` f32[B, D, J, 3]; a panoptic model also `semantic_logits`
      f32[B, H / 4, W / 4, S + 1], 0 being "a thing". `mrcnn.detect` turns them into `Instances` in pixels of
      the original image.

    Args:
        config: config of all components.
        class_names: C names; class id k is `class_names[k - 1]`. Default: "class 1", "class 2", ...
        category_ids: ids of the classes in the annotation file they came from, for results in its terms.

    Raises:
        InputError: `class_names` or `category_ids` do not have `config.num_classes` entries.
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
                raise InputError(f"{name}: expected {c} entries, one per class, got {len(getattr(self, name))}")

        self.normalize = NormalizePixels(config.backbone.pixel_norm, name="normalize")
        self.backbone = config.backbone.build("backbone")
        self.neck = config.neck.build(config.backbone.channels, config.backbone.strides, name="fpn")
        channels, strides = self.neck.channels, self.neck.strides
        self.rpn = config.rpn.build(channels, strides, name="rpn")
        self.roi_stage = config.roi_stage and config.roi_stage.build(channels, name="roi_stage")

        def pooler(head: RoiHeadConfig) -> RoiPooler:
            return RoiPooler(head.pool, strides, channels, self.roi_stage)

        self.box_head = config.box_head.build(c, pooler(config.box_head), name=config.box_head.layer_name)
        self.heads = [head.build(c, pooler(head), name=head.layer_name) for head in config.heads]
        for head in (self.box_head, *self.heads):
            head.sampler = config.roi_sampler
        self.semantic_head = None
        if config.semantic_head is not None:
            num_stuff = len(config.stuff_names)
            self.semantic_head = config.semantic_head.build(num_stuff, channels, strides, name="semantic_head")
        # Variables that do not train though their layer does; by hand, for Keras would make another kind of set of it.
        object.__setattr__(self, "frozen_paths", set())
        self.built = True

    @staticmethod
    def from_preset(preset: str | os.PathLike[str], **options: Any) -> MaskRCNN:
        """A model with weights by name, as Keras names this; the same as `mrcnn.load_pretrained`.

        Args:
            preset: a name of `mrcnn weights --list`, an https or hf:// address, a file, or a run's folder.
            options: see `mrcnn.load_pretrained`, such as `num_classes`.

        Returns:
            The model.

        Raises:
            MrcnnError: see `mrcnn.load_pretrained`.
        """
        from mrcnn.weights.pretrained import load_pretrained  # which is built on this module

        return load_pretrained(preset, **options)

    def build(self, *_: Any) -> None:
        """Nothing left to build: all weights exist from construction."""

    def call(self, batch: Batch, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Losses where the batch carries ground truth, detections where it does not; see the class."""
        expect_batch(batch)
        features = self.extract_features(batch, training)
        if GROUND_TRUTH_KEY in batch:
            terms = self.loss_terms(features, self.rpn(features, training=training), batch, training)
            return loss_shares(terms, batch.get(COUNTS_KEY))
        return self.detect_in(features, batch, training) | self._semantic_output(features, training)

    def detect_in(
        self, features: dict[str, tf.Tensor], batch: Batch, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """Detections of a batch without ground truth, by name, in the features that were extracted of it."""
        padded = self.find_boxes(features, batch, training)
        window = self.detection_window(batch)
        # A deliberate exception to static shapes: padded entries in a mask head are a fifth of all arithmetic.
        detections = trim_padding(padded)
        for head in self.heads:
            pooled_from = (features, detections.rois, detections.valid, window)
            pred = head(*pooled_from, training=training, class_ids=detections.class_ids)
            detections = head.attach(detections, pred)
        return pad_to(detections, padded).to_dict()

    def _semantic_output(self, features: dict[str, tf.Tensor], training: bool | None) -> dict[str, tf.Tensor]:
        """What the semantic branch says, where there is one."""
        if self.semantic_head is None:
            return {}
        return {SEMANTIC_LOGITS: self.semantic_head(features, training=training)}

    def find_boxes(self, features: dict[str, tf.Tensor], batch: Batch, training: bool | None = None) -> Detections:
        """Detections of a batch without ground truth, before the further heads have looked at them."""
        output = self.rpn(features, training=training)
        proposals = self.rpn.propose(output, self._window(proposal_window, batch), for_training=False)
        proposals = trim_padding(proposals)
        window = self.detection_window(batch)
        pred = self.box_head(features, proposals.boxes, proposals.valid, window, training=training)
        return self.box_head.detect(pred, proposals, window)

    def detection_window(self, batch: Batch) -> tf.Tensor:
        """f32[B, 4], what detections are clipped to, see `modeling.input.detection_window`."""
        return self._window(detection_window, batch)

    def extract_features(self, batch: Batch, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Pyramid levels p2..p6 by name, [B, ceil(H / stride), ceil(W / stride), channels]."""
        zeroed = self.config.input.padding_pixels == "zero_input"
        pixels = self.normalize(batch["image"], self._window(content_window, batch) if zeroed else None)
        return self.neck(self.run_backbone(pixels, training, batch.get("seed")), training=training)

    def _window(self, which: Callable[..., tf.Tensor], batch: Batch) -> tf.Tensor:
        """f32[B, 4], one of the windows of `modeling.input` for the images of a batch."""
        return which(tf.shape(batch["image"])[1:3], batch["content_shape"], self.config.input)

    def loss_terms(
        self, features: dict[str, tf.Tensor], output: Any, batch: Batch, training: bool | None = None
    ) -> dict[str, LossTerm]:
        """Every loss as sum and count, for a batch with ground truth."""
        batch = trim_ground_truth(batch)
        _expect_true_boxes(self.config.rpn, batch)
        end = self.config.input.end_offset  # true boxes are edges; the model's may name the last pixel
        batch["gt_boxes"] += tf.constant([0.0, 0.0, end, end])
        terms = self.rpn.loss(output, batch, features, self.anchor_sample(output, batch))
        stages: Sequence[RoiSample] = (self.roi_sample(output, batch),)
        window = self.detection_window(batch)
        for k, head in enumerate((self.box_head, *self.heads)):
            expect_keys(head.name, {loss.name: loss.ground_truth for loss in head.config.losses}, batch)
            # Another stream than the RPN's and the sampler's draws from the same seed.
            seed = batch["seed"] + tf.constant([0, 2 + k])
            own, stages = head.loss_terms(features, stages, batch, window, seed, training)
            terms |= _named_terms(head, own)
        if self.semantic_head is not None:
            expect_keys(self.semantic_head.name, {SEMANTIC_LOSS: (SEMANTIC_KEY,)}, batch)
            logits = self.semantic_head(features, training=training)
            terms[SEMANTIC_LOSS] = self.semantic_head.loss(logits, batch[SEMANTIC_KEY])
        return terms

    def anchor_sample(self, output: RPNOutput, batch: Batch) -> AnchorSample:
        """The anchors that the RPN trains on; see `RPN.sample_anchors`."""
        return self.rpn.sample_anchors(output, batch)

    def roi_sample(self, output: RPNOutput, batch: Batch) -> RoiSample:
        """The RoIs that the heads train on, drawn from the RPN's proposals; see `roi_sampler.sample_rois`."""
        proposals = self.rpn.propose(output, self._window(proposal_window, batch), for_training=True)
        return sample_rois(proposals, batch, self.config.roi_sampler, self.config.rpn.geometry)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """See `TrainStep.loss_names`."""
        heads = (self.config.box_head, *self.config.heads)
        semantic = () if self.config.semantic_head is None else (SEMANTIC_LOSS,)
        return (*RPN_LOSSES, *(name for head in heads for name in head.loss_names), *semantic)

    def batch_terms(self, batch: Batch, training: bool | None = None) -> dict[str, LossTerm]:
        """See `TrainStep.batch_terms`."""
        features = self.extract_features(batch, training)
        return self.loss_terms(features, self.rpn(features, training=training), batch, training)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Keras' `predict` for batches, such as those of `mrcnn.make_pipeline`; `mrcnn.detect` takes images.

        Raises:
            InputError: `x` is images, not batches.
        """
        if not isinstance(x, Mapping):
            refuse_images(x)
        return super().predict(x, *args, **kwargs)

    def export(self, *_: Any, **__: Any) -> None:
        """Refused: Keras' `export` would write a graph that resizes no image and gives boxes of the padded canvas.

        Raises:
            InputError: always; names the functions to call.
        """
        raise InputError(
            "call mrcnn.export_saved_model(model, path) in place of model.export(path): it takes images of any size and"
            " gives boxes in their pixels; mrcnn.export_onnx, export_openvino and export_tflite write other formats"
        )

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras rebuilds the model."""
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "class_names": list(self.class_names),
            "category_ids": list(self.category_ids),
            "frozen": {
                "layers": [path for path, layer in self._named_layers().items() if not layer.trainable],
                "variables": sorted(self.frozen_paths),
            },
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MaskRCNN:
        """The model of a `get_config`, untrained; what did not train in that one does not in this."""
        del custom_objects
        arguments = {key: value for key, value in config.items() if key != "frozen"}
        model = cls(**arguments)
        frozen = config.get("frozen", {"layers": [], "variables": []})
        layers, variables = model._named_layers(), named_variables(model)
        for path in frozen["layers"]:
            layers[path].trainable = False
        for path in frozen["variables"]:
            variables[path].trainable = False
        model.frozen_paths.update(frozen["variables"])
        return model

    def _named_layers(self) -> dict[str, keras.layers.Layer]:
        """The layers that can be frozen one by one: the components, then those of the backbone, by path."""
        inside = {f"{self.backbone.name}/{layer.name}": layer for layer in self.backbone.layers}
        stable = stable_names(inside, generated_names(self.backbone))
        return {layer.name: layer for layer in self.layers} | {stable[path]: layer for path, layer in inside.items()}


def _expect_true_boxes(config: RPNConfig, batch: Batch) -> None:
    """Refuses a batch without the kind of true boxes that a model is made of.

    Raises:
        InputError: names the key and the field.
    """
    key = config.geometry.ground_truth
    if key not in batch:
        raise InputError(
            f"rpn: {type(config).__name__} trains on {key}, but the batch has none; set data.rotated_boxes to true"
        )


def _named_terms(head: RoiHead, terms: dict[str, LossTerm]) -> dict[str, LossTerm]:
    """Loss terms of a head under their names in the model.

    Raises:
        ConfigError: they are not those that its config declares.
    """
    declared = [loss.name for loss in head.config.losses]
    if set(terms) != set(declared):
        raise ConfigError(f"{head.name}: its config declares the losses {sorted(declared)}, got {sorted(terms)}")
    return {head.config.full_name(name): term for name, term in terms.items()}
