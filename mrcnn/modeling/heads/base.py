"""What RoI heads have in common: the interface the model calls, and small stacks of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.modeling.padding import trim_rois
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.ops.classes import known_shape, select_class
from mrcnn.structures.outputs import HeadOutput, Pasting
from mrcnn.structures.tensors import Batch, Detections, LossTerm, RoiSample

__all__ = [
    "HeadLoss",
    "HeadOutput",
    "Pasting",
    "RoiHead",
    "RoiHeadConfig",
    "foreground_rois",
    "merge_rois",
    "select_class",
    "split_rois",
]


@dataclasses.dataclass(frozen=True)
class HeadLoss:
    """One loss term of a RoI head.

    Attributes:
        name: under which `RoiHead.loss` returns it. A head with a `name` of its own puts that before it.
        ground_truth: keys of the batch it is computed from, beside those that every batch with ground truth has.
    """

    name: str
    ground_truth: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class RoiHeadConfig(BaseConfig):
    """Base of the config of RoI heads.

    A head is one file: a config that declares `losses` and `outputs`, and a `RoiHead`. All else follows from what is
    declared: the names of the model's losses and outputs, how `Instances` holds an output, and how it is pasted,
    exported, written and drawn. docs/extending/head.md shows one.
    """

    components: ClassVar[str | None] = "mrcnn.modeling.heads"
    abstract: ClassVar[bool] = True
    takes_rotated: ClassVar[bool] = False  # whether it can take rotated RoIs; every class says so for itself

    pool: RoiPoolConfig = RoiPoolConfig()
    loss_weight: float = 1.0
    # Put before the names of the head's layer, losses and outputs: "fine" makes "fine_mask_head", "fine_roi_mask" and
    # "fine_masks". Two heads of one class in one model need different names.
    name: str = ""

    def __post_init__(self) -> None:
        if self.name and not self.name.isidentifier():
            raise ConfigError(f"{type(self).__name__}.name: expected letters, digits and _, got {self.name!r}")

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """The loss terms of the head, under their plain names."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[HeadOutput, ...]:
        """What the head gives for each detection, under plain names."""
        return ()

    @property
    def averaged(self) -> tuple[HeadOutput, ...]:
        """What is averaged over the views of test-time augmentation, see `RoiHead.to_average`; by default `outputs`."""
        return self.outputs

    @property
    def num_stages(self) -> int:
        """Stages of a cascade, each with RoIs of its own; 1 for any other head."""
        return 1

    @property
    def layer_name(self) -> str:
        """Name of the head's layer, of which the names of its variables begin: MaskHeadConfig -> "mask_head"."""
        name = type(self).__name__.removesuffix("Config")
        return self.full_name("".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_"))

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the head's loss terms in the model."""
        return tuple(self.full_name(loss.name) for loss in self.losses)

    @property
    def named_outputs(self) -> tuple[HeadOutput, ...]:
        """The outputs under their names in the model."""
        return tuple(
            dataclasses.replace(
                output,
                name=self.full_name(output.name),
                result_key=output.result_key and self.full_name(output.result_key),
            )
            for output in self.outputs
        )

    def full_name(self, plain: str) -> str:
        """The name in the model of what the head calls `plain`."""
        return f"{self.name}_{plain}" if self.name else plain

    def build(self, num_classes: int, pooler: RoiPooler, name: str) -> RoiHead:
        """The head with its weights created.

        Args:
            num_classes: C, things only.
            pooler: what the head sees its RoIs through, made from `pool`.
            name: layer name.
        """
        raise NotImplementedError


class RoiHead(keras.layers.Layer):
    """A branch of the second stage. Subclasses add a file, not a case elsewhere.

    In training the model calls `targets` for the RoIs of `rois_for`, then `call`, then `loss`. In inference it calls
    `call` on the detections' boxes, then `predict`, which returns the declared outputs.
    """

    config: RoiHeadConfig
    sampler: RoiSamplerConfig = RoiSamplerConfig()  # how RoIs are drawn; a model sets its own
    built: bool

    def __init__(self, config: RoiHeadConfig, pooler: RoiPooler, **kwargs: Any) -> None:
        # Boxes stay float32 under a half-precision policy: bfloat16 knows whole pixels up to 256 only.
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.pooler = pooler

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        window: tf.Tensor,
        training: bool | None = None,
        class_ids: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
        targets: Any = None,
    ) -> Any:
        """Predictions of the head for each RoI.

        Args:
            features: pyramid levels [B, H / stride, W / stride, C] by name.
            boxes: f32[B, S, 4], the RoIs in pixels of the padded image; [B, S, 5] for a head that takes rotated ones.
            valid: bool[B, S]; the others are padding: what is predicted for them means nothing, and they take no part
                in batch statistics.
            window: f32[B, 4], (y1, x1, y2, x2) of the image inside the padding; boxes a head makes are clipped to it.
            training: whether batch norm uses, and updates, the statistics of this batch.
            class_ids: i32[B, S], the class of each RoI: of the object it was matched to, 0 for background, where there
                is ground truth, else the detected one. None for the box head without ground truth.
            seed: i32[B, 2], stateless seed of each image, another one for every head; only with ground truth.
            targets: what `targets` returned for these RoIs; only with ground truth.

        Returns:
            What `loss` and `predict` take: a tensor or a structure of tensors [B, S, ...].
        """
        raise NotImplementedError

    def rois_for(self, rois: RoiSample) -> RoiSample:
        """The sampled RoIs this head trains on; by default all of them."""
        return rois

    def targets(self, rois: RoiSample, batch: Batch) -> Any:
        """What the head should predict for `rois`.

        Args:
            rois: of `rois_for`, without the padding at the end.
            batch: with ground truth; in a training step its `seed` is the head's own.
        """
        raise NotImplementedError

    def loss(self, pred: Any, targets: Any, rois: RoiSample) -> dict[str, LossTerm]:
        """Loss terms by the names that `config.losses` declares, each as sum and count."""
        raise NotImplementedError

    def loss_terms(
        self,
        features: Mapping[str, tf.Tensor],
        stages: Sequence[RoiSample],
        batch: Batch,
        window: tf.Tensor,
        seed: tf.Tensor,
        training: bool | None = None,
    ) -> tuple[dict[str, LossTerm], Sequence[RoiSample]]:
        """The losses on sampled RoIs: `targets`, `call` and `loss` one after the other.

        Args:
            features, window, seed, training: as for `call`.
            stages: the RoIs that each stage of the box head trained on; for the box head itself the sampled ones only.
                A head trains on those of the first, unless it is a cascade of its own.
            batch: with ground truth.

        Returns:
            The terms by the names that `config.losses` declares, and `stages` for the heads behind this one.
        """
        own = trim_rois(self.rois_for(stages[0]))
        targets = self.targets(own, {**batch, "seed": seed})
        context = {"class_ids": own.class_ids, "seed": seed, "targets": targets}
        pred = self(features, own.boxes, own.valid, window, training=training, **context)
        return self.loss(pred, targets, own), self.next_rois(pred, own, stages)

    def next_rois(self, pred: Any, rois: RoiSample, stages: Sequence[RoiSample]) -> Sequence[RoiSample]:
        """What the heads behind this one train on; by default what it was given.

        Args:
            pred: of `call` on `rois`.
            rois: those of the first of `stages` it trained on, without the padding at the end.
            stages: see `loss_terms`.
        """
        return stages

    def predict(self, pred: Any, detections: Detections) -> dict[str, tf.Tensor]:
        """The declared outputs.

        Args:
            pred: of `call` on `detections.boxes`.
            detections: B images with D detections each.

        Returns:
            [B, D, *shape] for each of `config.outputs`, by name. What it is for padding does not matter.
        """
        raise NotImplementedError

    def attach(self, detections: Detections, pred: Any) -> Detections:
        """The detections with this head's outputs added under their names in the model, zero for padding.

        Raises:
            ConfigError: `predict` returned other outputs than the config declares, or of another dtype or shape.
        """
        values = self.predict(pred, detections)
        declared = {output.name for output in self.config.outputs}
        if set(values) != declared:
            raise ConfigError(
                f"{type(self).__name__}.predict: {type(self.config).__name__}.outputs declares {sorted(declared)},"
                f" got {sorted(values)}"
            )
        for output in self.config.outputs:
            value = values[output.name]
            whole = tf.TensorShape([None, None, *output.shape])
            if value.dtype != output.dtype or not whole.is_compatible_with(value.shape):
                raise ConfigError(
                    f"{type(self).__name__}.predict: {type(self.config).__name__}.outputs declares {output.name!r} as"
                    f" {output.dtype} {whole}, got {value.dtype.name} {value.shape}"
                )
        return detections.with_outputs(
            {self.config.full_name(name): _zero_padding(value, detections.valid) for name, value in values.items()}
        )

    def to_average(self, pred: Any, detections: Detections) -> dict[str, tf.Tensor]:
        """What to average over the views of test-time augmentation, as `config.averaged` declares it; as `predict`."""
        return self.predict(pred, detections)

    def from_average(self, values: Mapping[str, np.ndarray], detections: Detections) -> Mapping[str, np.ndarray]:
        """The declared outputs made of averages over views.

        Args:
            values: the mean of `to_average` over the views, by plain name; what is of the frame "image" in pixels of
                the original image.
            detections: in pixels of the original image, B = 1.
        """
        return values


def check_heads(heads: Sequence[RoiHeadConfig], losses: Sequence[str] = ()) -> None:
    """Refuses heads whose names collide.

    Args:
        heads: of one model.
        losses: names that other components use.

    Raises:
        ConfigError: two heads have a name of a layer, a loss or an output in common, or an output has the name of a
            field of its own with another meaning.
    """
    layers = [head.layer_name for head in heads]
    outputs = [name for head in heads for output in head.named_outputs for name in _names_of(output)]
    terms = [*losses, *(name for head in heads for name in head.loss_names)]
    for what, names in (("layer", layers), ("output", outputs), ("loss", terms)):
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"heads: two of them have the {what} {name!r}; give one of them another `name`")


def _names_of(output: HeadOutput) -> tuple[str, ...]:
    return (output.name, output.boxes_name) if output.paste is not None else (output.name,)


def _zero_padding(value: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """[B, D, ...] with zeros where bool[B, D] is False."""
    there = tf.reshape(valid, [*known_shape(valid), *[1] * (len(value.shape) - 2)])
    return tf.where(there, value, tf.zeros([], value.dtype))


def foreground_rois(rois: RoiSample, num: int) -> RoiSample:
    """The first `num` RoIs, where the sampler puts the foreground; those that are background count as padding."""
    first = RoiSample(*(field[:, :num] for field in rois))
    return first._replace(valid=first.valid & first.foreground)


def merge_rois(x: tf.Tensor) -> tf.Tensor:
    """[B, S, ...] -> [B * S, ...], so that layers for images serve RoIs."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def split_rois(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[B * S, ...] -> [B, S, ...] with B and S of `like` [B, S, ...]."""
    shape = known_shape(like)
    return tf.reshape(x, [*shape[:2], *x.shape[1:]])
