"""Detection against torchvision's Mask R-CNN R50-FPN: seconds, peak memory, start-up, and where the time goes.

All engines have the same random weights from a fixed seed, get the same image and return masks of its size, on two
threads. Only the ratios mean anything.

    python benchmarks/inference.py [--peers [PYTHON]] [--case SIZE:BATCH:DETECTIONS[:r101] ...] [--rounds N]
        [--stages] [--exact]
    python benchmarks/inference.py --engine NAME=MODULE:FUNCTION ...

SIZE is `large`, `small` or HEIGHTxWIDTH; with r101 the backbone is a ResNet-101, whose further blocks add zeros. Where
TensorFlow and PyTorch see a GPU, both use it, with their own config for TensorFloat-32 (--exact: without), and memory
is the most they held there; float16, XLA and `torch.compile` are measured there only.

`plain` is the model as it is loaded, `folded` what `fold_batch_norm` makes of it, `bfloat16` that in bfloat16, `frozen`
the folded one with its weights as constants of the graph; with --openvino, `openvino` and `openvino, 8 bits` are what
`export_openvino` writes, run by `detect`. --peers takes a Python with torch and torchvision, which also runs with
channels last, and those under autocast. --stages measures the parts of our model instead, each as a graph of its own,
on what the one before gives. An engine of your own finds the weights in `options.folder`, as `weights.pth` or
`weights_r101.pth`.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import numpy as np

    from mrcnn import Instances, MaskRCNN

SIZES = {"large": (800, 1088), "small": (320, 427)}
CASES = [f"{size}:{batch}:{detections}" for size in SIZES for batch in (1, 4) for detections in (100, 5)]
GOLDEN = "tv_mask_r50_fpn"
OURS = ("plain", "folded", "bfloat16", "frozen", "float16", "bfloat16, XLA")
OPENVINO = ("openvino", "openvino, 8 bits")
ON_GPU = ("float16", "bfloat16, XLA")  # not worth their time elsewhere
WEIGHTS = "weights.pth"
WEIGHTS_101 = "weights_r101.pth"
THREADS = 2


def parse(case: str) -> tuple[tuple[int, int], int, int]:
    """((height, width), images, detections) of "large:1:100" or "800x1088:1:100:r101"."""
    size, batch, detections = case.split(":")[:3]
    if size in SIZES:
        return SIZES[size], int(batch), int(detections)
    height, width = (int(side) for side in size.split("x"))
    return (height, width), int(batch), int(detections)


def weights_of(case: str) -> str:
    """The file of weights of a case."""
    return WEIGHTS_101 if case.endswith(":r101") else WEIGHTS


def deepen(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a ResNet-101 that computes what this ResNet-50 does: the further blocks add zeros."""
    start = "backbone.body.layer3.5."
    last = {name.removeprefix(start): array for name, array in state.items() if name.startswith(start)}
    further = {f"backbone.body.layer3.{i}.{name}": array for i in range(6, 23) for name, array in last.items()}
    return state | {name: array * (not name.endswith("bn3.weight")) for name, array in further.items()}


def image(shape: tuple[int, int]) -> np.ndarray:
    """u8[height, width, 3]."""
    import numpy as np
    from PIL import Image

    name = json.loads(str(np.load(harness.ROOT / f"tests/golden/data/{GOLDEN}.npz")["meta"]))["image"]
    opened = Image.open(harness.ROOT / "tests/golden/data" / name).convert("RGB")
    return np.asarray(opened.resize(shape[::-1], Image.Resampling.BILINEAR))


def write_weights(options: argparse.Namespace, folder: Path) -> None:
    """Write the weights that all engines load, and what `export_openvino` makes of them."""
    from tests.golden.case import Golden
    from tests.reference.containers import write_torch_zip

    Golden(GOLDEN).write_checkpoint(folder).replace(folder / WEIGHTS)
    if any(weights_of(case) == WEIGHTS_101 for case in options.case):
        write_torch_zip(folder / WEIGHTS_101, deepen(Golden(GOLDEN).state()))
    if options.openvino:
        for case in options.case:  # in processes of their own, which leave nothing in the memory that is measured
            code = f"import inference; inference.export({str(folder)!r}, {case!r})"
            subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)


def export(folder: str, case: str) -> None:
    """Write the OpenVINO files of a case."""
    import mrcnn
    from mrcnn.export import Difference

    model, images = load_ours(Path(folder), case), [image(parse(case)[0])]
    mrcnn.export_openvino(model, openvino_file(Path(folder), case), images=images)
    mrcnn.export_openvino(
        model,
        openvino_file(Path(folder), case, int8=True),
        int8=True,
        calibration=images,
        max_difference=Difference(0, 0, *[math.inf] * 6),  # random weights tell nothing
    )


def openvino_file(folder: Path, case: str, int8: bool = False) -> Path:
    """Where the file of a case is kept, beside the weights."""
    return folder / f"{case.replace(':', '_')}{'_int8' * int8}.xml"


def load_ours(folder: Path, case: str) -> MaskRCNN:
    """Our model with the config of a case."""
    import mrcnn

    mrcnn.set_threads(THREADS)
    shape, _, detections = parse(case)
    overrides: dict[str, Any] = {
        "score_threshold": 0.05,
        "short_side": min(shape),
        "box_head.max_detections": detections,
    }
    return mrcnn.load_pretrained(folder / weights_of(case), **overrides)


class Frozen:
    """A model for `detect` whose weights are constants of its graph."""

    def __init__(self, model: MaskRCNN) -> None:
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        from mrcnn.inference.graph import graph_of

        self.config = model.config
        function: Any = graph_of(model)
        traced = function.get_concrete_function()
        self._names = sorted(traced.structured_outputs)
        self._graph = convert_variables_to_constants_v2(traced)
        self._inputs = [tensor.op.name for tensor in self._graph.inputs]

    def __call__(self, batch: dict[str, Any], training: bool = False) -> dict[str, Any]:
        return dict(zip(self._names, self._graph(*(batch[name] for name in self._inputs)), strict=True))


def ours(engine: str, case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """Detects one batch; says how many detections there are and the best score."""
    import numpy as np
    import tensorflow as tf

    import mrcnn

    gpu = bool(tf.config.list_physical_devices("GPU"))
    if engine in ON_GPU and not gpu:
        raise harness.NotHere("it is measured on GPUs")
    if options.exact:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    if engine.endswith("XLA"):
        tf.config.optimizer.set_jit("autoclustering")
    model: Any
    if engine in OPENVINO:
        mrcnn.set_threads(THREADS)
        file = openvino_file(options.folder, case, int8=engine == "openvino, 8 bits")
        model = mrcnn.load_openvino(file, threads=THREADS)
    else:
        model = load_ours(options.folder, case)
    if engine not in ("plain", *OPENVINO):
        model = mrcnn.fold_batch_norm(model)
    if engine.startswith(("bfloat16", "float16")):
        precision: Any = engine.removesuffix(", XLA")
        mrcnn.set_precision(model, precision)
    if engine == "frozen":
        model = Frozen(model)
    shape, batch, _ = parse(case)
    images = [image(shape)] * batch

    def run() -> harness.Answer:
        begin = time.perf_counter()
        results = mrcnn.detect(model, images, batch, score_threshold=None)
        for result in results:
            masks = result.masks  # pasted now
            assert masks is not None and masks.shape[1:] == shape
        seconds = time.perf_counter() - begin
        held = tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpu else None
        return answer(seconds, len(results[0]), float(np.max(np.asarray(results[0].scores))), held)

    return run


def answer(seconds: float, number: int, score: float, held: int | None) -> dict[str, Any]:
    """What every engine says of a round; `held` bytes on a GPU."""
    memory = {} if held is None else {"peak_mb": held / 2**20}
    return {"seconds": seconds, **memory, "note": f"{number} detections, best score {score:.4f}"}


def theirs(
    case: str, options: argparse.Namespace, *, channels_last: bool = False, half: str = "", compiled: bool = False
) -> Callable[[], harness.Answer]:
    """The same with torchvision."""
    import torch
    import torchvision

    torch.set_num_threads(THREADS)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and (half == "float16" or compiled):
        raise harness.NotHere("it is measured on GPUs")
    if options.exact:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    shape, batch, detections = parse(case)
    name = "resnet101" if weights_of(case) == WEIGHTS_101 else "resnet50"
    model = torchvision.models.detection.MaskRCNN(
        torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
            backbone_name=name, weights=None, norm_layer=torch.nn.BatchNorm2d
        ),
        num_classes=91,
        min_size=min(shape),
        box_score_thresh=0.05,
        box_detections_per_img=detections,
    )
    model.load_state_dict(torch.load(options.folder / weights_of(case)))
    model.eval().to(device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if compiled:  # the rest has shapes that change with what is found
        model.backbone = torch.compile(model.backbone)
    pixels = torch.from_numpy(image(shape).copy())

    def run() -> harness.Answer:
        begin = time.perf_counter()
        with torch.inference_mode(), torch.autocast(device, getattr(torch, half or "bfloat16"), enabled=bool(half)):
            inputs = [pixels.to(device).permute(2, 0, 1).float() / 255] * batch
            results = [{**r, "masks": (r["masks"] > 0.5).cpu()} for r in model(inputs)]
        seconds = time.perf_counter() - begin
        held = torch.cuda.max_memory_allocated() if device == "cuda" else None
        return answer(seconds, len(results[0]["scores"]), float(results[0]["scores"][0]), held)

    return run


def count_flops(graph: Any) -> float:
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
        elif op.type == "BatchMatMulV2":
            total += 2.0 * op.outputs[0].shape.num_elements() * shapes[0][-2 if op.get_attr("adj_x") else -1]
        elif op.type.endswith("PartitionedCall"):
            total += count_flops(graph._get_function(op.get_attr("f").name).graph)
    return total


def stages(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One image: each part as a graph of its own, on what the part before gives."""
    model = load_ours(options.folder, case)
    import mrcnn

    return stages_of(mrcnn.fold_batch_norm(model), image(parse(case)[0]))


def stages_of(model: MaskRCNN, pixels: np.ndarray) -> Callable[[], harness.Answer]:
    """`stages` of any model with one mask head, on an image u8[height, width, 3]."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    from mrcnn.inference import prepare_image, to_instances
    from mrcnn.inference.prepare import make_batch
    from mrcnn.modeling.input import content_window, proposal_window
    from mrcnn.structures.tensors import Proposals, RPNOutput

    shape = pixels.shape
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    parts: dict[str, Callable[[], Any]] = {}
    flops: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any], *args: Any) -> Any:
        """What a part gives, and the part noted."""
        call = function
        if any(isinstance(x, tf.Tensor) for x in tf.nest.flatten(args)):
            call = tf.function(function, autograph=False)
            flops[name] = count_flops(call.get_concrete_function(*args).graph) / 1e9

        def part() -> Any:
            result = call(*args)
            tf.nest.map_structure(lambda t: t.numpy() if isinstance(t, tf.Tensor) else t, result)
            return result

        parts[name] = part
        return call(*args)

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

    def rpn(f: Any) -> Any:
        output = model.rpn(f)
        sizes[:] = output.level_sizes
        return output[:3]

    output = timed("RPN", rpn, features)

    def propose(o: Any) -> Any:
        return model.rpn.propose(RPNOutput(o[0], o[1], o[2], sizes), clip_to, for_training=False)

    proposals = timed("top-k and NMS", propose, output)
    used = int(tf.reduce_sum(tf.cast(proposals.valid, tf.int32)))
    proposals = Proposals(*(field[:, :used] for field in proposals))
    timed(f"  RoIAlign of {used}", lambda f, p: model.box_head.pooler(f, p.boxes, p.valid), features, proposals)
    pred = timed("box head, with it", lambda f, p: model.box_head(f, p.boxes, p.valid, window), features, proposals)
    detections = timed("NMS of classes", lambda q, p: model.box_head.detect(q, p, window), pred, proposals)
    used = int(tf.reduce_sum(tf.cast(detections.valid, tf.int32)))
    detections = detections.map(lambda field: field[:, :used])
    head = model.heads[0]
    timed(f"  RoIAlign of {used}", lambda f, d: head.pooler(f, d.boxes, d.valid), features, detections)
    whole = timed(
        "mask head, with it",
        lambda f, d: head.attach(d, head(f, d.boxes, d.valid, window)),
        features,
        detections,
    )
    held = {name: value.numpy()[0] for name, value in whole.to_dict().items()}

    def paste() -> Instances:
        outputs = model.config.outputs
        return to_instances(held, item.content_shape, item.original_shape, config=config, outputs=outputs)

    timed("paste", lambda: paste().masks)

    def run() -> harness.Answer:
        numbers: dict[str, float] = {}
        for name, part in parts.items():
            begin = time.perf_counter()
            part()
            numbers[name] = time.perf_counter() - begin
        total = sum(seconds for name, seconds in numbers.items() if not name.startswith("  "))
        rates = {f"{name}, GFLOP/s": work / numbers[name] for name, work in flops.items() if work}
        return {"seconds": total, **numbers, **rates}

    return run


def arguments(parser: argparse.ArgumentParser) -> Any:
    """The script's own."""
    parser.add_argument("--openvino", action="store_true", help="also OpenVINO")
    parser.add_argument("--stages", action="store_true", help="only the parts of our model")
    parser.add_argument("--exact", action="store_true", help="on a GPU float32 without TensorFloat-32")


def choose(case: str, options: argparse.Namespace) -> list[str]:
    """The engines of a case."""
    return ["stages"] if options.stages else [*OURS, *(OPENVINO if options.openvino else ())]


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={**{name: functools.partial(ours, name) for name in (*OURS, *OPENVINO)}, "stages": stages},
    peers={
        "torchvision": theirs,
        "torchvision, channels last": functools.partial(theirs, channels_last=True),
        **{
            f"torchvision, channels last, {half}": functools.partial(theirs, channels_last=True, half=half)
            for half in ("bfloat16", "float16")
        },
        "torchvision, compiled": functools.partial(theirs, channels_last=True, half="bfloat16", compiled=True),
    },
    cases=CASES,
    arguments=arguments,
    prepare=write_weights,
    choose=choose,
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
