"""A training step against torchvision's Mask R-CNN R50-FPN: seconds, peak memory, and where the time goes.

All engines get the same images, boxes, masks and numbers of RoIs, on two threads: ours in float32 and in bfloat16,
torchvision's as it comes, with channels last, and that under bfloat16 autocast. Only the ratios mean anything on a
machine that does other work. Where TensorFlow and PyTorch see a GPU, both use it, with their own config for
TensorFloat-32 (--exact: without), and memory is the most they held there; float16 and `torch.compile` are measured
there only. A case is a name or HEIGHTxWIDTH:IMAGES:ROIS.

    python benchmarks/train_step.py [--peers [PYTHON]] [--case small large gpu] [--rounds N] [--stages] [--exact]

--peers takes a Python with torch and torchvision. --stages measures the parts of our step instead, in both precisions.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import harness
from training_data import draw, fill_masks, make_batch

CASES = {"large": "512x512:2:512", "small": "128x128:8:32", "gpu": "1024x1024:4:512"}
OBJECTS, CLASSES, THREADS = 6, 80, 2
OURS = ("float32", "bfloat16", "float16")


def parse(case: str) -> tuple[tuple[int, int], int, int]:
    """((height, width), images, RoIs an image) of a name or of "512x512:2:512"."""
    size, num, rois = CASES.get(case, case).split(":")
    height, width = (int(side) for side in size.split("x"))
    return (height, width), int(num), int(rois)


def ours(precision: Any, case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One step of our model."""
    model, batch = build(case, precision)
    import tensorflow as tf

    from mrcnn.native import loading

    train = tf.function(model.train_step, autograph=False)
    gpu = bool(tf.config.list_physical_devices("GPU"))
    if precision == "float16" and not gpu:
        raise harness.NotHere("float16 is for GPUs")
    if options.exact:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    path = "RoIAlign by the op" if loading.choose([tf.zeros([])]) else "RoIAlign by pure TensorFlow"

    def run() -> harness.Answer:
        begin = time.perf_counter()
        float(train(batch)["loss"])
        seconds = time.perf_counter() - begin
        if not gpu:
            return {"seconds": seconds, "note": path}
        held = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
        return {"seconds": seconds, "peak_mb": held, "note": path}

    return run


def build(case: str, precision: Any) -> tuple[Any, dict[str, Any]]:
    """Our model, ready to train, and a batch."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    from mrcnn import recipes, set_precision
    from mrcnn.training.schedules import SGDWithL2

    shape, num, rois = parse(case)
    recipe = recipes.get("mask_rcnn_r50_fpn").override(
        {"model.backbone.freeze_at": 2, "model.roi_sampler.num_rois": rois, "model.heads.0.num_foreground": rois // 4}
    )
    model = recipe.build_model([f"c{i}" for i in range(CLASSES)])
    for layer in model.backbone.layers:  # the stem and the first stage, as torchvision trains by default
        if layer.name.startswith(("stem_", "stage2_")):
            layer.trainable = False
    set_precision(model, precision)
    optimizer: Any = SGDWithL2(1e-5, momentum=0.9)
    if precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer)
    model.optimizer.build(model.trainable_variables)
    return model, make_batch(draw(shape, num, OBJECTS, CLASSES), 28)


def stages(precision: Any, case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """Loss and gradient of our network up to each of its parts; the differences are the parts."""
    model, batch = build(case, precision)
    import tensorflow as tf

    from mrcnn.modeling.input import proposal_window
    from mrcnn.modeling.roi_sampler import sample_rois

    parts = ("backbone and pyramid", "rpn", "proposals and sampling", "box head")

    def upto(which: str) -> Callable[[], float]:
        depth = parts.index(which)

        def further(maps: dict[str, Any], b: dict[str, Any], window: Any) -> list[Any]:
            """What the parts after the pyramid add."""
            if depth == 0:
                return []
            output = model.rpn(maps, training=True)
            terms = [t.mean() for t in model.rpn.loss(output, b, maps).values()]
            if depth == 1:
                return terms
            rois = sample_rois(model.rpn.propose(output, window, for_training=True), b, model.config.roi_sampler)
            terms.append(0.0 * tf.reduce_sum(rois.boxes))
            if depth == 2:
                return terms
            pred = model.box_head(maps, rois.boxes, rois.valid, window, training=True)
            losses = model.box_head.loss(pred, model.box_head.targets(rois, b), rois)
            return [*terms, *(t.mean() for t in losses.values())]

        @tf.function(autograph=False)
        def run(b: dict[str, Any]) -> tuple[Any, list[Any]]:
            window = proposal_window(tf.shape(b["image"])[1:3], b["content_shape"], model.config.input)
            with tf.GradientTape() as tape:
                maps = model.extract_features(b, training=True)
                terms = [tf.reduce_mean(m) for m in maps.values()]
                terms += further(maps, b, window)
                loss = tf.add_n(terms)
            gradients = tape.gradient(loss, model.trainable_variables)
            return loss, [tf.reduce_sum(g) for g in gradients if g is not None]

        return lambda: float(run(batch)[0])

    train = tf.function(model.train_step, autograph=False)
    functions = {which: upto(which) for which in parts}
    functions["mask head, update"] = lambda: float(train(batch)["loss"])

    def run() -> harness.Answer:
        shares: dict[str, float] = {}
        before = 0.0
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            seconds = time.perf_counter() - begin
            shares[name], before = seconds - before, seconds
        return {"seconds": before, **shares}

    return run


def theirs(
    case: str, options: argparse.Namespace, *, channels_last: bool = False, half: str = "", compiled: bool = False
) -> Callable[[], harness.Answer]:
    """One step of torchvision's."""
    import torch
    import torchvision

    torch.set_num_threads(THREADS)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and (half == "float16" or compiled):
        raise harness.NotHere("it is measured on GPUs")
    if options.exact:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    shape, num, rois = parse(case)
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES + 1,
        min_size=min(shape),
        max_size=max(shape),
        box_batch_size_per_image=rois,
        trainable_backbone_layers=3,
    )
    # Without pretrained weights torchvision trains all: freeze as ours is frozen.
    for name, parameter in model.backbone.body.named_parameters():
        parameter.requires_grad_(name.startswith(("layer2", "layer3", "layer4")) and ".bn" not in name)
    model.train().to(device)
    for module in model.backbone.body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if compiled:  # the rest has shapes that change with what is found
        model.backbone = torch.compile(model.backbone)
    scaler = torch.amp.GradScaler(device, enabled=half == "float16")
    images, boxes, classes = draw(shape, num, OBJECTS, CLASSES)
    inputs = [torch.from_numpy(p).permute(2, 0, 1).to(device).float() / 255 for p in images]
    targets = [
        {
            "boxes": torch.from_numpy(image_boxes[:, [1, 0, 3, 2]].copy()).to(device),
            "labels": torch.from_numpy(ids).long().to(device),
            "masks": torch.from_numpy(fill_masks(image_boxes, shape)).to(device),
        }
        for image_boxes, ids in zip(boxes, classes, strict=True)
    ]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-5, momentum=0.9)

    def run() -> harness.Answer:
        begin = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device, getattr(torch, half or "bfloat16"), enabled=bool(half)):
            loss = sum(model(inputs, targets).values())
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        float(loss)
        seconds = time.perf_counter() - begin
        if device == "cpu":
            return {"seconds": seconds}
        return {"seconds": seconds, "peak_mb": torch.cuda.max_memory_allocated() / 2**20}

    return run


def arguments(parser: argparse.ArgumentParser) -> Any:
    """The script's own."""
    parser.add_argument("--stages", action="store_true", help="the parts of our step")
    parser.add_argument("--exact", action="store_true", help="on a GPU float32 without TensorFloat-32")


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={
        **{name: functools.partial(ours, name) for name in OURS},
        **{f"stages, {name}": functools.partial(stages, name) for name in OURS[:2]},
    },
    peers={
        "torchvision": theirs,
        "torchvision, channels last": functools.partial(theirs, channels_last=True),
        **{
            f"torchvision, channels last, {half}": functools.partial(theirs, channels_last=True, half=half)
            for half in ("bfloat16", "float16")
        },
        "torchvision, compiled": functools.partial(theirs, channels_last=True, half="bfloat16", compiled=True),
    },
    cases=("large", "small"),
    rounds=8,
    arguments=arguments,
    choose=lambda case, options: [f"stages, {name}" for name in OURS[:2]] if options.stages else OURS,
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
