"""Panoptic quality of a model with a known answer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.data.pipeline import DataConfig
from mrcnn.errors import InputError
from mrcnn.evaluation.panoptic import evaluate_panoptic_files
from mrcnn.modeling.semantic_head import SemanticHeadConfig
from mrcnn.recipes import Recipe
from mrcnn.recipes.train_config import TrainConfig
from tests.blob_finder import image
from tests.inference.test_panoptic import SkyAbove
from tests.tiny_model import tiny_config


class Scene(mrcnn.Dataset):
    """What `SkyAbove` finds in images with a red rectangle, whose left half is its mask."""

    def __init__(self, sides: tuple[tuple[int, int], ...] = ((64, 96), (64, 64))) -> None:
        super().__init__()
        for number, name in enumerate(("red", "green", "blue"), start=1):
            self.add_class("x", number, name)
        self.stuff_names = ("ground", "sky")
        for number, (height, width) in enumerate(sides):
            box = (8, 8, 24, 40)
            mask = mrcnn.Annotation(1, (*box[:3], 24))
            self.add_image("x", number, None, height=height, width=width, annotations=[mask])

    def load_image(self, index: int) -> np.ndarray:
        return image(*self.image_shape(index), (0, 8, 8, 24, 40))

    def load_semantic(self, index: int) -> np.ndarray:
        height, width = self.image_shape(index)
        return np.repeat([2, 1], (height // 2, height // 2)).astype(np.uint8)[:, None].repeat(width, 1)


def test_what_is_found_is_measured_and_written(tmp_path: Path) -> None:
    data, model = Scene(), SkyAbove()
    model.config.stuff_names = data.stuff_names
    result = mrcnn.evaluate_panoptic(model, data, batch_size=2, out=tmp_path, min_stuff_area=1)
    assert result.numbers["PQ_things"] == 1.0 and 0.9 < result.numbers["PQ_stuff"] <= 1.0
    assert set(result.per_class) == {(True, "red"), (False, "ground"), (False, "sky")}
    assert str(result).splitlines()[1].startswith("panoptic") and "things" in str(result)
    assert mrcnn.evaluate_panoptic(model, data, min_stuff_area=1) == result
    data.save(tmp_path / "annotated.json", "coco_panoptic")
    written = json.loads((tmp_path / "panoptic.json").read_text())["annotations"]
    assert [len(entry["segments_info"]) for entry in written] == [3, 3]
    assert evaluate_panoptic_files(tmp_path / "annotated.json", tmp_path / "panoptic.json") == result.numbers


def test_other_classes_are_refused() -> None:
    model = SkyAbove()
    data = Scene()
    data.stuff_names = ()
    with pytest.raises(InputError, match="evaluate_panoptic: stuff: the model has 2 classes, the data set 0"):
        mrcnn.evaluate_panoptic(model, data)
    data = Scene()
    data.add_class("x", 9, "more")
    with pytest.raises(InputError, match="evaluate_panoptic: the model has 3 classes, the data set 4"):
        mrcnn.evaluate_panoptic(model, data)


@pytest.mark.slow
def test_a_model_is_trained_kept_and_measured(tmp_path: Path) -> None:
    data = Scene()
    config = dataclasses.replace(
        tiny_config(), semantic_head=SemanticHeadConfig(channels=16), stuff_names=data.stuff_names
    )
    train = TrainConfig(images=8, batch_size=2, warmup_images=0)
    recipe = Recipe(config, DataConfig(mask_side=14, max_instances=4, semantic_maps=True), train)
    other = recipe.build_model(data.class_names, data.category_ids, stuff_names=("earth", "sky"))
    message = (
        "train: stuff: 1 of 2 class names differs: class 1 is 'earth' in the model and 'ground' in the training set"
    )
    with pytest.raises(InputError, match=message):
        mrcnn.train(other, data, recipe=recipe, out=tmp_path / "run")
    model = recipe.build_model(data.class_names, data.category_ids, stuff_names=data.stuff_names)
    history = mrcnn.train(model, data, recipe=recipe, out=tmp_path / "run")
    losses = np.genfromtxt(tmp_path / "run/history.csv", delimiter=",", names=True)["semantic"]
    assert losses[-1] < losses[0] and history is not None
    again = mrcnn.load_model(tmp_path / "run/model.safetensors")
    assert again.config.stuff_names == ("ground", "sky")
    assert "mask + semantic" in str(mrcnn.describe_weights(tmp_path / "run/model.safetensors"))
    pixels = data.load_image(0)
    assert mrcnn.detect_panoptic(again, pixels) == mrcnn.detect_panoptic(model, pixels)
