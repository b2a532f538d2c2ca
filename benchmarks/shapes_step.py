"""A training step of matterport's `shapes` example, through its own names, against torchvision.

128 x 128 pixels, 8 images a step, 32 RoIs each, all layers trained with the statistics of the norms fixed, float32,
two threads: the numbers of the well-known notebook. Ours runs as a script of matterport's would, `Config`, `Dataset`,
`MaskRCNN.train`, its input pipeline included; torchvision's network of the same backbone gets the same images as
tensors. Each runs in a process of its own, one after the other.

    python benchmarks/shapes_step.py [--torch PYTHON] [--backbone resnet50|resnet101] [--steps N]

`--torch` is a Python with torch and torchvision; without it, only ours is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import peak_mb

ROOT = Path(__file__).resolve().parent.parent
SIDE, IMAGES, ROIS, WARM_UP = 128, 8, 32, 3
RATE = 1e-5  # random weights behind fixed norms: the steps are to stay finite, not to learn


def draw(path: str, number: int) -> None:
    """Draw the images of the sample, with cv2, into a file that needs no cv2."""
    draw_image = runpy.run_path(str(ROOT / "samples/shapes/shapes.py"))["draw_image"]
    arrays = {}
    for i in range(number):
        arrays[f"image{i}"], arrays[f"masks{i}"], arrays[f"class_ids{i}"] = draw_image(i, SIDE)
    np.savez(path, **arrays)


def drawn(path: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The images u8[SIDE, SIDE, 3] in a file, their masks bool[SIDE, SIDE, n] and class ids i32[n] from 1."""
    with np.load(path) as arrays:
        number = len(arrays.files) // 3
        return [tuple(arrays[f"{kind}{i}"] for kind in ("image", "masks", "class_ids")) for i in range(number)]


def summary(times: list[float]) -> dict[str, float]:
    """Median and fastest of the steps after the first few, and the peak memory of the process."""
    times = sorted(times[WARM_UP:])
    return {"seconds": times[len(times) // 2], "fastest": times[0], "peak_mb": peak_mb()}


def ours(path: str, backbone: str, steps: int) -> dict[str, float]:
    """`MaskRCNN.train` as scripts call it; a step is the time from the end of one to the end of the next."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    from mrcnn import model as modellib
    from mrcnn import utils
    from mrcnn.config import Config

    class ShapesConfig(Config):
        NAME = "shapes"
        BACKBONE = backbone
        IMAGES_PER_GPU = IMAGES
        NUM_CLASSES = 1 + 3
        IMAGE_MIN_DIM = IMAGE_MAX_DIM = SIDE
        RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
        TRAIN_ROIS_PER_IMAGE = ROIS
        STEPS_PER_EPOCH = 1 + WARM_UP + steps

    class ShapesDataset(utils.Dataset):
        def load_image(self, image_id):
            return images[image_id][0]

        def load_mask(self, image_id):
            return images[image_id][1:]

    ends = []
    timer = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    images = drawn(path)
    dataset = ShapesDataset()
    for number, name in enumerate(("circle", "square", "triangle"), start=1):
        dataset.add_class("shapes", number, name)
    for number in range(len(images)):
        dataset.add_image("shapes", number, None)
    dataset.prepare()
    with tempfile.TemporaryDirectory() as folder:
        model = modellib.MaskRCNN("training", ShapesConfig(), folder)
        model.train(dataset, None, RATE, 1, "all", custom_callbacks=[timer])
    return summary(np.diff(ends).tolist())


def theirs(path: str, backbone: str, steps: int) -> dict[str, float]:
    """torchvision's Mask R-CNN on the same images."""
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.set_num_threads(2)
    model = MaskRCNN(
        resnet_fpn_backbone(backbone_name=backbone, weights=None, trainable_layers=5),
        num_classes=1 + 3,
        min_size=SIDE,
        max_size=SIDE,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5),
        box_batch_size_per_image=ROIS,
    ).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], RATE, momentum=0.9)
    times, images = [], drawn(path)
    for step in range(WARM_UP + steps):
        inputs, targets = [], []
        for image, masks, class_ids in images[step * IMAGES : (step + 1) * IMAGES]:
            y, x = masks.any(1), masks.any(0)  # [SIDE, n], rows and columns each shape touches
            edges = [x.argmax(0), y.argmax(0), SIDE - x[::-1].argmax(0), SIDE - y[::-1].argmax(0)]
            inputs.append(torch.from_numpy(image).permute(2, 0, 1).float() / 255)
            targets.append(
                {
                    "boxes": torch.from_numpy(np.stack(edges, -1).astype(np.float32)),
                    "labels": torch.from_numpy(class_ids.astype(np.int64)),
                    "masks": torch.from_numpy(masks.astype(np.uint8)).permute(2, 0, 1),
                }
            )
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss = sum(model(inputs, targets).values())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        times.append(time.perf_counter() - begin)
        if not loss.isfinite():
            raise SystemExit("the loss is not finite: such a step has other work to do")
    return summary(times)


def main() -> None:
    """Measure both and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--backbone", choices=["resnet50", "resnet101"], default="resnet50")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs=2, metavar=("ours|theirs", "IMAGES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        which, path = args.only
        print(json.dumps((ours if which == "ours" else theirs)(path, args.backbone, args.steps)))
        return
    found = {}
    print(f"shapes: {SIDE} x {SIDE}, {IMAGES} images, {ROIS} RoIs each, {args.backbone}")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/images.npz"
        draw(path, (WARM_UP + args.steps) * IMAGES)
        for name, python in (("ours", sys.executable), ("theirs", args.torch)):
            if python is None:
                continue
            command = [python, __file__, "--backbone", args.backbone, "--steps", str(args.steps), "--only", name, path]
            environment = os.environ | ({"PYTHONPATH": str(ROOT)} if name == "ours" else {})
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr[-2000:]}")
            found[name] = json.loads(done.stdout.strip().splitlines()[-1])
            print(f"  {name:7} {found[name]['seconds']:.2f} s a step, peak {found[name]['peak_mb']:.0f} MB")
    if len(found) == 2:
        ratios = [found["ours"][key] / found["theirs"][key] for key in ("seconds", "fastest", "peak_mb")]
        print("  ratio   time {:.2f} (fastest steps {:.2f}), memory {:.2f}".format(*ratios))


if __name__ == "__main__":
    main()
