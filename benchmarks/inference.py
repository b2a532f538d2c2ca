"""Detection against torchvision's Mask R-CNN R50-FPN: seconds, peak memory, start-up, and where the time goes.

All engines have the same drawn weights, get the same image and return masks of its size. Each runs in a process of
its own on two threads; they take turns, one run each a round, so that a noisy machine disturbs all of them alike. Only
the ratios mean anything, the median over the rounds of time / torchvision's time.

    python benchmarks/inference.py [--torch PYTHON] [--case SIZE:BATCH:DETECTIONS ...] [--rounds N] [--stages]
    python benchmarks/inference.py --engine NAME=MODULE:FUNCTION ...

`plain` is the model as it is loaded, `folded` what `fold_batch_norm` makes of it, `frozen` that with its weights as
constants of the graph; `openvino`, with --openvino, is what `export_openvino` writes, run by `detect`. `--torch` is a
Python with torch and torchvision; without it, only ours is measured. `--engine` adds one of your own:
FUNCTION(checkpoint, case) returns a function without arguments that runs one batch.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from memory import peak_mb

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"large": (800, 1088), "small": (320, 427)}
CASES = [f"{size}:{batch}:{found}" for size in SIZES for batch in (1, 4) for found in (100, 5)]
GOLDEN = "tv_mask_r50_fpn"
OURS = ("plain", "folded", "frozen")
THREADS = 2


def parse(case: str) -> tuple[tuple[int, int], int, int]:
    """((height, width), images, detections) of "large:1:100"."""
    size, batch, found = case.split(":")
    return SIZES[size], int(batch), int(found)


def image(shape: tuple[int, int]):
    """u8[height, width, 3]."""
    import numpy as np
    from PIL import Image

    name = json.loads(str(np.load(ROOT / f"tests/golden/data/{GOLDEN}.npz")["meta"]))["image"]
    opened = Image.open(ROOT / "tests/golden/data" / name).convert("RGB")
    return np.asarray(opened.resize(shape[::-1], Image.Resampling.BILINEAR))


def load_ours(checkpoint: str, case: str):
    """Our model with the config of a case."""
    sys.path.insert(0, str(ROOT))
    import mrcnn

    mrcnn.set_threads(THREADS)
    shape, _, found = parse(case)
    overrides = {"score_threshold": 0.05, "short_side": min(shape), "box_head.max_detections": found}
    return mrcnn.load_pretrained(checkpoint, **overrides)


class Frozen:
    """A model for `detect` whose weights are constants of its graph."""

    def __init__(self, model) -> None:
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        from mrcnn.inference.stream import graph_of

        self.config = model.config
        traced = graph_of(model).get_concrete_function()
        self._names = sorted(traced.structured_outputs)
        self._graph = convert_variables_to_constants_v2(traced)
        self._inputs = [tensor.op.name for tensor in self._graph.inputs]

    def __call__(self, batch, training=False):
        return dict(zip(self._names, self._graph(*(batch[name] for name in self._inputs)), strict=True))


def ours(checkpoint: str, case: str, engine: str):
    """A function that detects one batch and returns the number of detections and the best score."""
    if engine == "openvino":
        model = load_openvino(checkpoint, case)
    else:
        model = load_ours(checkpoint, case)
    import mrcnn

    if engine in ("folded", "frozen"):
        model = mrcnn.fold_batch_norm(model)
    if engine == "frozen":
        model = Frozen(model)
    shape, batch, _ = parse(case)
    images = [image(shape)] * batch

    def run():
        results = mrcnn.detect(model, images, batch, score_threshold=None)
        assert all(found.masks.shape[1:] == shape for found in results)
        return len(results[0]), float(results[0].scores[0])

    return run


def openvino_file(checkpoint: str, case: str) -> Path:
    """Where the file of a case is kept, beside the weights."""
    return Path(checkpoint).with_name(f"{case.replace(':', '_')}.xml")


def load_openvino(checkpoint: str, case: str):
    """The file that --export wrote."""
    sys.path.insert(0, str(ROOT))
    import mrcnn

    mrcnn.set_threads(THREADS)
    return mrcnn.load_openvino(openvino_file(checkpoint, case), threads=THREADS)


def theirs(checkpoint: str, case: str):
    """The same with torchvision."""
    import torch
    import torchvision

    torch.set_num_threads(THREADS)
    shape, batch, found = parse(case)
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=min(shape),
        box_score_thresh=0.05,
        box_detections_per_img=found,
    )
    model.load_state_dict(torch.load(checkpoint))
    model.eval()
    pixels = torch.from_numpy(image(shape).copy())

    def run():
        with torch.inference_mode():
            inputs = [pixels.permute(2, 0, 1).float() / 255] * batch
            results = [r | {"masks": r["masks"] > 0.5} for r in model(inputs)]
        return len(results[0]["scores"]), float(results[0]["scores"][0])

    return run


def serve(name: str, checkpoint: str, case: str) -> None:
    """One engine: runs a batch for each line read, and answers with one line."""
    if name in (*OURS, "openvino"):
        run = ours(checkpoint, case, name)
    elif name == "torchvision":
        run = theirs(checkpoint, case)
    else:
        module, function = name.split("=", 1)[1].split(":")
        sys.path.insert(0, str(ROOT))
        run = getattr(importlib.import_module(module), function)(checkpoint, case)
    for _ in sys.stdin:
        begin = time.perf_counter()
        answer = run()
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "answer": answer}), flush=True)


def measure(names: list[str], torch: str | None, checkpoint: str, case: str, rounds: int) -> dict[str, dict]:
    """Every engine on one case."""
    workers, errors, result = {}, {}, {}

    def ask(name: str) -> dict:
        process = workers[name]
        process.stdin.write("go\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            errors[name].seek(0)
            raise SystemExit(f"{name}: {errors[name].read()[-2000:]}")
        return json.loads(line)

    if "openvino" in names:  # before the clock runs: it is written once and loaded often
        command = [sys.executable, __file__, "--export", "--checkpoint", checkpoint, "--case", case]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}, check=True)
    for name in names:
        python = torch if name == "torchvision" else sys.executable
        command = [python, __file__, "--serve", name, "--checkpoint", checkpoint, "--case", case]
        environment = os.environ | {
            "PYTHONPATH": "" if name == "torchvision" else str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        begin = time.perf_counter()
        errors[name] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as its process
        workers[name] = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors[name], text=True
        )
        ask(name)
        result[name] = {"start": time.perf_counter() - begin, "seconds": []}
    try:
        for turn in range(rounds + 1):
            for name in names:
                answer = ask(name)
                if turn:  # the first is for caches
                    result[name]["seconds"].append(answer["seconds"])
                result[name] |= {"peak_mb": answer["peak_mb"], "answer": answer["answer"]}
    finally:
        for process in workers.values():
            process.stdin.close()
            process.wait()
    return result


def report(case: str, result: dict[str, dict]) -> None:
    """One table."""
    (height, width), batch, found = parse(case)
    print(f"\n{height} x {width}, batch {batch}, {found} detections an image")
    base = result.get("torchvision")
    print(f"  {'engine':12} {'seconds':>8} {'ratio':>6} {'peak MB':>8} {'ratio':>6} {'start s':>8}  found, best score")
    for name, own in result.items():
        ratios = [f"{'':6}"] * 2
        if base is not None:
            time_ratio = median(a / b for a, b in zip(own["seconds"], base["seconds"], strict=True))
            ratios = [f"{time_ratio:6.2f}", f"{own['peak_mb'] / base['peak_mb']:6.2f}"]
        print(
            f"  {name.split('=')[0]:12} {median(own['seconds']):8.2f} {ratios[0]} {own['peak_mb']:8.0f} {ratios[1]}"
            f" {own['start']:8.1f}  {own['answer'][0]}, {own['answer'][1]:.4f}",
            flush=True,
        )


def count_flops(graph) -> float:
    """Multiplications and additions of the convolutions and matrix products of a graph of known shapes."""
    total = 0.0
    for op in graph.get_operations():
        shapes = [t.shape for t in op.inputs]
        if op.type == "Conv2D":
            total += 2.0 * op.outputs[0].shape.num_elements() * shapes[1][:3].num_elements()
        elif op.type == "DepthwiseConv2dNative":
            total += 2.0 * op.outputs[0].shape.num_elements() * shapes[1][:2].num_elements()
        elif op.type == "Conv2DBackpropInput":
            total += 2.0 * shapes[2].num_elements() * shapes[1][:3].num_elements()
        elif op.type == "MatMul":
            total += 2.0 * op.outputs[0].shape.num_elements() * shapes[0][0 if op.get_attr("transpose_a") else 1]
    return total


def stages(checkpoint: str, case: str, rounds: int) -> None:
    """The table of one image: each stage as a graph of its own, on what the stage before gives."""
    model = load_ours(checkpoint, case)
    import io

    import numpy as np
    import tensorflow as tf
    from PIL import Image

    import mrcnn
    from mrcnn.inference import prepare_image, to_instances
    from mrcnn.inference.prepare import make_batch
    from mrcnn.modeling.input import content_window, proposal_window
    from mrcnn.structures.tensors import Proposals, RPNOutput

    model = mrcnn.fold_batch_norm(model)
    shape = parse(case)[0]
    pixels = image(shape)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    rows: list[tuple[str, float, float]] = []

    def timed(name: str, function, *args):
        """What a stage gives, its time noted."""
        flops = 0.0
        run = function
        if any(isinstance(x, tf.Tensor) for x in tf.nest.flatten(args)):
            run = tf.function(function, autograph=False)
            flops = count_flops(run.get_concrete_function(*args).graph)
        result = run(*args)
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            result = run(*args)
            tf.nest.map_structure(lambda t: t.numpy() if isinstance(t, tf.Tensor) else t, result)
            times.append(time.perf_counter() - begin)
        rows.append((name, median(times), flops / 1e9))
        return result

    timed("decode", lambda: np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB")))
    larger = np.asarray(Image.fromarray(pixels).resize((shape[1] * 3 // 2, shape[0] * 3 // 2)))
    timed("resize", lambda: prepare_image(larger, 0, model.config.input).image)
    item = prepare_image(pixels, 0, model.config.input)
    batch = make_batch([item])
    canvas, config = batch["image"].shape[1:3], model.config.input
    window = content_window(canvas, batch["content_shape"], config)
    clip_to = proposal_window(canvas, batch["content_shape"], config)
    maps = timed("backbone", lambda b: model.backbone(model.normalize(b["image"], window), training=False), batch)
    features = timed("FPN", lambda m: model.neck(m, training=False), maps)
    sizes: list[int] = []

    def rpn(f):
        output = model.rpn(f)
        sizes[:] = output.level_sizes
        return output[:3]

    output = timed("RPN", rpn, features)
    proposals = timed(
        "top-k and NMS", lambda o: model.rpn.propose(RPNOutput(*o, sizes), clip_to, for_training=False), output
    )
    used = int(tf.reduce_sum(tf.cast(proposals.valid, tf.int32)))
    proposals = Proposals(*(field[:, :used] for field in proposals))
    timed(f"  RoIAlign of {used}", lambda f, p: model.box_head.pooler(f, p.boxes, p.valid), features, proposals)
    pred = timed("box head, with it", lambda f, p: model.box_head(f, p.boxes, p.valid, window), features, proposals)
    found = timed("NMS of classes", lambda q, p: model.box_head.detect(q, p, window), pred, proposals)
    used = int(tf.reduce_sum(tf.cast(found.valid, tf.int32)))
    found = found.map(lambda field: field[:, :used])
    head = model.heads[0]
    timed(f"  RoIAlign of {used}", lambda f, d: head.pooler(f, d.boxes, d.valid), features, found)
    whole = timed(
        "mask head, with it",
        lambda f, d: head.attach(d, head(f, d.boxes, d.valid, window)),
        features,
        found,
    )
    held = {name: value.numpy()[0] for name, value in whole.to_dict().items()}
    timed(
        "paste",
        lambda: (
            to_instances(
                held, item.content_shape, item.original_shape, config=config, outputs=model.config.outputs
            ).masks
        ),
    )
    total = sum(seconds for name, seconds, _ in rows if not name.startswith("  "))
    print(
        f"\nStages at {shape[0]} x {shape[1]}, {used} detections\n"
        f"  {'':20} {'seconds':>8} {'share':>6} {'GFLOP':>7} {'GFLOP/s':>8}"
    )
    for name, seconds, gflop in rows:
        work = f"{gflop:7.1f} {gflop / seconds:8.0f}" if gflop else ""
        print(f"  {name:20} {seconds:8.3f} {seconds / total:6.1%} {work}")
    print(f"  {'together':20} {total:8.3f} {'':6} {sum(g for n, _, g in rows if not n.startswith('  ')):7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--case", nargs="*", default=CASES, metavar="SIZE:BATCH:DETECTIONS")
    parser.add_argument("--engine", nargs="*", default=[], metavar="NAME=MODULE:FUNCTION")
    parser.add_argument("--openvino", action="store_true", help="also OpenVINO")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stages", action="store_true", help="only the table of stages")
    parser.add_argument("--no-stages", action="store_true")
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    parser.add_argument("--export", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.checkpoint, args.case[0])
        return
    if args.export:
        model = load_ours(args.checkpoint, args.case[0])
        import mrcnn

        mrcnn.export_openvino(
            model, openvino_file(args.checkpoint, args.case[0]), images=[image(parse(args.case[0])[0])]
        )
        return
    sys.path.insert(0, str(ROOT))
    from tests.golden.case import Golden

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint or str(Golden(GOLDEN).write_checkpoint(Path(folder)))
        if not args.stages:
            names = [*(["torchvision"] if args.torch else []), *OURS, *(["openvino"] * args.openvino), *args.engine]
            for case in args.case:
                report(case, measure(names, args.torch, checkpoint, case, args.rounds))
        for found in () if args.no_stages else (100, 5):
            stages(checkpoint, f"large:1:{found}", args.rounds)


if __name__ == "__main__":
    main()
