"""Backbones: a training step and detection of each recipe's model against that of Mask R-CNN R50-FPN.

Every model has random weights, the same images, boxes and masks, and the same number of RoIs, in float32 on two
threads; heads, pyramid and optimizer are each recipe's own. Detections are all of the best 100, whatever their score.
Only the ratios mean anything on a machine that does other work.

    python benchmarks/backbones.py [--case train:SIDE:BATCH detect:SIDE:BATCH ...] [--rounds N]
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import harness
from training_data import draw, make_batch

OBJECTS, CLASSES, ROIS, THREADS = 6, 80, 128, 2
RECIPES = {
    "R50": "mask_rcnn_r50_fpn",
    "ConvNeXt-T": "mask_rcnn_convnext_tiny_fpn",
    "Swin-T": "mask_rcnn_swin_t_fpn",
    "EfficientNetV2-S": "mask_rcnn_efficientnetv2_s_fpn",
    "MobileNetV3-L, light": "mask_rcnn_mobilenetv3_fpn",
    "EfficientNet-Lite0, light": "mask_rcnn_efficientnet_lite0_fpn",
}


def start(recipe_name: str, case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One step, or one batch of images, of a recipe's model."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    import mrcnn

    what, side, num = case.split(":")
    sides: dict[str, Any] = {"model.input.short_side": int(side), "model.input.long_side": int(side)}
    rois = {"model.roi_sampler.num_rois": ROIS, "model.heads.0.num_foreground": ROIS // 4}
    keras.utils.set_random_seed(0)
    recipe = mrcnn.recipes.get(recipe_name).override({**sides, **rois, "model.box_head.score_threshold": 0.0})
    model = recipe.build_model([f"c{i}" for i in range(CLASSES)])
    drawn = draw((int(side), int(side)), int(num), OBJECTS, CLASSES)
    if what == "detect":
        images = list(drawn[0])
        return lambda: {"detections": float(sum(map(len, mrcnn.detect(model, images, score_threshold=None))))}
    mrcnn.set_trainable(model, "all_but_frozen")
    model.compile(keras.optimizers.SGD(1e-5, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    train, batch = tf.function(model.train_step, autograph=False), make_batch(drawn, 28)

    def run() -> harness.Answer:
        begin = time.perf_counter()
        float(train(batch)["loss"])
        return {"seconds": time.perf_counter() - begin}

    return run


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={name: functools.partial(start, recipe) for name, recipe in RECIPES.items()},
    cases=("train:512:1", "detect:512:1"),
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
