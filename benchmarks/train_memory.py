"""Memory and time of a training step by backbone, image size and batch; each case in a process of its own.

Memory on the CPU is the highest resident memory of the process above that before the model is built: weights,
gradients, momentum, activations and work space. On a GPU it is the most that TensorFlow held there at once
after the first step. Time is
the fastest of the steps after the first, in seconds and as a multiple of the first case's; it means something only on a
machine that does nothing else.

    python benchmarks/train_memory.py [--case RECIPE:HEIGHTxWIDTH:BATCH[:KEY=VALUE] ...] [--steps 3]

Options of a case: recompute_backbone=1, precision=mixed_float16 or mixed_bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from memory import peak_mb

ROOT = Path(__file__).resolve().parent.parent
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


def measure(case: str, steps: int) -> dict[str, float]:
    """Peak memory in MB and seconds of a step, of this process."""
    sys.path.insert(0, str(ROOT))
    import keras
    import numpy as np
    import psutil
    import tensorflow as tf

    from mrcnn import recipes, set_trainable

    name, size, batch_size, *options = case.split(":")
    (height, width), num = (int(v) for v in size.split("x")), int(batch_size)
    recipe = recipes.get(name)
    classes = 1 if recipe.data.num_joints else CLASSES
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.5, (num, OBJECTS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (num, OBJECTS, 2))], -1)
    batch = {
        "image": rng.integers(0, 256, (num, height, width, 3), dtype=np.uint8),
        "image_id": np.arange(num),
        "original_shape": np.full((num, 2), (height, width), np.int32),
        "content_shape": np.full((num, 2), (height, width), np.int32),
        "gt_boxes": (boxes * (height, width, height, width)).astype(np.float32),
        "gt_class_ids": rng.integers(1, classes + 1, (num, OBJECTS)).astype(np.int32),
        "gt_masks": np.ones((num, OBJECTS, 56, 56), np.uint8),
        "gt_crowd": np.zeros((num, OBJECTS), bool),
        "gt_valid": np.ones((num, OBJECTS), bool),
        "seed": np.arange(2 * num, dtype=np.int32).reshape(num, 2),
    }
    if recipe.data.num_joints:
        middle = (batch["gt_boxes"][..., None, :2] + batch["gt_boxes"][..., None, 2:]) / 2
        points = np.concatenate([middle[..., ::-1], np.full((num, OBJECTS, 1, 1), 2.0)], -1)
        batch["gt_keypoints"] = np.repeat(points, recipe.data.num_joints, 2).astype(np.float32)
    batch = {key: tf.constant(value) for key, value in batch.items()}
    process = psutil.Process()
    before = process.memory_info().rss
    for option in options:
        key, value = option.split("=")
        if key == "precision":
            keras.config.set_dtype_policy(value)
    model = recipe.build_model([f"c{i}" for i in range(classes)])
    model.recompute_backbone = "recompute_backbone=1" in options
    set_trainable(model, "all_but_frozen")
    model.compile(keras.optimizers.SGD(1e-5, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    step = tf.function(model.train_step, autograph=False)
    gpu = bool(tf.config.list_physical_devices("GPU"))
    times = []
    for i in range(steps + 1):
        if gpu and i == 1:  # the first step tries convolution algorithms with all the work space there is
            tf.config.experimental.reset_memory_stats("GPU:0")
        begin = time.perf_counter()
        float(step(batch)["loss"])
        times.append(time.perf_counter() - begin)
    if gpu:
        memory = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    else:
        memory = peak_mb() - before / 2**20
    return {"mb": memory, "seconds": min(times[1:])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="*", default=list(CASES))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.steps)))
        return
    first = None
    print(f"{'recipe':34} {'image':>10} {'batch':>5} {'memory':>9} {'step':>9} {'time':>6}  options")
    for case in arguments.case:
        command = [sys.executable, __file__, "--one", case, "--steps", str(arguments.steps)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        name, size, batch_size, *options = case.split(":")
        if done.returncode:
            print(f"{name:34} {size:>10} {batch_size:>5} failed: {done.stderr.splitlines()[-1:]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        first = first or found["seconds"]
        ratio = found["seconds"] / first
        print(
            f"{name:34} {size:>10} {batch_size:>5} {found['mb']:6.0f} MB {found['seconds']:7.3f} s {ratio:5.2f}x"
            f"  {' '.join(options)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
