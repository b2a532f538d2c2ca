"""A block of ViT-B on an image of 1024 x 1024 against PyTorch's: attention in windows of 14 x 14, and global.

64 x 64 cells of 768 channels, 12 heads, relative positions by rows and columns, in float32 and in bfloat16; the forward
pass, and ("both") forward and gradient of input and weights, by the clock on the wall and by processor time; ratios are
to PyTorch.

    python benchmarks/vit_block.py [--peers [PYTHON]] [--case windows|global[:bfloat16] ...] [--rounds 5]

PyTorch's attention is written in three ways: `scaled_dot_product_attention` with the positions as its mask; without a
mask, the positions as channels of queries and keys; and two products with a softmax between, as detectron2 has it. The
fastest of the case counts, the note says which. In bfloat16 its weights are of that type, too, ours float32. "mean" is
of the outputs' absolute values, "slope" of the input's gradient, which both must share.

Our time as a multiple of PyTorch's 2.14 on two threads of a Xeon with AMX that other work kept busy (load 10 to 25),
TensorFlow 2.21, by the wall clock and (in brackets) by processor time:

                        forward        forward + gradient
    windows             0.79 (0.67)    0.73 (0.73)
    global              0.75 (0.74)    0.69 (0.69)
    windows:bfloat16    0.92 (0.69)    1.06 (0.89)
    global:bfloat16     1.70 (1.35)    1.19 (1.03)

"global" was measured before bias and GELU became part of the products of the dense layers.

What is left of the global block in bfloat16 are the passes of product, softmax and product over scores in memory, two
thirds of its time; PyTorch has one operation for the three.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import harness
import numpy as np

THREADS, SIDE, WIDTH, HEADS, WINDOW = 2, 64, 768, 12, 14
WAYS = ("mask", "channels", "products")
CASES = ("windows", "global", "windows:bfloat16", "global:bfloat16")


def weights(case: str) -> dict[str, np.ndarray]:
    """Drawn, by our names; dense kernels are [in, out]."""
    rng = np.random.default_rng(0)
    grid = WINDOW if case.startswith("windows") else SIDE
    shapes = {
        "norm1/gamma": (WIDTH,),
        "norm1/beta": (WIDTH,),
        "attention/qkv/kernel": (WIDTH, 3 * WIDTH),
        "attention/qkv/bias": (3 * WIDTH,),
        "attention/project/kernel": (WIDTH, WIDTH),
        "attention/project/bias": (WIDTH,),
        "attention/rows": (2 * grid - 1, WIDTH // HEADS),
        "attention/columns": (2 * grid - 1, WIDTH // HEADS),
        "norm2/gamma": (WIDTH,),
        "norm2/beta": (WIDTH,),
        "expand/kernel": (WIDTH, 4 * WIDTH),
        "expand/bias": (4 * WIDTH,),
        "project/kernel": (4 * WIDTH, WIDTH),
        "project/bias": (WIDTH,),
    }
    drawn = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return {name: 0.03 * x if x.ndim > 1 else 0.1 * x + name.endswith("gamma") for name, x in drawn.items()}


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """What comes in, and the gradient that comes back; f32[1, 64, 64, 768]."""
    rng = np.random.default_rng(1)
    x, upstream = rng.standard_normal((2, 1, SIDE, SIDE, WIDTH), np.float32)
    return x, upstream


def ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """The first block of a backbone."""
    import keras
    import tensorflow as tf

    from mrcnn.modeling.backbones.vit import ViTConfig
    from mrcnn.modeling.precision import set_precision

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    kind, _, dtype = case.partition(":")
    backbone = ViTConfig(depth=1, global_blocks=() if kind == "windows" else (0,)).build()
    drawn = weights(case)
    block = keras.Model(backbone.get_layer("stem_positions").output, backbone.output["c4"])
    for variable in block.trainable_variables:
        variable.assign(drawn[variable.path.removeprefix("block1_")])
    if dtype:
        set_precision(block, "bfloat16")
    x, upstream = (tf.constant(array, dtype or "float32") for array in inputs())
    variables = [v.value for v in block.trainable_variables]

    @tf.function(autograph=False)
    def forward(x: Any) -> Any:
        return block(x, training=False)

    @tf.function(autograph=False)
    def both(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = block(x, training=True)
        return tape.gradient(outputs, [x, *variables], output_gradients=upstream)

    mean = float(tf.reduce_mean(tf.abs(tf.cast(forward(x), tf.float32))))
    slope = float(tf.reduce_mean(tf.abs(tf.cast(both(x)[0], tf.float32))))
    return harness.timed(lambda: forward(x).numpy(), lambda: both(x)[0].numpy(), mean=mean, slope=slope)


def theirs(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """PyTorch's, in the way that is fastest here."""
    import torch

    torch.set_num_threads(THREADS)
    kind, _, name = case.partition(":")
    dtype = getattr(torch, name or "float32")
    kept = {
        name: torch.from_numpy(array.T.copy() if name.endswith("kernel") else array).to(dtype).requires_grad_()
        for name, array in weights(case).items()
    }
    x, upstream = (torch.from_numpy(array).to(dtype) for array in inputs())
    x.requires_grad_()
    ways = {way: functools.partial(torch_block, kept, way, WINDOW if kind == "windows" else SIDE) for way in WAYS}

    def forward(way: str) -> Any:
        with torch.inference_mode():
            return ways[way](x)

    def both(way: str) -> Any:
        for variable in (x, *kept.values()):
            variable.grad = None
        ways[way](x).backward(upstream)
        return x.grad

    best, best_both = fastest(forward), fastest(both)
    mean, slope = float(forward(best).float().abs().mean()), float(both(best_both).float().abs().mean())
    timed = harness.timed(lambda: forward(best), lambda: both(best_both), mean=mean, slope=slope)
    return lambda: {**(timed() or {}), "note": f"{best}; both: {best_both}"}


def fastest(function: Callable[[str], Any]) -> str:
    """The way that takes least time, each after a first run."""
    times: dict[str, float] = {}
    for way in WAYS:
        function(way)
        begin = time.perf_counter()
        function(way)
        times[way] = time.perf_counter() - begin
    return min(times, key=lambda way: times[way])


def torch_block(kept: Mapping[str, Any], way: str, side: int, x: Any) -> Any:
    """PyTorch's block.

    Args:
        kept: its weights by our names, dense kernels [out, in].
        way: one of `WAYS` to write attention.
        side: of the windows, cells; that of the map: it is global.
        x: [1, 64, 64, 768].
    """
    import torch
    from torch.nn import functional

    def norm(x: Any, name: str) -> Any:
        return functional.layer_norm(x, (WIDTH,), kept[f"{name}/gamma"], kept[f"{name}/beta"], 1e-6)

    def dense(x: Any, name: str) -> Any:
        return functional.linear(x, kept[f"{name}/kernel"], kept[f"{name}/bias"])

    def attend(q: Any, k: Any, v: Any, rows: Any, columns: Any) -> Any:
        scale, size = q.shape[-1] ** -0.5, (side, side)
        if way == "mask":
            mask = (rows[..., None] + columns[..., None, :]).flatten(-2)
            return functional.scaled_dot_product_attention(q, k, v, mask)
        if way == "channels":
            cells = torch.arange(side * side)
            places = torch.cat([functional.one_hot(at, side) for at in (cells // side, cells % side)], -1).to(k.dtype)
            asked = torch.cat([q * scale, rows, columns], -1)
            given = torch.cat([k, places.expand(*k.shape[:-1], -1)], -1)
            v = functional.pad(v, (0, 2 * side))  # its fast path wants values as wide as keys
            return functional.scaled_dot_product_attention(asked, given, v, scale=1.0)[..., : q.shape[-1]]
        scores = ((q * scale) @ k.transpose(-2, -1)).unflatten(-1, size) + rows[..., None] + columns[..., None, :]
        return scores.flatten(-2).softmax(-1) @ v

    def attention(x: Any) -> Any:
        number = len(x)
        q, k, v = dense(x, "attention/qkv").reshape(number, side * side, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        on_map = q.unflatten(2, (side, side))
        places = torch.arange(side)[:, None] - torch.arange(side) + side - 1
        rows = torch.einsum("nhyxc,ykc->nhyxk", on_map, kept["attention/rows"][places]).flatten(2, 3)
        columns = torch.einsum("nhyxc,xkc->nhyxk", on_map, kept["attention/columns"][places]).flatten(2, 3)
        y = attend(q, k, v, rows, columns).transpose(1, 2)
        return dense(y.reshape(number, side, side, WIDTH), "attention/project")

    y = norm(x, "norm1")
    if side < SIDE:
        count, more = -(-SIDE // side), -SIDE % side
        y = functional.pad(y, (0, 0, 0, more, 0, more)).reshape(count, side, count, side, WIDTH).transpose(1, 2)
        y = attention(y.reshape(-1, side, side, WIDTH)).reshape(1, count, count, side, side, WIDTH).transpose(2, 3)
        y = y.reshape(1, SIDE + more, SIDE + more, WIDTH)[:, :SIDE, :SIDE]
    else:
        y = attention(y)
    x = x + y
    return x + dense(functional.gelu(dense(norm(x, "norm2"), "expand")), "project")


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={"ours": ours},
    peers={"PyTorch": theirs},
    cases=CASES,
    same={"mean": 0.02, "slope": 0.02},
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
