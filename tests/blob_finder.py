"""A stand-in for the model with a known answer: tests the way to the model and back, not the model."""

from __future__ import annotations

import types

import keras
import numpy as np
import tensorflow as tf

from mrcnn.modeling.input import InputConfig
from mrcnn.structures.outputs import MASKS


class BlobFinder(keras.Model):
    """Stands in for the model where only the way there and back is tested: one class a color channel.

    Finds the bounding box of the bright pixels of each channel; its mask is the left half of the box. The fourth entry
    is never valid.
    """

    def __init__(self, short_side=64, long_side=128, divisor=32, **rules):
        super().__init__()
        self.config = types.SimpleNamespace(
            input=InputConfig(short_side, long_side, divisor, **rules), outputs=(MASKS,)
        )
        self.class_names = ("red", "green", "blue")
        self.gain = self.add_weight(name="gain", shape=(), initializer="ones")
        self.built = True
        self.traces = 0
        self.batch_shapes = []

    def call(self, batch, training=None):
        self.traces += 1
        image = tf.cast(batch["image"], tf.float32) * self.gain
        bright = tf.transpose(image > 128, [0, 3, 1, 2])  # [B, 3, H, W]

        def extent(axis):
            any_ = tf.cast(tf.reduce_any(bright, axis=axis), tf.int32)
            size = tf.shape(any_)[-1]
            first = tf.argmax(any_, axis=-1, output_type=tf.int32)
            last = size - tf.argmax(any_[..., ::-1], axis=-1, output_type=tf.int32)
            return first, last

        (y1, y2), (x1, x2) = extent(3), extent(2)
        boxes = tf.cast(tf.stack([y1, x1, y2, x2], axis=-1), tf.float32)  # [B, 3, 4]
        boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
        result = tf.pad(tf.reduce_any(bright, axis=[2, 3]), [[0, 0], [0, 1]])
        b = tf.shape(boxes)[0]
        masks = tf.tile(tf.repeat([[1.0, 0.0]], 14, axis=1)[tf.newaxis, tf.newaxis], [b, 4, 28, 1])
        return {
            "boxes": boxes,
            "class_ids": tf.tile([[1, 2, 3, 0]], [b, 1]),
            "scores": tf.tile([[0.9, 0.6, 0.3, 0.0]], [b, 1]),
            "valid": result,
            "masks": masks,
        }


def image(height, width, *blobs):
    """Black, with a rectangle (channel, y1, x1, y2, x2) in each of the given channels."""
    canvas = np.zeros((height, width, 3), np.uint8)
    for channel, y1, x1, y2, x2 in blobs:
        canvas[y1:y2, x1:x2, channel] = 255
    return canvas


def mixed_images(num, seed=0):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(num):
        h, w = rng.integers(20, 200, 2)
        blobs = [(c, h // 4, w // 5 * c, h // 2, w // 5 * (c + 1)) for c in range(3) if rng.random() < 0.7]
        images.append(image(h, w, *blobs))
    return images
