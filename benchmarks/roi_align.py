"""RoIAlign four ways on the same tensors: the op, pure TensorFlow, tf.image.crop_and_resize, torchvision.

The levels P2 to P5 of an 800 x 1088 image, 256 channels, RoIs of 8 to 800 pixels on the levels of their size; 2
samples per bin and axis. Prints the op's time as a multiple of the others', for the forward pass and for forward and
gradient, by the clock on the wall and by processor time: the least of several interleaved runs each.

    python benchmarks/roi_align.py [--runs 5] [--batch 1 4]

crop_and_resize is taken at twice the output's size and averaged, the usual stand-in for RoIAlign; its numbers are not
RoIAlign's. torchvision is `MultiScaleRoIAlign`, its own loop over levels, with features laid out its way beforehand; it
is left out where it is not installed. The others' results are compared before they are timed.

Two cores of an AMD EPYC with AVX-512 that other work kept busy (load 5), TensorFlow 2.21, torchvision 0.29, wall clock:

                       1 x 1000, 7 x 7    1 x 100, 14 x 14    4 x 1000, 7 x 7    4 x 100, 14 x 14
    forward
        pure TensorFlow    0.48               0.17                0.29               0.36
        crop_and_resize    0.41               0.17                0.26               0.35
        torchvision        0.05               0.01                0.03               0.05
    forward + gradient
        pure TensorFlow    0.59               0.40                0.59               0.41
        crop_and_resize    0.36               0.35                0.26               0.32
        torchvision        0.02               0.01                0.03               0.02
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from rois import CHANNELS, HEIGHT, STRIDES, WIDTH, draw_boxes

from mrcnn.native import loading
from mrcnn.ops.pyramid import assign_levels
from mrcnn.ops.roi_align import multilevel_roi_align

THREADS = 2

Way = tuple[Callable[[], object], Callable[[], object]]
"""Forward; forward and gradient in the features."""


def tensorflow_way(pool: Callable[..., tf.Tensor], features: list[tf.Tensor], upstream: tf.Tensor) -> Way:
    @tf.function
    def forward(*features: tf.Tensor) -> tf.Tensor:
        return pool(features)

    @tf.function
    def both(*features: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = pool(features)
        # Both are results: RoIAlign is linear, so its gradient alone would not run it forward.
        return pooled, tape.gradient(pooled, features, output_gradients=upstream)

    return lambda: forward(*features), lambda: both(*features)


def crop_and_resize_way(boxes: np.ndarray, size: int, features: list[tf.Tensor], upstream: tf.Tensor) -> Way:
    batch, num_rois = boxes.shape[:2]
    flat = boxes.reshape(-1, 4)
    level = assign_levels(tf.constant(flat), 2, 5).numpy() - 2
    image = np.repeat(np.arange(batch, dtype=np.int32), num_rois)
    rows = [np.flatnonzero(level == k) for k in range(len(STRIDES))]

    def pool(features: list[tf.Tensor]) -> tf.Tensor:
        parts = []
        for maps, stride, row in zip(features, STRIDES, rows, strict=True):
            last = np.array([maps.shape[1] - 1, maps.shape[2] - 1] * 2, np.float32)
            normalized = (flat[row] / stride - 0.5) / last
            crops = tf.image.crop_and_resize(maps, normalized, image[row], [2 * size, 2 * size])
            parts.append(tf.nn.avg_pool2d(crops, 2, 2, "VALID"))
        pooled = tf.dynamic_stitch(rows, parts)
        return tf.reshape(pooled, [batch, num_rois, size, size, CHANNELS])

    return tensorflow_way(pool, features, upstream)


def torchvision_way(
    boxes: np.ndarray, size: int, features: list[tf.Tensor], upstream: tf.Tensor, expected: tf.Tensor
) -> Way:
    sys.modules.setdefault("triton", None)  # its LLVM and TensorFlow's end a process that holds both; not needed here
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    torch.set_num_threads(THREADS)
    maps = {
        str(k): torch.from_numpy(np.ascontiguousarray(level.numpy().transpose(0, 3, 1, 2))).requires_grad_()
        for k, level in enumerate(features)
    }
    per_image = [torch.from_numpy(np.ascontiguousarray(b[:, [1, 0, 3, 2]])) for b in boxes]
    gradient = torch.from_numpy(
        np.ascontiguousarray(upstream.numpy().reshape(-1, size, size, CHANNELS).transpose(0, 3, 1, 2))
    )
    pooler = MultiScaleRoIAlign(list(maps), size, 2)
    images = [(HEIGHT, WIDTH)] * len(boxes)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return pooler(maps, per_image, images)

    def both() -> None:
        for level in maps.values():
            level.grad = None
        pooler(maps, per_image, images).backward(gradient)

    theirs = forward().numpy().transpose(0, 2, 3, 1).reshape(expected.shape)
    np.testing.assert_allclose(theirs, expected, atol=1e-3)  # positions rounded otherwise, features are noise
    return forward, both


def least(functions: dict[str, Callable[[], object]], runs: int) -> dict[str, tuple[float, float]]:
    """Seconds on the wall and of processor time of each function, the least of `runs` interleaved ones."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(runs + 1):  # the first one warms up
        for name, function in functions.items():
            wall, processor = time.perf_counter(), time.process_time()
            function()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: tuple(min(column) for column in zip(*taken[1:], strict=True)) for name, taken in times.items()}


def measure(batch: int, num_rois: int, size: int, runs: int) -> None:
    rng = np.random.default_rng(0)
    boxes = draw_boxes(rng, batch, num_rois)
    features = [
        tf.constant(rng.standard_normal((batch, HEIGHT // s, WIDTH // s, CHANNELS), np.float32)) for s in STRIDES
    ]
    upstream = tf.constant(rng.standard_normal((batch, num_rois, size, size, CHANNELS), np.float32))

    def pool_by(method: str) -> Callable[..., tf.Tensor]:
        return lambda features: multilevel_roi_align(features, boxes, STRIDES, size, 2, method=method)

    ways = {
        name: tensorflow_way(pool_by(method), features, upstream)
        for name, method in (("op", "op"), ("pure TensorFlow", "sparse"))
    }
    expected = ways["op"][0]()
    np.testing.assert_allclose(ways["pure TensorFlow"][0](), expected, atol=1e-4)
    ways["crop_and_resize"] = crop_and_resize_way(boxes, size, features, upstream)
    if importlib.util.find_spec("torchvision"):
        ways["torchvision"] = torchvision_way(boxes, size, features, upstream, expected)
    print(f"\n{batch} x {num_rois} RoIs of {size} x {size}")
    for phase, title in enumerate(("forward", "forward + gradient")):
        times = least({name: way[phase] for name, way in ways.items()}, runs)
        for name, (wall, processor) in times.items():
            if name != "op":
                ratios = (
                    f"{times['op'][0] / wall:6.3f} on the wall, {times['op'][1] / processor:6.3f} of processor time"
                )
                print(f"    {title:<19} op / {name:<16} {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    if loading.state().library is None:
        print(f"nothing to compare: {loading.state().reason}")
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"{THREADS} threads; {load:.1f} processes were running or waiting for a processor on average before the start"
    )
    for batch in arguments.batch:
        for num_rois, size in ((1000, 7), (100, 14)):
            measure(batch, num_rois, size, arguments.runs)


if __name__ == "__main__":
    main()
