"""A stand-in that trains in milliseconds: tests the way to the model and what is kept of a run, not the model."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.records import Annotation


class MeanColor(keras.Model):
    """Trains the mean color of the images; has a backbone and a head as far as choosing weights goes."""

    def __init__(self, class_names=("thing", "other")):
        super().__init__(name="mean_color")
        self.config = MaskRCNNConfig(num_classes=len(class_names), input=InputConfig(96, 96))
        self.class_names = tuple(class_names)
        self.category_ids = tuple(range(1, len(class_names) + 1))
        self.backbone = keras.Sequential([keras.layers.Dense(3, name="stem_mix")], name="backbone")
        self.backbone.build((None, 3))
        self.head = keras.layers.Dense(3, name="head")
        self.head.build((None, 3))
        self.built = True

    def call(self, batch, training=None):
        image = tf.cast(batch["image"], tf.float32) / 255.0
        mean = tf.reduce_mean(image, [1, 2])
        pred = self.head(self.backbone(tf.ones_like(mean)))
        return {"rpn_box": tf.reduce_mean(tf.square(pred - mean))}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return y_pred["rpn_box"]


def write_set(folder: Path, num: int = 4, side: int = 96, prefix: str = "image") -> Dataset:
    """Images of noise with two bright rectangles each, of classes "thing" (id 3) and "other" (id 8); ids from 100."""
    rng = np.random.default_rng(num)
    dataset = Dataset()
    dataset.add_class("shapes", 3, "thing")
    dataset.add_class("shapes", 8, "other")
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num):
        image = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
        annotations = []
        for class_id in (1, 2):
            y, x = rng.integers(0, side // 2, 2)
            h, w = rng.integers(side // 6, side // 2, 2)
            image[y : y + h, x : x + w, class_id] = 250
            annotations.append(Annotation(class_id, (y, x, y + h, x + w), annotation_id=2 * i + class_id))
        path = folder / f"{prefix}{i}.png"
        cv2.imwrite(str(path), image)
        dataset.add_image("shapes", 100 + i, path, width=side, height=side, annotations=annotations)
    return dataset
