"""Memory and time of a training step by backbone, image size and batch; each case in a process of its own.

Memory on the CPU is the highest resident memory of the process above that before the model is built: weights,
gradients, momentum, activations and work space. On a GPU it is the most that TensorFlow held there at once after the
first step. Time is the fastest of the steps after the first.

    python benchmarks/train_memory.py [--case RECIPE:HEIGHTxWIDTH:BATCH[:KEY=VALUE] ...] [--steps 3]

Options of a case: recompute_backbone=1, precision=mixed_float16 or mixed_bfloat16.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import harness
from training_data import draw, make_batch

OBJECTS, CLASSES = 8, 80
CASES = (
    "mask_rcnn_r50_fpn:512x512:1",
    "mask_rcnn_r50_fpn:512x512:2",
    "mask_rcnn_r50_fpn:512x512:2:recompute_backbone=1",
    "mask_rcnn_r50_fpn:800x1344:1",
    "mask_rcnn_r101_fpn:512x512:1",
    "mask_rcnn_x101_32x8d_fpn:512x512:1",
    "mask_rcnn_r50_c4:512x512:1",
    "cascade_mask_rcnn_r50_fpn:512x512:1",
    "keypoint_rcnn_r50_fpn:512x512:1",
    "mask_rcnn_efficientnet_lite0_fpn:512x512:4",
)


def ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """A few steps of a recipe's model."""
    import keras
    import psutil
    import tensorflow as tf

    from mrcnn import recipes, set_trainable

    name, size, batch_size, *choices = case.split(":")
    (height, width), num = (int(v) for v in size.split("x")), int(batch_size)
    recipe = recipes.get(name)
    classes = 1 if recipe.data.num_joints else CLASSES
    batch = make_batch(draw((height, width), num, OBJECTS, classes), 56, recipe.data.num_joints)
    before = psutil.Process().memory_info().rss
    for choice in choices:
        key, value = choice.split("=")
        if key == "precision":
            keras.config.set_dtype_policy(value)
    gpu = bool(tf.config.list_physical_devices("GPU"))

    def run() -> harness.Answer:
        model = recipe.build_model([f"c{i}" for i in range(classes)])
        model.recompute_backbone = "recompute_backbone=1" in choices
        set_trainable(model, "all_but_frozen")
        model.compile(keras.optimizers.SGD(1e-5, momentum=0.9))
        model.optimizer.build(model.trainable_variables)
        step = tf.function(model.train_step, autograph=False)
        times = []
        for i in range(options.steps + 1):
            if gpu and i == 1:  # the first step tries convolution algorithms with all the work space there is
                tf.config.experimental.reset_memory_stats("GPU:0")
            begin = time.perf_counter()
            float(step(batch)["loss"])
            times.append(time.perf_counter() - begin)
        if gpu:
            memory = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
        else:
            memory = harness.peak_mb() - before / 2**20
        return {"seconds": min(times[1:]), "peak_mb": memory}

    return run


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={"ours": ours},
    cases=CASES,
    rounds=1,
    fresh=True,
    arguments=lambda parser: parser.add_argument("--steps", type=int, default=3),
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
