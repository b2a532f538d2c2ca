"""A training step of matterport's `shapes` example, through its own names, against torchvision.

128 x 128 pixels, 8 images a step, 32 RoIs each, all layers trained with the statistics of the norms fixed, float32,
two threads: the numbers of the well-known notebook. Ours runs as a script of matterport's would, `Config`, `Dataset`,
`MaskRCNN.train`, its input pipeline included; torchvision's network of the same backbone gets the same images as
tensors. A round is a few steps, of which the median and the fastest count, after some for caches.

    python benchmarks/shapes_step.py [--peers [PYTHON]] [--case resnet50 resnet101] [--rounds N] [--steps N]

--peers takes a Python with torch and torchvision.
"""

from __future__ import annotations

import argparse
import runpy
import time
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np

SIDE, IMAGES, ROIS, WARM_UP = 128, 8, 32, 3
RATE = 1e-5  # random weights behind fixed norms: the steps are to stay finite, not to train
FILE = "images.npz"


def draw(options: argparse.Namespace, folder: Path) -> None:
    """Draw the images of the sample, with cv2, into a file that needs no cv2."""
    draw_image = runpy.run_path(str(harness.ROOT / "samples/shapes/shapes.py"))["draw_image"]
    arrays: dict[str, np.ndarray] = {}
    for i in range((WARM_UP + options.steps) * IMAGES):
        arrays[f"image{i}"], arrays[f"masks{i}"], arrays[f"class_ids{i}"] = draw_image(i, SIDE)
    with (folder / FILE).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type] # names of arrays, not of options


def drawn(folder: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The images u8[SIDE, SIDE, 3] in a file, their masks bool[SIDE, SIDE, n] and class ids i32[n] from 1."""
    with np.load(folder / FILE) as arrays:
        number = len(arrays.files) // 3
        return [(arrays[f"image{i}"], arrays[f"masks{i}"], arrays[f"class_ids{i}"]) for i in range(number)]


def summary(times: list[float]) -> dict[str, float]:
    """Median and fastest of the steps after the first few."""
    times = sorted(times[WARM_UP:])
    return {"seconds": times[len(times) // 2], "fastest": times[0]}


def ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
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
        BACKBONE = case
        IMAGES_PER_GPU = IMAGES
        NUM_CLASSES = 1 + 3
        IMAGE_MIN_DIM = IMAGE_MAX_DIM = SIDE
        RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
        TRAIN_ROIS_PER_IMAGE = ROIS
        STEPS_PER_EPOCH = 1 + WARM_UP + options.steps

    class ShapesDataset(utils.Dataset):
        def load_image(self, image_id: int) -> np.ndarray:
            return images[image_id][0]

        def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
            return images[image_id][1:]

    ends: list[float] = []
    timer = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    images = drawn(options.folder)
    dataset = ShapesDataset()
    for number, name in enumerate(("circle", "square", "triangle"), start=1):
        dataset.add_class("shapes", number, name)
    for number in range(len(images)):
        dataset.add_image("shapes", number, None)
    dataset.prepare()
    model = modellib.MaskRCNN("training", ShapesConfig(), str(options.folder / "logs"))

    def run() -> harness.Answer:
        ends.clear()
        model.train(dataset, None, RATE, model.epoch + 1, "all", custom_callbacks=[timer])
        return summary(np.diff(ends).tolist())

    return run


def theirs(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """torchvision's Mask R-CNN on the same images."""
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.set_num_threads(2)
    model = MaskRCNN(
        resnet_fpn_backbone(backbone_name=case, weights=None, trainable_layers=5),
        num_classes=1 + 3,
        min_size=SIDE,
        max_size=SIDE,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5),
        box_batch_size_per_image=ROIS,
    ).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], RATE, momentum=0.9)
    images = drawn(options.folder)

    def run() -> harness.Answer:
        return summary([step(images[i : i + IMAGES]) for i in range(0, len(images), IMAGES)])

    def step(part: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
        inputs, targets = [], []
        for image, masks, class_ids in part:
            y, x = np.any(masks, 1), np.any(masks, 0)  # [SIDE, n], rows and columns each shape touches
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
        seconds = time.perf_counter() - begin
        if not loss.isfinite():
            raise SystemExit("the loss is not finite: such a step has other work to do")
        return seconds

    return run


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={"ours": ours},
    peers={"torchvision": theirs},
    cases=("resnet50",),
    rounds=3,
    arguments=lambda parser: parser.add_argument("--steps", type=int, default=6, help="of a round, that count"),
    prepare=draw,
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
