"""Ways to compute a grouped 3x3 convolution, against a dense one of as many channels.

Per layer of ResNeXt-50-32x4d, the time of the forward pass and of forward and both gradients. Times are processor time
on one thread, so a busy machine disturbs them little; ratios are to the dense convolution.

    python benchmarks/grouped_convolution.py [--case SIDE:CHANNELS:GROUPS ...] [--rounds 10] [--chunks 16 32 64 128]
                                             [--keras]

"stock" is TensorFlow's operation: the package's choice where it has a gradient (oneDNN, GPU), else "diagonal 32" is.
--keras adds the way of Keras' layers, whose gradient takes seconds.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import tensorflow as tf

from mrcnn.ops import convolution
from mrcnn.structures.tensors import Tensor

LAYERS = ("56:128:32", "28:256:32", "14:512:32", "7:1024:32")
"""Side, channels and groups of stages 2 to 5 at 224 x 224 pixels."""
CHUNKS = (16, 32, 64, 128)

Convolve = Callable[[Tensor, Tensor], Tensor]


def taps(x: Tensor, kernel: Tensor, groups: int, chunk: int) -> Tensor:
    """Stride 1: one batched matrix product per tap, groups (put together to `chunk` channels) along the batch."""
    per_group, outputs = kernel.shape[2], kernel.shape[3]
    together = max(1, min(groups, chunk // per_group))
    num_chunks, wide, out_wide = groups // together, together * per_group, together * outputs // groups
    own = np.kron(np.eye(together), np.ones((per_group, outputs // groups))).astype(np.float32)
    kernels = tf.reshape(tf.tile(kernel, [1, 1, together, 1]), [9, wide, num_chunks, out_wide])
    kernels = tf.transpose(kernels, [0, 2, 1, 3]) * own
    batch, height, width, _ = x.shape
    split = tf.transpose(tf.reshape(x, [batch, height, width, num_chunks, wide]), [3, 0, 1, 2, 4])
    padded = tf.pad(split, [[0, 0], [0, 0], [1, 1], [1, 1], [0, 0]])
    products = []
    for tap in range(9):
        y, x0 = divmod(tap, 3)
        window = tf.reshape(padded[:, :, y : y + height, x0 : x0 + width], [num_chunks, -1, wide])
        products.append(window @ kernels[tap])
    total = tf.reshape(tf.add_n(products), [num_chunks, batch, height, width, out_wide])
    return tf.reshape(tf.transpose(total, [1, 2, 3, 0, 4]), [batch, height, width, outputs])


def diagonal(x: Tensor, kernel: Tensor, groups: int, chunk: int) -> Tensor:
    """Dense convolutions with the groups' kernels on the diagonal, of `chunk` channels each."""
    kept, convolution.CHUNK = convolution.CHUNK, chunk
    try:
        return convolution.grouped_from_dense(x, kernel, 1, "SAME", groups)
    finally:
        convolution.CHUNK = kept


def by_keras(x: Tensor, kernel: Tensor) -> Tensor:
    """What a Keras layer calls, which compiles grouped convolutions with XLA."""
    import keras

    return keras.ops.conv(x, kernel, padding="same")


def stock(x: Tensor, kernel: Tensor) -> Tensor:
    """TensorFlow's operation, grouped or not by the kernel's shape."""
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def engine(name: str, case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One way on one layer: its forward pass, and forward pass with both gradients."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    side, channels, groups = (int(v) for v in case.split(":"))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(1, side, side, channels)).astype(np.float32))
    dense = rng.normal(size=(3, 3, channels, channels)).astype(np.float32)
    kernel = tf.constant(dense if name == "dense" else dense[:, :, : channels // groups])
    upstream = tf.random.stateless_normal((*x.shape[:3], channels), [0, 1])
    way, _, chunk = name.partition(" ")
    convolve: Convolve
    if way in ("diagonal", "taps"):
        convolve = functools.partial({"diagonal": diagonal, "taps": taps}[way], groups=groups, chunk=int(chunk))
    else:
        convolve = by_keras if way == "keras" else stock

    @tf.function(autograph=False)
    def forward(x: Tensor, kernel: Tensor) -> Tensor:
        return convolve(x, kernel)

    @tf.function(autograph=False)
    def both(x: Tensor, kernel: Tensor) -> list[Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel)
        return [y, *tape.gradient(y, [x, kernel], upstream)]

    def run() -> harness.Answer:
        start = time.process_time()
        forward(x, kernel)
        seconds = time.process_time() - start
        if way == "stock" and not convolution.has_gradient("float32", groups, 1):
            return {"seconds": seconds}
        start = time.process_time()
        both(x, kernel)
        return {"seconds": seconds, "with gradients": time.process_time() - start}

    return run


def choose(case: str, options: argparse.Namespace) -> list[str]:
    """The ways of a layer: chunks between the channels of a group and all of them."""
    _, channels, groups = (int(v) for v in case.split(":"))
    chunks = [chunk for chunk in options.chunks if channels // groups <= chunk <= channels]
    return ["dense", *(f"{way} {chunk}" for chunk in chunks for way in ("diagonal", "taps")), "stock"] + (
        ["keras"] if options.keras else []
    )


def arguments(parser: argparse.ArgumentParser) -> Any:
    """The script's own."""
    parser.add_argument("--chunks", type=int, nargs="+", default=list(CHUNKS), choices=CHUNKS)
    parser.add_argument("--keras", action="store_true")


WAYS = ("dense", "stock", "keras", *(f"{way} {chunk}" for way in ("diagonal", "taps") for chunk in CHUNKS))
BENCHMARK = harness.Benchmark(
    __doc__,
    engines={name: functools.partial(engine, name) for name in WAYS},
    cases=LAYERS,
    rounds=10,
    arguments=arguments,
    choose=choose,
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
