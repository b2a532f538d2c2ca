"""Shared by the tests of the pipeline: a set of rectangles whose images say which one they are."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline import DataConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.records import Annotation

INPUT = InputConfig(short_side=32, long_side=64)
SMALL = DataConfig(max_instances=4, mask_side=14, flip_horizontal=0.0)
CROP = dataclasses.replace(
    SMALL,
    crop=(32, 32),
    scale_jitter=(0.5, 2.0),
    flip_horizontal=0.5,
    flip_vertical=0.5,
    rotate90=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.05,
)


class Rectangles(Dataset):
    """Image i is gray level i and has i % 4 objects; odd ones are portrait."""

    def __init__(self, count: int = 6, string_ids: bool = False) -> None:
        super().__init__()
        self.add_class("x", 1, "thing")
        for i in range(count):
            h, w = (60, 30) if i % 2 else (30, 60)
            boxes = [(3.0 + k, 2.0, 20.0, 20.0 + k) for k in range(i % 4)]
            annotations = [Annotation(1, box, annotation_id=k) for k, box in enumerate(boxes)]
            image_id = f"p{i}" if string_ids else 100 + i
            self.add_image("x", image_id, None, height=h, width=w, annotations=annotations)

    def load_image(self, index: int) -> np.ndarray:
        return np.full((*self.image_shape(index), 3), index, np.uint8)


def ids(batches) -> list[list[int]]:
    return [b["image_id"].numpy().tolist() for b in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


def arrays(data: tf.data.Dataset, num: int) -> list[dict[str, Any]]:
    return list(data.take(num).as_numpy_iterator())
