"""Ways to compute a grouped 3x3 convolution, against a dense one of as many channels.

Prints, per layer of ResNeXt-50-32x4d, the time of the forward pass and of forward and both gradients, as a multiple of
the dense convolution's. Times are processor time on one thread, the least of several interleaved runs, so a busy
machine disturbs them little.

    python benchmarks/grouped_convolution.py [--runs 10] [--chunks 16,32,64,128] [--keras]

"stock" is TensorFlow's operation: the package's choice where it has a gradient (oneDNN, GPU), else "diagonal 32" is.
`--keras` adds the way of Keras' layers, whose gradient takes seconds.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from mrcnn.ops import convolution

LAYERS = ((56, 128, 32), (28, 256, 32), (14, 512, 32), (7, 1024, 32))
"""Side, channels and groups of stages 2 to 5 at 224 x 224 pixels."""

Convolve = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def taps(x: tf.Tensor, kernel: tf.Tensor, groups: int, chunk: int) -> tf.Tensor:
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


def diagonal(x: tf.Tensor, kernel: tf.Tensor, groups: int, chunk: int) -> tf.Tensor:
    """Dense convolutions with the groups' kernels on the diagonal, of `chunk` channels each."""
    kept, convolution.CHUNK = convolution.CHUNK, chunk
    try:
        return convolution.grouped_from_dense(x, kernel, 1, "SAME", groups)
    finally:
        convolution.CHUNK = kept


def by_keras(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """What a Keras layer calls, which compiles grouped convolutions with XLA."""
    return keras.ops.conv(x, kernel, padding="same")


def stock(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """TensorFlow's operation, grouped or not by the kernel's shape."""
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def passes(convolve: Convolve, x: tf.Tensor, kernel: tf.Tensor) -> tuple[Callable, Callable]:
    """Compiled forward pass, and forward pass with both gradients."""
    upstream = tf.random.stateless_normal((*x.shape[:3], kernel.shape[3]), [0, 1])

    @tf.function(autograph=False, reduce_retracing=True)
    def forward(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return convolve(x, kernel)

    @tf.function(autograph=False, reduce_retracing=True)
    def both(x: tf.Tensor, kernel: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel)
        return [y, *tape.gradient(y, [x, kernel], upstream)]

    return functools.partial(forward, x, kernel), functools.partial(both, x, kernel)


def least_times(ways: dict[str, Callable], runs: int) -> dict[str, float]:
    """Seconds of processor time of each, the least of `runs` rounds."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(runs + 1):  # the first also compiles
        for name, way in ways.items():
            start = time.process_time()
            way()
            least[name] = min(least[name], time.process_time() - start)
    return least


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--chunks", default="16,32,64,128")
    parser.add_argument("--keras", action="store_true")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    chunks = [int(chunk) for chunk in arguments.chunks.split(",")]
    rng = np.random.default_rng(0)
    for side, channels, groups in LAYERS:
        x = tf.constant(rng.normal(size=(1, side, side, channels)).astype(np.float32))
        dense = tf.constant(rng.normal(size=(3, 3, channels, channels)).astype(np.float32))
        kernel = dense[:, :, : channels // groups]
        forward, both = {}, {}
        forward["dense"], both["dense"] = passes(stock, x, dense)
        for chunk in (c for c in chunks if channels // groups <= c <= channels):
            for name, way in ((f"diagonal {chunk}", diagonal), (f"taps {chunk}", taps)):
                convolve = functools.partial(way, groups=groups, chunk=chunk)
                forward[name], both[name] = passes(convolve, x, kernel)
        forward["stock"], both["stock"] = passes(stock, x, kernel)
        if not convolution.has_gradient("float32", groups, 1):
            del both["stock"]
        if arguments.keras:
            forward["keras"], both["keras"] = passes(by_keras, x, kernel)
        forward_times, both_times = least_times(forward, arguments.runs), least_times(both, arguments.runs)
        print(
            f"{side} x {side} x {channels}, {groups} groups; dense: forward {forward_times['dense'] * 1e3:.1f} ms, "
            f"with gradients {both_times['dense'] * 1e3:.1f} ms"
        )
        for name, seconds in forward_times.items():
            ratio = f"{both_times[name] / both_times['dense']:6.2f}" if name in both_times else "     -"
            print(f"  {name:<14} forward {seconds / forward_times['dense']:6.2f}   with gradients {ratio}", flush=True)


if __name__ == "__main__":
    main()
