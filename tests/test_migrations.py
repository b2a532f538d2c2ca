from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import yaml

from mrcnn import recipes
from mrcnn.base_config import ConfigError
from mrcnn.migrations import migrate_model, migrate_overrides, migrate_recipe
from mrcnn.modeling.heads.mlp_mask import MLPMaskHeadConfig
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy, MaskCrossEntropy
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.recipes import Recipe
from tests.conftest import ASSETS

LITE = "mask_rcnn_efficientnet_lite0_fpn"  # detects at 512, trains at 416 to 512


def recipe_before(data: dict[str, Any], **model_input: Any) -> dict[str, Any]:
    """A whole recipe as it was written when the data config had a size of its own."""
    plain = Recipe().override({f"model.input.{name}": value for name, value in model_input.items()}).to_dict()
    plain["data"] = {"short_sides": [800], "long_side": 1333, "divisor": 32} | data
    return plain


def migrated(plain: dict[str, Any]) -> tuple[tuple[int, ...], int, int, int]:
    before = copy.deepcopy(plain)
    recipe = Recipe.from_dict(plain)
    assert plain == before  # not changed in place
    again = Recipe.from_dict(recipe.to_dict())
    assert again == recipe
    size = recipe.model.input
    return recipe.data.short_sides, size.short_side, size.long_side, size.divisor


def test_one_size_that_is_the_models_says_nothing(caplog):
    assert migrated(recipe_before({})) == ((), 800, 1333, 32)
    assert caplog.messages == []


def test_one_size_that_differs_becomes_the_models(caplog):
    """The size one trains at is the size one should detect at."""
    plain = recipe_before({"short_sides": [256], "long_side": 352, "divisor": 64}, short_side=512, long_side=832)
    assert migrated(plain) == ((), 256, 352, 64)
    assert caplog.messages == [
        "data.short_sides, data.long_side and data.divisor now belong to the model: set model.input.long_side=352, "
        "model.input.divisor=64, model.input.short_side=256"
    ]


def test_several_sizes_stay(caplog):
    plain = recipe_before({"short_sides": [640, 800], "long_side": 1333})
    assert migrated(plain) == ((640, 800), 800, 1333, 32)
    assert caplog.messages == []
    # The limit belonged to the largest size, 640: that of 512 is smaller in proportion.
    plain = recipe_before({"short_sides": [384, 640], "long_side": 1280}, short_side=512, long_side=1333)
    assert migrated(plain) == ((384, 640), 512, 1024, 32)
    assert len(caplog.messages) == 1


def test_images_at_their_own_size():
    """An empty list meant that training did not resize."""
    recipe = Recipe.from_dict(recipe_before({"short_sides": [], "long_side": 2000}))
    assert recipe.data.short_sides == ()
    assert recipe.model.input.content_size(300, 500) == (300, 500)
    assert recipe.model.input.content_size(1000, 4000) == (500, 2000)


def test_the_model_of_a_recipe_is_migrated_as_that_of_a_checkpoint():
    plain = recipe_before({})
    plain["model"]["input"]["padding"] = "centre"
    assert Recipe.from_dict(plain).model.input.padding == "center"
    assert plain["model"]["input"]["padding"] == "centre"


def test_the_present_form_is_left_alone():
    for name, recipe in recipes.named().items():
        assert migrate_recipe(recipe.to_dict()) == recipe.to_dict(), name
    plain = Recipe().to_dict()
    plain["data"]["short_sides"] = [640]  # trains at another size than it detects at, as both are stated
    assert Recipe.from_dict(plain).data.short_sides == (640,)
    assert Recipe.from_dict(plain).model.input.short_side == 800
    assert Recipe.from_dict({"data": {"short_sides": [640]}}).model.input.short_side == 640


@pytest.mark.parametrize(
    "plain, message",
    [
        ({"data": {"short_sides": 800, "long_side": 9}}, r"data\.short_sides: expected a list, got 800"),
        ({"data": {"short_sides": [0, 0], "long_side": 9}, "model": {"input": {"short_side": 0}}}, r"at least 1, got"),
        ({"data": {"short_sides": [8, "x"], "long_side": 9}}, r"data\.short_sides\[1\]: expected int, got 'x'"),
        ({"data": {"short_sides": 800}}, r"data\.short_sides: expected a list, got 800"),
        ({"data": {"short_sides": ["a"], "long_side": 9}}, r"model\.input\.short_side: expected int, got 'a'"),
        ({"data": {"long_side": None}}, r"model\.input\.long_side: expected int, got None"),
        ({"data": {"divisor": 0}}, r"input\.divisor: expected at least 1, got 0"),
        ({"data": {"long_side": 9}, "model": 3}, r"data: DataConfig has no field 'long_side'|model: expected a map"),
        ({"data": {"long_side": 9}, "model": {"input": 3}}, r"data: DataConfig has no field|input: expected a map"),
        ({"data": []}, r"data: expected a mapping"),
        (None, r"expected a mapping"),
    ],
)
def test_what_is_wrong_is_reported_by_the_config(plain: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict(plain)


def test_the_shipped_recipe_of_before_is_the_shipped_recipe(samples_dir):
    """Two ways to write the same; and the file that is shipped now states no size twice."""
    before = recipes.load(ASSETS / "recipes" / "nuclei_before_model_input.yaml")
    now = recipes.load(samples_dir / "nuclei" / "run" / "recipe.yaml")
    assert before == now
    assert now.model.input.short_side == 512 and now.model.input.long_side == 1024
    plain = yaml.safe_load((samples_dir / "nuclei" / "run" / "recipe.yaml").read_text())
    assert not {"long_side", "divisor"} & plain["data"].keys()


def test_overrides_of_before_set_the_models_size(caplog):
    """The command `--set data.short_sides=[256] --set data.long_side=352` is these overrides."""
    recipe = recipes.get(LITE)
    with caplog.at_level(logging.INFO, "mrcnn"):
        changed = recipe.override({"data.short_sides": [256], "data.long_side": 352, "data.mask_side": 28})
    assert changed.data.short_sides == () and changed.data.mask_side == 28
    assert (changed.model.input.short_side, changed.model.input.long_side) == (256, 352)
    assert caplog.messages == [
        "data.short_sides, data.long_side and data.divisor now belong to the model: set model.input.long_side=352, "
        "model.input.short_side=256"
    ]
    assert recipe.override({"data.divisor": 64}).model.input.divisor == 64


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"train.images": 5}, {"train.images": 5}),
        ({"data.short_sides": []}, {"data.short_sides": []}),
        ({"data.short_sides": [256]}, {"data.short_sides": [], "model.input.short_side": 256}),
        ({"data.short_sides": [256, 512]}, {"data.short_sides": [256, 512]}),
        (
            {"data.short_sides": [256, 1024], "data.long_side": 2000},
            {"data.short_sides": [256, 1024], "model.input.long_side": 1000},
        ),
        # What is said of the model's input beside them wins.
        (
            {"data.short_sides": [64], "data.long_side": 96, "model.input.short_side": 64, "model.input.long_side": 90},
            {"data.short_sides": [], "model.input.short_side": 64, "model.input.long_side": 90},
        ),
        (
            {"data.short_sides": [48], "model.input.short_side": 64},
            {"data.short_sides": [48], "model.input.short_side": 64},
        ),
    ],
)
def test_overrides_of_before(changes: dict[str, Any], expected: dict[str, Any]):
    assert migrate_overrides(changes, 512) == expected


def test_a_wrong_override_names_the_field():
    with pytest.raises(ConfigError, match=r"model\.input\.short_side: expected int, got 'x'"):
        recipes.get(LITE).override({"data.short_sides": ["x"]})
    with pytest.raises(ConfigError, match=r"data\.short_sides: expected a list, got 256"):
        recipes.get(LITE).override({"data.short_sides": 256})


def test_a_perceptron_is_a_mask_head_of_its_own():
    plain = Recipe().model.to_dict()
    plain["heads"][0]["mlp_dims"] = []
    assert MaskRCNNConfig.from_dict(plain) == Recipe().model
    plain["heads"][0] |= {"mlp_dims": [7, 6], "class_agnostic": True}
    plain["heads"][0]["pool"]["size"] = 5
    model = MaskRCNNConfig.from_dict(plain)
    pool = RoiPoolConfig(size=5)
    assert model.heads == (MLPMaskHeadConfig(pool=pool, fc_dims=(7, 6), mask_size=10, class_agnostic=True),)
    assert model.heads[0].layer_name == "mask_head"  # as its weights are named in the file
    assert migrate_model(model.to_dict()) == model.to_dict()
    plain["heads"][0]["mlp_dims"] = "x"
    with pytest.raises(ConfigError, match=r"heads\[0\]\.fc_dims: expected a list, got 'x'"):
        MaskRCNNConfig.from_dict(plain)


def test_parameters_of_losses_belong_to_the_losses():
    plain = Recipe().model.to_dict()
    box, mask = plain["box_head"], plain["heads"][0]
    for name in ("class_loss", "box_loss"):
        del box[name]
    box |= {"smooth_l1_beta": 0.5, "focal_gamma": 2.0, "class_weights": [1.0] * 81}
    del mask["activation"]
    mask["loss"] = "softmax"
    before = copy.deepcopy(plain)
    model = MaskRCNNConfig.from_dict(plain)  # as a checkpoint's config is read
    assert plain == before
    assert model.box_head.box_loss == SmoothL1(0.5)
    assert model.box_head.class_loss == ClassCrossEntropy(2.0, (1.0,) * 81)
    assert (model.heads[0].activation, model.heads[0].loss) == ("softmax", MaskCrossEntropy())
    assert migrate_model(model.to_dict()) == model.to_dict()
    assert Recipe.from_dict({**Recipe().to_dict(), "model": plain}).model == model
    del box["focal_gamma"], box["class_weights"]
    assert MaskRCNNConfig.from_dict(plain).box_head.class_loss == ClassCrossEntropy()
    with pytest.raises(ConfigError, match=r"box_head\.box_loss\.beta: expected float, got 'x'"):
        MaskRCNNConfig.from_dict({**plain, "box_head": {**box, "smooth_l1_beta": "x"}})
