"""Keypoint head: one heatmap per joint and RoI. Ref: Mask R-CNN, section 5."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.errors import InputError
from mrcnn.modeling.heads.base import (
    HeadLoss,
    HeadOutput,
    RoiHead,
    RoiHeadConfig,
    foreground_rois,
    merge_rois,
    split_rois,
)
from mrcnn.modeling.initializers import fan_out_initializer
from mrcnn.modeling.layers import ConvStack, float32_output
from mrcnn.modeling.non_local import NonLocalBlock, NonLocalConfig
from mrcnn.modeling.normalize import NormKind
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.ops import keypoints as keypoint_ops
from mrcnn.ops import losses
from mrcnn.structures.outputs import KEYPOINTS
from mrcnn.structures.tensors import Batch, Detections, LossTerm, RoiSample, Shape


@dataclasses.dataclass(frozen=True)
class KeypointHeadConfig(RoiHeadConfig):
    """Configuration of the keypoint head; defaults are the paper's, with the 17 joints of COCO's people."""

    pool: RoiPoolConfig = RoiPoolConfig(size=14)
    num_joints: int = 17  # J
    num_foreground: int = 128  # foreground RoIs per image it trains on; F of the sampler or fewer
    conv_dims: tuple[int, ...] = (512,) * 8
    conv_norm: NormKind = "none"
    norm_epsilon: float = 1e-5
    non_local: NonLocalConfig | None = None  # blocks among the convolutions. Ref: Non-local Neural Networks, table 6
    non_local_every: int = 2  # one after so many convolutions: four among the paper's eight
    score: Literal["logit", "prob"] = "prob"  # third number of a predicted keypoint, see `ops.keypoints`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.non_local_every < 1:
            raise ConfigError(f"non_local_every: expected at least 1, got {self.non_local_every}")
        if self.non_local is None:
            return
        if len(self.conv_dims) < self.non_local_every:
            raise ConfigError(
                f"non_local and conv_dims: a block follows every {self.non_local_every} convolutions (non_local_every),"
                f" expected at least as many, got conv_dims {list(self.conv_dims)}"
            )
        if self.non_local.norm in ("bn", "sync_bn"):
            raise ConfigError(
                f"non_local.norm: expected eval_bn, gn or none in a head, whose padded RoIs would be part of the"
                f" statistics; got {self.non_local.norm}"
            )

    @property
    def losses(self) -> tuple[HeadLoss, ...]:
        """See `RoiHeadConfig.losses`."""
        return (HeadLoss("roi_keypoint", ground_truth=("gt_keypoints",)),)

    @property
    def outputs(self) -> tuple[HeadOutput, ...]:
        """See `RoiHeadConfig.outputs`: (x, y, score) of each joint."""
        return (dataclasses.replace(KEYPOINTS, shape=(self.num_joints, 3)),)

    @property
    def averaged(self) -> tuple[HeadOutput, ...]:
        """See `RoiHeadConfig.averaged`: the maps before their softmax, as in Detectron."""
        return (HeadOutput("maps", (None, None, self.num_joints), frame="box", mirror="joints"),)

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "keypoint_head") -> KeypointHead:
        """See `RoiHeadConfig.build`; the joints are the same for all classes."""
        layer = KeypointHead(self, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.out_channels))
        return layer


class KeypointTarget(NamedTuple):
    """Where each joint of each RoI's object lies."""

    cells: tf.Tensor  # i32[B, F, J], row * side + column in the grid of the prediction
    usable: tf.Tensor  # bool[B, F, J], labeled and inside a foreground RoI


class KeypointHead(RoiHead):
    """Pooling, convolutions, a transposed convolution to twice and an interpolation to four times the resolution.

    Every joint has a map of its own over the RoI, and a softmax over the map's cells: a joint is in one place. With
    `non_local` each cell also looks at all others of its RoI, after every second convolution.
    """

    config: KeypointHeadConfig

    def __init__(self, config: KeypointHeadConfig, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, pooler, **kwargs)
        self.convs = ConvStack(config.conv_dims, config.conv_norm, config.norm_epsilon, name="convs")
        self.deconv = keras.layers.Conv2DTranspose(
            config.num_joints, 4, strides=2, padding="same", kernel_initializer=fan_out_initializer(), name="deconv"
        )
        number = len(config.conv_dims) // config.non_local_every if config.non_local is not None else 0
        self.non_local = [NonLocalBlock(config.non_local, name=f"non_local{i}") for i in range(1, number + 1)]

    @property
    def map_side(self) -> int:
        """Cells per axis of the predicted maps."""
        return 4 * self.pooler.out_size

    def build(self, input_shape: Shape) -> None:
        """Create the weights for pooled features [B, S, h, w, C]."""
        if self.built:
            return
        shape = (None, *input_shape[2:])
        self.convs.build(shape)
        for i, block in enumerate(self.non_local, start=1):
            block.build((*shape[:3], self.config.conv_dims[i * self.config.non_local_every - 1]))
        self.deconv.build(self.convs.compute_output_shape(shape))
        self.built = True

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        window: tf.Tensor,
        training: bool | None = None,
        class_ids: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
        targets: KeypointTarget | None = None,
    ) -> tf.Tensor:
        """Heatmap logits f32[B, S, N, N, J], N = map_side; see `RoiHead.call`."""
        pooled = merge_rois(self.pooler(features, boxes, valid, training=training))
        x = float32_output(self.deconv(self._convolve(pooled, tf.reshape(valid, [-1]), training)))
        return split_rois(tf.image.resize(x, [self.map_side, self.map_side], "bilinear"), boxes)

    def _convolve(self, x: tf.Tensor, valid: tf.Tensor, training: bool | None) -> tf.Tensor:
        """[N, h, w, channels] -> [N, h, w, conv_dims[-1]], the non-local blocks in their places."""
        if not self.non_local:
            return self.convs(x, valid, training=training)
        blocks = iter(self.non_local)
        for number, conv in enumerate(self.convs.convs, start=1):
            x = conv(x, training=training, valid=valid)
            if number % self.config.non_local_every == 0:
                x = next(blocks)(x, training=training)
        return x

    def rois_for(self, rois: RoiSample) -> RoiSample:
        """Foreground only: the background has no joints."""
        return foreground_rois(rois, self.config.num_foreground)

    def targets(self, rois: RoiSample, batch: Batch) -> KeypointTarget:
        """The cell of each labeled joint of the matched object that lies inside the RoI.

        Raises:
            ValueError: the batch has no keypoints, or not as many joints as the head.
        """
        if "gt_keypoints" not in batch:
            raise InputError("the keypoint head trains on gt_keypoints, but the batch has none: the data has no joints")
        joints = batch["gt_keypoints"].shape[2]
        if joints != self.config.num_joints:
            raise InputError(f"gt_keypoints: expected {self.config.num_joints} joints per object, got {joints}")
        keypoints = tf.gather(batch["gt_keypoints"], rois.gt_index, batch_dims=1)  # [B, F, J, 3]
        cells, usable = keypoint_ops.keypoint_cells(keypoints, rois.boxes, self.map_side)
        return KeypointTarget(cells, usable & rois.foreground[..., tf.newaxis])

    def loss(self, pred: tf.Tensor, targets: KeypointTarget, rois: RoiSample) -> dict[str, LossTerm]:
        """Average over the usable joints of all RoIs of the cross-entropy over a map's cells."""
        maps = tf.reshape(pred, [*tf.unstack(tf.shape(pred)[:2]), self.map_side**2, self.config.num_joints])
        logits = tf.transpose(maps, [0, 1, 3, 2])  # [B, F, J, N * N]
        values = losses.softmax_cross_entropy(logits, targets.cells)
        count = tf.reduce_sum(tf.cast(targets.usable, tf.float32))
        total = self.config.loss_weight * losses.masked_sum(values, targets.usable)
        return {"roi_keypoint": LossTerm(total, count)}

    def predict(self, pred: tf.Tensor, detections: Detections) -> dict[str, tf.Tensor]:
        """The place and the score of every joint of each detection."""
        return {"keypoints": keypoint_ops.decode_keypoints(pred, detections.boxes, detections.valid, self.config.score)}

    def to_average(self, pred: tf.Tensor, detections: Detections) -> dict[str, tf.Tensor]:
        """See `RoiHead.to_average`."""
        return {"maps": pred}

    def from_average(self, values: Mapping[str, np.ndarray], detections: Detections) -> Mapping[str, np.ndarray]:
        """See `RoiHead.from_average`."""
        return {name: np.asarray(value) for name, value in self.predict(values["maps"], detections).items()}
