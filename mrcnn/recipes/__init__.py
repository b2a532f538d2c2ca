"""Recipes: everything that decides a training run, composed of the components' config. Named ones and files.

recipe = mrcnn.recipes.get("mask_rcnn_r50_fpn_1x").override({"train.batch_size": 4, "model.input.short_side": 640})
model = recipe.build_model(dataset.class_names)
"""

from mrcnn.recipes.named import SCHEDULES as SCHEDULES
from mrcnn.recipes.named import get as get
from mrcnn.recipes.named import named as named
from mrcnn.recipes.recipe import Recipe as Recipe
from mrcnn.recipes.recipe import load as load
from mrcnn.recipes.train_config import REFERENCE_BATCH as REFERENCE_BATCH
from mrcnn.recipes.train_config import TrainConfig as TrainConfig
