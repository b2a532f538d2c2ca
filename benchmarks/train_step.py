"""A training step against torchvision's Mask R-CNN R50-FPN: seconds, peak memory, and where the time goes.

Both networks get the same images, boxes, masks and numbers of RoIs, in float32 on two threads, each in a process of
its own, one after the other. Only the ratios mean anything on a machine that does other work. Where TensorFlow and
PyTorch see a GPU, both use it, with their own config for TensorFloat-32, and memory is the most they held there.

    python benchmarks/train_step.py [--torch PYTHON] [--case small|large|gpu] [--steps N]

`--torch` is a Python with torch and torchvision; without it, only ours is measured. Without `--case`, the two sizes for
a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from memory import peak_mb

ROOT = Path(__file__).resolve().parent.parent
CASES = {"large": (512, 2, 512), "small": (128, 8, 32), "gpu": (1024, 4, 512)}  # side, images, RoIs an image
OBJECTS, CLASSES = 6, 80


def draw(side: int, num: int):
    """Images u8[num, side, side, 3] and boxes f[num, OBJECTS, 4] (y1, x1, y2, x2), classes from 1."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, side, side, 3), dtype=np.uint8)
    corner = rng.uniform(0, 0.5 * side, (num, OBJECTS, 2))
    size = rng.uniform(0.15 * side, 0.45 * side, (num, OBJECTS, 2))
    boxes = np.concatenate([corner, corner + size], -1).astype(np.float32)
    return images, boxes, rng.integers(1, CLASSES + 1, (num, OBJECTS))


def measure(step, steps: int) -> dict[str, float]:
    """Median seconds of a step after three, and the peak memory of the process."""
    for _ in range(3):
        step()
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return {"seconds": sorted(times)[len(times) // 2], "fastest": min(times), "peak_mb": peak_mb()}


def ours(case: str, steps: int, stages: bool) -> dict:
    sys.path.insert(0, str(ROOT))
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    from mrcnn import recipes
    from mrcnn.modeling.input import proposal_window
    from mrcnn.modeling.roi_sampler import sample_rois
    from mrcnn.native import loading
    from mrcnn.training.schedules import SGDWithL2

    side, num, rois = CASES[case]
    recipe = recipes.get("mask_rcnn_r50_fpn").override(
        {"model.backbone.freeze_at": 2, "model.roi_sampler.num_rois": rois, "model.heads.0.num_foreground": rois // 4}
    )
    model = recipe.build_model([f"c{i}" for i in range(CLASSES)])
    images, boxes, classes = draw(side, num)
    batch = {
        "image": images,
        "image_id": np.arange(num),
        "original_shape": np.full((num, 2), side, np.int32),
        "content_shape": np.full((num, 2), side, np.int32),
        "gt_boxes": boxes,
        "gt_class_ids": classes.astype(np.int32),
        "gt_masks": np.ones((num, OBJECTS, 28, 28), np.uint8),
        "gt_crowd": np.zeros((num, OBJECTS), bool),
        "gt_valid": np.ones((num, OBJECTS), bool),
        "seed": np.arange(2 * num, dtype=np.int32).reshape(num, 2),
    }
    batch = {key: tf.constant(value) for key, value in batch.items()}
    for layer in model.backbone.layers:  # the stem and the first stage, as torchvision trains by default
        if layer.name.startswith(("stem_", "stage2_")):
            layer.trainable = False
    model.compile(SGDWithL2(1e-5, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    train = tf.function(model.train_step, autograph=False)
    found = measure(lambda: float(train(batch)["loss"]), steps)
    if tf.config.list_physical_devices("GPU"):
        found["peak_mb"] = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    found["roi_align"] = "op" if loading.choose([tf.zeros([])]) else "pure TensorFlow"
    if not stages:
        return found

    def window(b):
        return proposal_window(tf.shape(b["image"])[1:3], b["content_shape"], model.config.input)

    def features(b):
        return model.extract_features(b, training=True)

    def upto(which: str):
        """Loss and gradient of the network up to a stage; the differences are the stages."""

        @tf.function(autograph=False)
        def run(b):
            with tf.GradientTape() as tape:
                maps = features(b)
                parts = [tf.reduce_mean(m) for m in maps.values()]
                if which != "backbone and pyramid":
                    output = model.rpn(maps, training=True)
                    parts += [t.mean() for t in model.rpn.loss(output, b, maps).values()]
                if which in ("proposals and sampling", "box head"):
                    rois = sample_rois(
                        model.rpn.propose(output, window(b), for_training=True), b, model.config.roi_sampler
                    )
                    parts.append(0.0 * tf.reduce_sum(rois.boxes))
                if which == "box head":
                    pred = model.box_head(maps, rois.boxes, rois.valid, window(b), training=True)
                    parts += [
                        t.mean() for t in model.box_head.loss(pred, model.box_head.targets(rois, b), rois).values()
                    ]
                loss = tf.add_n(parts)
            gradients = tape.gradient(loss, model.trainable_variables)
            return loss, [tf.reduce_sum(g) for g in gradients if g is not None]

        return lambda: float(run(batch)[0])

    before, shares = 0.0, {}
    for which in ("backbone and pyramid", "rpn", "proposals and sampling", "box head"):
        seconds = measure(upto(which), max(3, steps // 2))["seconds"]
        shares[which], before = seconds - before, seconds
    shares["mask head, update"] = found["seconds"] - before
    return found | {"stages": shares}


def theirs(case: str, steps: int) -> dict:
    import torch
    import torchvision

    torch.set_num_threads(2)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, num, rois = CASES[case]
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES + 1,
        min_size=side,
        max_size=side,
        box_batch_size_per_image=rois,
        trainable_backbone_layers=3,
    )
    for module in model.backbone.body.modules():  # without pretrained weights torchvision trains all: freeze as above
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    for name, parameter in model.backbone.body.named_parameters():
        parameter.requires_grad_(name.startswith(("layer2", "layer3", "layer4")) and ".bn" not in name)
    model.train().to(device)
    for module in model.backbone.body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images, boxes, classes = draw(side, num)
    inputs = [torch.from_numpy(p).permute(2, 0, 1).to(device).float() / 255 for p in images]
    targets = []
    for image_boxes, ids in zip(boxes, classes, strict=True):
        xyxy = torch.from_numpy(image_boxes[:, [1, 0, 3, 2]].copy())
        masks = torch.zeros(OBJECTS, side, side, dtype=torch.uint8)
        for i, (x1, y1, x2, y2) in enumerate(xyxy.int().tolist()):
            masks[i, y1:y2, x1:x2] = 1
        target = {"boxes": xyxy, "labels": torch.from_numpy(ids), "masks": masks}
        targets.append({key: value.to(device) for key, value in target.items()})
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-5, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = sum(model(inputs, targets).values())
        loss.backward()
        optimizer.step()
        return float(loss)

    found = measure(step, steps)
    if device == "cuda":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--only", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--no-stages", action="store_true")
    args = parser.parse_args()
    if args.only:
        result = theirs(args.case, args.steps) if args.only == "theirs" else ours(args.case, args.steps, False)
        print(json.dumps(result))
        return
    for case in [args.case] if args.case else ("large", "small"):
        side, num, rois = CASES[case]
        print(f"{side} x {side}, {num} images, {rois} RoIs each")
        found = {}
        for name, python in (("ours", sys.executable), ("theirs", args.torch)):
            if python is None:
                continue
            command = [python, __file__, "--only", name, "--case", case, "--steps", str(args.steps)]
            environment = dict(os.environ)
            if name == "ours":
                environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr[-2000:]}")
            found[name] = json.loads(done.stdout.strip().splitlines()[-1])
            path = f", RoIAlign by {found[name]['roi_align']}" if "roi_align" in found[name] else ""
            print(f"  {name:7} {found[name]['seconds']:.3f} s a step, peak {found[name]['peak_mb']:.0f} MB{path}")
        if len(found) == 2:
            ratios = [found["ours"][key] / found["theirs"][key] for key in ("seconds", "fastest", "peak_mb")]
            print("  ratio   time {:.2f} (fastest steps {:.2f}), memory {:.2f}".format(*ratios))
        if not args.no_stages:
            for name, seconds in ours(case, args.steps, True)["stages"].items():
                print(f"    {seconds:7.3f} s  {name}")


if __name__ == "__main__":
    main()
