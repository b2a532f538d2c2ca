from __future__ import annotations

import re

import yaml

import mrcnn
from tests.cli.runner import invoke


def test_recipes_are_listed_and_printed_as_yaml():
    listed = invoke("recipes").output
    for name, recipe in mrcnn.recipes.named().items():
        assert re.search(rf"^{name} .* {recipe.model.input.short_side} ", listed, re.MULTILINE), name
    printed = invoke("recipes", "mask_rcnn_r101_fpn").output
    assert mrcnn.Recipe.from_dict(yaml.safe_load(printed)) == mrcnn.recipes.get("mask_rcnn_r101_fpn")
