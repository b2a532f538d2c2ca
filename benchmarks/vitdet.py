"""ViTDet-B at full size with random weights: loading, one image of 1024 x 1024, and the backbone against PyTorch's.

A file in detectron2's form is written once, with the shapes of the real one (444 MB). Every round is a process of its
own, on two threads.

    python benchmarks/vitdet.py [--peers [PYTHON]] [--case load detect parts backbone[:bfloat16] ...] [--rounds 3]

`load` is `load_pretrained`: seconds, and the highest memory above the start in multiples of the file's size. `detect`
is an image, after a first one; "peak_mb" is the whole process. Detections are the best 100, whatever their score.
`parts` measures each part of it as a graph of its own, on what the one before gives, with the arithmetic it does in a
second. `backbone` is the network from pixels to its map, after a first run; --peers takes a Python with torch, where
the fastest way to write attention counts (see vit_block.py). "mean" is of the map's absolute values.
"""

from __future__ import annotations

import argparse
import functools
import json
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import vit_block
from training_data import draw
from vit_block import SIDE, THREADS

GOLDEN, FILE = "d2_mask_vitdet", "vitdet_b.pkl"
IMAGE = 1024
WIDER = {48: 192, 96: 384, 192: 768, 576: 2304, 768: 3072}  # sizes of the golden file's backbone, ViT Ti, as ViT B's
NAMES = (  # detectron2's of a block, in the order of `vit_block.weights`
    *("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias"),
    *("attn.rel_pos_h", "attn.rel_pos_w", "norm2.weight", "norm2.bias"),
    *("mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
)


def write_file(options: argparse.Namespace, folder: Path) -> None:
    """Write the weights, and pixels that all backbones get."""
    from tests.reference import drawn_weights

    path = harness.ROOT / f"tests/golden/data/{GOLDEN}.npz"
    meta = json.loads(str(np.load(path)["meta"]))
    gains = {"cls_gain": meta["cls_gain"], "gains": meta["gains"]}
    state = {
        name: drawn_weights.draw(
            name, [WIDER.get(n, n) for n in shape] if name.startswith("backbone.") else shape, **gains
        )
        for name, shape in meta["state"].items()
    }
    with (folder / FILE).open("wb") as file:
        pickle.dump({"model": state, "__author__": "benchmark"}, file, 4)


def pixels() -> np.ndarray:
    """An image, u8[1024, 1024, 3]."""
    return draw((IMAGE, IMAGE), 1, 0, 1)[0][0]


def normalized() -> np.ndarray:
    """What a backbone gets of it, nearly: f32[1, 1024, 1024, 3]."""
    return (pixels()[np.newaxis].astype(np.float32) - 127.5) / 58


def ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One case."""
    import tensorflow as tf
    from load_weights import PeakMemory

    import mrcnn

    mrcnn.set_threads(THREADS)
    path = options.folder / FILE
    what, _, precision = case.partition(":")
    if what == "load":
        tf.matmul(tf.ones([2, 2]), tf.ones([2, 2]))  # TensorFlow's own memory is not the checkpoint's
        return lambda: load(mrcnn.load_pretrained, path, PeakMemory())
    model = mrcnn.load_pretrained(path, score_threshold=0.0)
    run: Callable[[], harness.Answer]
    if what == "parts":
        from inference import stages_of

        run = stages_of(model, pixels())
    elif what == "detect":
        image = pixels()

        def run() -> harness.Answer:
            begin = time.perf_counter(), time.process_time()
            result = mrcnn.detect(model, [image], score_threshold=None)[0]
            assert result.masks is not None and result.masks.shape[1:] == image.shape[:2]  # pasted now
            seconds, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
            return {"seconds": seconds, "cpu": cpu, "note": f"{len(result)} detections"}
    else:
        mrcnn.set_precision(model, "bfloat16" if precision else "float32")
        backbone, given = tf.function(model.backbone, autograph=False), tf.constant(normalized())

        def run() -> harness.Answer:
            begin = time.perf_counter(), time.process_time()
            features = backbone(given, training=False)["c4"].numpy()
            seconds, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
            return {"seconds": seconds, "cpu": cpu, "mean": float(np.abs(features.astype(np.float32)).mean())}

    run()
    return run


def load(load_pretrained: Callable[[Path], Any], path: Path, memory: Any) -> harness.Answer:
    """One file, by the clock and its memory."""
    begin = time.perf_counter(), time.process_time()
    with memory:
        load_pretrained(path)
    seconds, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    size = path.stat().st_size
    return {"seconds": seconds, "cpu": cpu, "memory": memory.extra / size, "note": f"{size / 1e6:.0f} MB"}


def theirs(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """The backbone in PyTorch."""
    import torch

    what, _, precision = case.partition(":")
    if what != "backbone":
        raise harness.NotHere(f"there is no {what} in PyTorch here")
    torch.set_num_threads(THREADS)
    dtype = getattr(torch, precision or "float32")
    with (options.folder / FILE).open("rb") as file:
        model = pickle.load(file)["model"]
    state = {
        name: torch.from_numpy(array).to(dtype) for name, array in model.items() if name.startswith("backbone.net.")
    }
    depth = 1 + max(int(match[1]) for match in map(re.compile(r".*\.blocks\.(\d+)\.").match, state) if match)
    ours_of = vit_block.weights("windows")
    blocks = [
        {mine: state[f"backbone.net.blocks.{i}.{name}"] for mine, name in zip(ours_of, NAMES, strict=True)}
        for i in range(depth)
    ]
    image = torch.from_numpy(normalized()).permute(0, 3, 1, 2).to(dtype)
    stored = state["backbone.net.pos_embed"][:, 1:]
    grid = int(stored.shape[1] ** 0.5)
    stored = stored.reshape(1, grid, grid, -1).permute(0, 3, 1, 2).float()
    positions = torch.nn.functional.interpolate(stored, (SIDE, SIDE), mode="bicubic").permute(0, 2, 3, 1).to(dtype)
    patches = [state[f"backbone.net.patch_embed.proj.{name}"] for name in ("weight", "bias")]

    def network(ways: dict[int, str]) -> Any:
        with torch.inference_mode():
            x = torch.nn.functional.conv2d(image, *patches, stride=16).permute(0, 2, 3, 1) + positions
            for block in blocks:
                side = (len(block["attention/rows"]) + 1) // 2
                x = vit_block.torch_block(block, ways[side], side, x)
            return x

    x = torch.randn(1, SIDE, SIDE, vit_block.WIDTH).to(dtype)
    ways: dict[int, str] = {}
    with torch.inference_mode():
        for block in (blocks[0], blocks[-1]):
            side = (len(block["attention/rows"]) + 1) // 2
            ways[side] = vit_block.fastest(functools.partial(vit_block.torch_block, block, side=side, x=x))

    def run() -> harness.Answer:
        begin = time.perf_counter(), time.process_time()
        features = network(ways)
        seconds, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
        note = ", ".join(f"{side}: {way}" for side, way in ways.items())
        return {"seconds": seconds, "cpu": cpu, "mean": float(features.float().abs().mean()), "note": note}

    run()
    return run


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={"ours": ours},
    peers={"PyTorch": theirs},
    cases=("load", "detect", "parts", "backbone", "backbone:bfloat16"),
    rounds=3,
    fresh=True,
    prepare=write_file,
    same={"mean": 0.02},
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
