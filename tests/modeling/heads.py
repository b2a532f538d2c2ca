"""A head of several outputs, for tests of what every head has in common."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from mrcnn.modeling.heads.base import HeadLoss, HeadOutput, RoiHead, RoiHeadConfig, foreground_rois
from mrcnn.modeling.layers import float32_output
from mrcnn.structures.tensors import LossTerm


@dataclasses.dataclass(frozen=True)
class ProbeHeadConfig(RoiHeadConfig):
    """Predicts a number from the mean feature of a RoI; gives it, a class id, a map and the middle of the box."""

    def build(self, num_classes, pooler, name):
        layer = ProbeHead(self, pooler, name=name)
        layer.build(pooler.out_channels)
        return layer

    @property
    def losses(self):
        return (HeadLoss("probe"),)

    @property
    def outputs(self):
        return (
            HeadOutput("quality", draw="label", result_key="quality"),
            HeadOutput("kind", dtype="int32", draw="label"),
            HeadOutput("heat", (3, 3), frame="box", mirror="columns"),
            HeadOutput("middle", (1, 3), frame="image", draw="points", result_key="middle"),
            HeadOutput("secret", (2,), exported=False),
        )


class ProbeHead(RoiHead):
    """See `ProbeHeadConfig`. Keeps what it was called with."""

    def __init__(self, config, pooler, **kwargs):
        super().__init__(config, pooler, **kwargs)
        self.dense = keras.layers.Dense(1, name="dense")
        object.__setattr__(self, "calls", [])

    def build(self, channels):
        self.dense.build((None, None, channels))
        self.built = True

    def call(self, features, boxes, valid, window, training=None, class_ids=None, seed=None, targets=None):
        self.calls.append({"class_ids": class_ids, "seed": seed, "targets": targets, "training": training})
        return float32_output(self.dense(tf.reduce_mean(self.pooler(features, boxes, valid), [2, 3])))[..., 0]

    def rois_for(self, rois):
        return foreground_rois(rois, 8)

    def targets(self, rois, batch):
        return {"area": tf.reduce_prod(rois.boxes[..., 2:] - rois.boxes[..., :2], -1) / 1e4}

    def loss(self, pred, targets, rois):
        values = tf.where(rois.valid, tf.abs(pred - targets["area"]), 0.0)
        return {"probe": LossTerm(tf.reduce_sum(values), tf.reduce_sum(tf.cast(rois.valid, tf.float32)))}

    def predict(self, pred, detections):
        boxes = detections.boxes
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        ramp = tf.reshape(tf.range(9.0), [1, 1, 3, 3])
        return {
            "quality": tf.sigmoid(pred),
            "kind": 7 * detections.class_ids,
            "heat": ramp + 0.0 * pred[..., tf.newaxis, tf.newaxis],
            "middle": tf.concat([middle[..., ::-1], tf.ones_like(middle[..., :1])], -1)[:, :, tf.newaxis],
            "secret": tf.stack([pred, pred], -1),
        }
