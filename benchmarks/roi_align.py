"""RoIAlign four ways on the same tensors: the op, pure TensorFlow, tf.image.crop_and_resize, torchvision.

The levels P2 to P5 of an 800 x 1088 image, 256 channels, RoIs of 8 to 800 pixels on the levels of their size; 2
samples per bin and axis. For the forward pass and for forward and gradient, by the clock on the wall and by processor
time; ratios are to the op.

    python benchmarks/roi_align.py [--peers [PYTHON]] [--case BATCHxROISxSIDE ...] [--rounds 5]

crop_and_resize is taken at twice the output's size and averaged, the usual stand-in for RoIAlign; its numbers are not
RoIAlign's. torchvision is `MultiScaleRoIAlign`, its own loop over levels, with features laid out its way beforehand.
"mean" is of the pooled features' absolute values, which the others must share.

The op's time as a multiple of the others', on two cores of an AMD EPYC with AVX-512 that other work kept busy
(load 5), TensorFlow 2.21, torchvision 0.29, wall clock:

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
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import harness
import numpy as np
from rois import CHANNELS, HEIGHT, STRIDES, WIDTH, draw_boxes

if TYPE_CHECKING:
    from mrcnn.structures.tensors import Tensor

THREADS = 2
CASES = ("1x1000x7", "1x100x14", "4x1000x7", "4x100x14")

Pool = Callable[[Sequence["Tensor"]], "Tensor"]


def inputs(case: str) -> tuple[np.ndarray, int, list[np.ndarray], np.ndarray]:
    """Boxes, side of the crops, features of each level and upstream gradient of a case."""
    batch, num_rois, size = (int(v) for v in case.split("x"))
    rng = np.random.default_rng(0)
    boxes = draw_boxes(rng, batch, num_rois)
    features = [rng.standard_normal((batch, HEIGHT // s, WIDTH // s, CHANNELS), np.float32) for s in STRIDES]
    return boxes, size, features, rng.standard_normal((batch, num_rois, size, size, CHANNELS), np.float32)


def ours(way: str, case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One way with TensorFlow."""
    import tensorflow as tf

    from mrcnn.native import loading
    from mrcnn.ops.roi_align import multilevel_roi_align

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    if way == "op" and loading.state().library is None:
        raise harness.NotHere(loading.state().reason)
    boxes, size, arrays, gradient = inputs(case)
    features, upstream = [tf.constant(level) for level in arrays], tf.constant(gradient)
    method: Literal["op", "sparse"] = "op" if way == "op" else "sparse"

    def align(features: Sequence[Tensor]) -> Tensor:
        return multilevel_roi_align(features, boxes, STRIDES, size, 2, method=method)

    pool = crop_and_resize(boxes, size) if way == "crop_and_resize" else align

    @tf.function
    def forward(*features: Tensor) -> Tensor:
        return pool(features)

    @tf.function
    def both(*features: Tensor) -> tuple[Tensor, list[Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = pool(features)
        # Both are results: RoIAlign is linear, so its gradient alone would not run it forward.
        return pooled, tape.gradient(pooled, features, output_gradients=upstream)

    numbers = {} if way == "crop_and_resize" else {"mean": float(tf.reduce_mean(tf.abs(forward(*features))))}
    return harness.timed(lambda: forward(*features), lambda: both(*features), **numbers)


def crop_and_resize(boxes: np.ndarray, size: int) -> Pool:
    """Pooling by `tf.image.crop_and_resize`."""
    import tensorflow as tf

    from mrcnn.ops.pyramid import assign_levels

    batch, num_rois = boxes.shape[:2]
    flat = boxes.reshape(-1, 4)
    level = assign_levels(tf.constant(flat), 2, 5).numpy() - 2
    image = np.repeat(np.arange(batch, dtype=np.int32), num_rois)
    rows = [np.flatnonzero(level == k) for k in range(len(STRIDES))]

    def pool(features: Sequence[Tensor]) -> Tensor:
        parts = []
        for maps, stride, row in zip(features, STRIDES, rows, strict=True):
            last = np.array([maps.shape[1] - 1, maps.shape[2] - 1] * 2, np.float32)
            normalized = (flat[row] / stride - 0.5) / last
            crops = tf.image.crop_and_resize(maps, normalized, image[row], [2 * size, 2 * size])
            parts.append(tf.nn.avg_pool2d(crops, 2, 2, "VALID"))
        pooled = tf.dynamic_stitch(rows, parts)
        return tf.reshape(pooled, [batch, num_rois, size, size, CHANNELS])

    return pool


def theirs(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """torchvision."""
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    torch.set_num_threads(THREADS)
    boxes, size, features, upstream = inputs(case)
    maps = {
        str(k): torch.from_numpy(np.ascontiguousarray(level.transpose(0, 3, 1, 2))).requires_grad_()
        for k, level in enumerate(features)
    }
    per_image = [torch.from_numpy(np.ascontiguousarray(b[:, [1, 0, 3, 2]])) for b in boxes]
    gradient = torch.from_numpy(np.ascontiguousarray(upstream.reshape(-1, size, size, CHANNELS).transpose(0, 3, 1, 2)))
    pooler = MultiScaleRoIAlign(list(maps), size, 2)
    images = [(HEIGHT, WIDTH)] * len(boxes)

    def forward() -> Any:
        with torch.no_grad():
            return pooler(maps, per_image, images)

    def both() -> None:
        for level in maps.values():
            level.grad = None
        pooler(maps, per_image, images).backward(gradient)

    return harness.timed(forward, both, mean=float(forward().abs().mean()))


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={way: functools.partial(ours, way) for way in ("op", "pure TensorFlow", "crop_and_resize")},
    peers={"torchvision": theirs},
    cases=CASES,
    base="op",
    same={"mean": 1e-4},
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
