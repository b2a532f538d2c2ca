"""Deformable convolution three ways on the same tensors: the op, pure TensorFlow, torchvision.

The 3x3 convolutions of a ResNet-50's stages 3 to 5 on an 800 x 1088 image, modulated, offsets of about two cells; "x32"
has the 32 groups of a ResNeXt-101-32x8d and twice the channels. For the forward pass and for forward and gradient (of
input, offsets, mask and kernel), by the clock on the wall and by processor time; ratios are to the op.

    python benchmarks/deformable_conv.py [--peers [PYTHON]] [--case BATCHxSTAGE[x32][:bfloat16] ...] [--rounds 5]

torchvision is `deform_conv2d`, with tensors laid out its way beforehand; it knows no bfloat16 on a CPU. "mean" is of
the outputs' absolute values, "slope" of the offsets' gradient, which the others must share.

The op's time as a multiple of torchvision's 0.28, on two threads of a machine that other work kept busy (load 13),
TensorFlow 2.21, wall clock: res3 0.07, with the gradient 0.07; res4 0.13, 0.05; res5 0.17, 0.09; res4 with 32 groups
0.04, 0.03.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import harness
import numpy as np

THREADS = 2
STAGES = {"res3": (100, 136, 128), "res4": (50, 68, 256), "res5": (25, 34, 512)}
CASES = ("1xres3", "1xres4", "1xres5", "2xres4", "1xres4x32", "1xres4:bfloat16")


class Inputs(NamedTuple):
    """Of a case; arrays are laid out as TensorFlow wants them."""

    features: np.ndarray
    offsets: np.ndarray
    mask: np.ndarray
    kernel: np.ndarray
    upstream: np.ndarray
    groups: int
    dtype: str


def inputs(case: str) -> Inputs:
    """Drawn for a case."""
    name, _, dtype = case.partition(":")
    batch, stage, *rest = name.split("x")
    height, width, channels = STAGES[stage]
    groups = int(rest[0]) if rest else 1
    channels *= 2 if groups > 1 else 1
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    out = (int(batch), height, width)
    scale = np.float32((9 * channels / groups) ** -0.5)
    return Inputs(
        draw(*out, channels),
        2 * draw(*out, 18),
        rng.uniform(size=(*out, 9)).astype(np.float32),
        scale * draw(3, 3, channels // groups, channels),
        draw(*out, channels),
        groups,
        dtype or "float32",
    )


def ours(method: Literal["op", "gather"], case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One way with TensorFlow."""
    import tensorflow as tf

    from mrcnn.native import loading
    from mrcnn.ops.deformable_conv import deformable_conv2d

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    if method == "op" and loading.state().library is None:
        raise harness.NotHere(loading.state().reason)
    given = inputs(case)
    features, offsets, mask, kernel, upstream = (tf.cast(x, given.dtype) for x in given[:5])
    variables = (features, offsets, kernel, mask)

    def convolve(features: Any, offsets: Any, kernel: Any, mask: Any) -> Any:
        return deformable_conv2d(features, offsets, kernel, mask, groups=given.groups, method=method)

    @tf.function
    def forward(*variables: Any) -> Any:
        return convolve(*variables)

    @tf.function
    def both(*variables: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(variables)
            outputs = convolve(*variables)
        return outputs, tape.gradient(outputs, variables, output_gradients=upstream)

    outputs, gradients = both(*variables)
    mean, slope = (float(tf.reduce_mean(tf.abs(tf.cast(x, tf.float32)))) for x in (outputs, gradients[1]))
    return harness.timed(lambda: forward(*variables), lambda: both(*variables), mean=mean, slope=slope)


def theirs(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """torchvision."""
    import torch
    from torchvision.ops import deform_conv2d

    given = inputs(case)
    if given.dtype != "float32":
        raise harness.NotHere(f"torchvision has no {given.dtype} here")
    torch.set_num_threads(THREADS)
    features, offsets, mask, upstream = (
        torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        for x in (given.features, given.offsets, given.mask, given.upstream)
    )
    kernel = torch.from_numpy(np.ascontiguousarray(given.kernel.transpose(3, 2, 0, 1)))
    variables = [x.requires_grad_() for x in (features, offsets, kernel, mask)]

    def convolve() -> Any:
        return deform_conv2d(features, offsets, kernel, padding=1, mask=mask)

    def forward() -> Any:
        with torch.no_grad():
            return convolve()

    def both() -> None:
        for variable in variables:
            variable.grad = None
        convolve().backward(upstream)

    both()
    mean, slope = float(forward().abs().mean()), float(offsets.grad.abs().mean())
    return harness.timed(forward, both, mean=mean, slope=slope)


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={
        "op": functools.partial(ours, "op"),
        "pure TensorFlow": functools.partial(ours, "gather"),
    },
    peers={"torchvision": theirs},
    cases=CASES,
    base="op",
    same={"mean": 1e-3, "slope": 1e-3},
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
