"""A class with one object against a hundred of another is found all the same."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.inference import detect
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.structures import Annotation
from mrcnn.training.fit import train
from tests.training.drawn import SIDE, FewConvsConfig, small_model
from tests.training.test_resume import recipe_of

COMMON, RARE = 1, 2


class Squares(Dataset):
    """Noise with one bright square: green ones are common, blue ones are in the pictures named."""

    def __init__(self, num: int, rare: set[int], seed: int) -> None:
        super().__init__()
        self.add_class("squares", 1, "common")
        self.add_class("squares", 2, "rare")
        rng = np.random.default_rng(seed)
        self.pictures = rng.integers(0, 60, (num, SIDE, SIDE, 3)).astype(np.uint8)
        for i, picture in enumerate(self.pictures):
            class_id = RARE if i in rare else COMMON
            side = int(rng.integers(14, 28))
            y, x = rng.integers(0, SIDE - side, 2).tolist()
            picture[y : y + side, x : x + side, class_id] = 250
            box = Annotation(class_id, (y, x, y + side, x + side))
            self.add_image("squares", i, None, width=SIDE, height=SIDE, annotations=[box])

    def load_image(self, index: int) -> np.ndarray:
        return self.pictures[index]


@pytest.mark.slow
def test_one_rare_object_among_a_hundred_is_enough():
    config = small_model().config
    config = dataclasses.replace(
        config,
        backbone=FewConvsConfig(width=16),
        box_head=dataclasses.replace(config.box_head, class_agnostic=True, class_weights=(1.0, 1.0, 3.0)),
    )
    keras.utils.set_random_seed(0)
    model = MaskRCNN(config, ["common", "rare"])
    recipe = recipe_of(
        train__images=4 * 400,
        train__batch_size=4,
        train__learning_rate=0.02,
        train__warmup_images=80,
        train__unfreeze=[],
        train__train_layers="all",
        train__weight_average=0.0,
        data__crop=None,
        data__scale_jitter=None,
        data__flip_vertical=0.5,
        data__repeat_threshold=0.25,  # the rare picture is shown sqrt(0.25 / 0.01) = 5 times an epoch
    )
    train(model, Squares(101, {50}, 0), recipe=recipe, verbose=0)
    unseen = Squares(30, set(range(30)), 1)
    found = 0
    for i, instances in enumerate(detect(model, [unseen.load_image(i) for i in range(30)], 10, score_threshold=0.5)):
        y1, x1, y2, x2 = unseen.record(i).annotations[0].box
        for box, class_id in zip(instances.boxes, instances.class_ids, strict=True):
            sides = np.clip(np.minimum(box[2:], (y2, x2)) - np.maximum(box[:2], (y1, x1)), 0, None)
            common = sides.prod()
            if class_id == RARE and common / ((box[2:] - box[:2]).prod() + (y2 - y1) * (x2 - x1) - common) >= 0.5:
                found += 1
                break
    assert found > 0.8 * 30
