"""The compiled ops against their twins of TensorFlow's own operations: the same numbers and gradients, and how fast.

RoIAlign of a pyramid, RoIAlign of rotated boxes, deformable convolution (modulated), each with the gradients of what it
reads. On a GPU these are the CUDA kernels; where no op is built for this TensorFlow, it is built first. A result
further from the twin's than rounding allows ends the benchmark.

    python benchmarks/kernels.py [--case OP:DTYPE ...] [--side 64] [--rounds N]
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import harness
import numpy as np

OPS = ("roi_align", "rotated_roi_align", "deformable_conv")
CASES = [f"{op}:{dtype}" for op in OPS for dtype in ("float32", "float16", "bfloat16")]
LIMITS = {"float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}  # relative errors of a result as a whole
CHANNELS, ROIS, BATCH = 64, 100, 2

Compute = Callable[[str], list[Any]]
"""Result and gradients, by the op or by its twin."""


def prepare(case: str, side: int) -> Compute:
    """Inputs of a case, and what is computed of them."""
    import tensorflow as tf

    from mrcnn.ops.deformable_conv import deformable_conv2d
    from mrcnn.ops.roi_align import multilevel_roi_align
    from mrcnn.ops.rotated_roi_align import rotated_roi_align

    name, dtype = case.split(":")
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> Any:
        return tf.cast(rng.normal(0.0, scale, shape), dtype)

    center = rng.uniform(0, 4 * side, (BATCH, ROIS, 2)).astype(np.float32)
    size = rng.uniform(4, 2 * side, (BATCH, ROIS, 2)).astype(np.float32)
    if name == "roi_align":
        boxes = np.concatenate([center - size / 2, center + size / 2], -1)
        inputs = [normal(BATCH, side >> k, side >> k, CHANNELS) for k in range(3)]

        def forward(method: str, tensors: list[Any]) -> Any:
            return multilevel_roi_align(tensors, boxes, [4, 8, 16], 7, 2, method="op" if method == "op" else "sparse")

    elif name == "rotated_roi_align":
        turned = np.concatenate([center, size, rng.uniform(-3, 3, (BATCH, ROIS, 1)).astype(np.float32)], -1)
        inputs = [normal(BATCH, side, side, CHANNELS)]

        def forward(method: str, tensors: list[Any]) -> Any:
            return rotated_roi_align(tensors[0], turned, 4, 7, 2, method="op" if method == "op" else "sparse")

    else:
        inputs = [
            normal(BATCH, side, side, CHANNELS),
            normal(BATCH, side, side, 18, scale=2.0),
            normal(3, 3, CHANNELS, CHANNELS, scale=0.05),
            tf.sigmoid(normal(BATCH, side, side, 9)),
        ]

        def forward(method: str, tensors: list[Any]) -> Any:
            features, offsets, kernel, mask = tensors
            return deformable_conv2d(features, offsets, kernel, mask, method="op" if method == "op" else "gather")

    @tf.function(autograph=False)
    def compute(method: str) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            result = forward(method, inputs)
        wave = tf.sin(tf.range(tf.size(result), dtype=tf.float32))
        upstream = tf.cast(tf.reshape(wave, tf.shape(result)), result.dtype)
        return [result, *tape.gradient(result, inputs, output_gradients=upstream)]

    return compute


def ours(method: str, case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """The op, compared with its twin before anything is timed, or the twin."""
    import tensorflow as tf

    from mrcnn.native import loading
    from mrcnn.native.build import build

    tf.config.experimental.enable_tensor_float_32_execution(False)
    if loading.state().library is None:
        build(log=lambda line: None)
        loading._state = None
    loading.require()
    compute = prepare(case, options.side)
    error = check(compute, case) if method == "op" else 0.0
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"

    def run() -> harness.Answer:
        begin = time.perf_counter()
        for result in compute(method):
            float(tf.reduce_sum(tf.cast(result, tf.float32)))
        note = f"{device}, relative error {error:.1e}" if method == "op" else device
        return {"seconds": time.perf_counter() - begin, "note": note}

    return run


def check(compute: Compute, case: str) -> float:
    """The largest relative error of a result or gradient of the op to its twin's.

    Raises:
        SystemExit: it is more than rounding allows.
    """
    import tensorflow as tf

    worst = 0.0
    for mine, other in zip(compute("op"), compute("twin"), strict=True):
        mine, other = (tf.cast(x, tf.float64) for x in (mine, other))
        error = float(tf.norm(mine - other) / tf.maximum(tf.norm(other), 1e-30))
        limit = LIMITS[case.split(":")[1]]
        if not error <= limit:  # nor NaN
            raise SystemExit(f"{case}: relative error {error:.1e}, expected at most {limit:.0e}")
        worst = max(worst, error)
    return worst


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={name: functools.partial(ours, name) for name in ("twin", "op")},
    cases=CASES,
    rounds=3,
    arguments=lambda parser: parser.add_argument("--side", type=int, default=64, help="of the finest map, in cells"),
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
