"""Simulate the label loop on nuclei: python samples/labels/simulate.py DATA OUT.json [--seed N]

The labels of all images but a few are withheld. In each round images are chosen, at random or as `mrcnn propose` does,
until so many masks have been drawn; the model pre-labels them, and the corrections are counted; then it trains further
on all labels that were revealed, and is measured. DATA is that of samples/nuclei.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from pycocotools import mask as coco_mask

import mrcnn

HERE = Path(__file__).parent
START = 6  # images that are labeled before the first round
RESHAPE, SAME = 0.8, 0.5  # IoU below which an outline is drawn again, and from which it is one of the same object
SMALL = {  # of the recipe of samples/nuclei: what takes a minute or two
    "model.input.short_side": 320,
    "model.input.long_side": 640,
    "data.short_sides": [256, 320, 384],
    "data.crop": [224, 224],
    "train.warmup_images": 80,
}


def corrections(gt, prediction):
    """What a person does to pre-labels: so many accepted, reshaped, added, deleted."""
    left = np.ones(len(gt), bool)
    accepted = reshaped = 0
    overlap = coco_mask.iou(mrcnn.encode_masks(prediction), mrcnn.encode_masks(gt), [0] * len(gt))
    for row in np.asarray(overlap).reshape(-1, len(gt)):  # best score first
        best = int(np.where(left, row, -1.0).argmax()) if left.any() else None
        if best is not None and row[best] >= SAME:
            left[best] = False
            accepted += int(row[best] >= RESHAPE)
            reshaped += int(row[best] < RESHAPE)
    added = int(left.sum())
    return {
        "accepted": accepted,
        "reshaped": reshaped,
        "added": added,
        "deleted": len(prediction) - accepted - reshaped,
    }


class Loop:
    """Data, recipe and random numbers of one simulation."""

    def __init__(self, arguments):
        self.seed, self.budgets = arguments.seed, arguments.budgets
        changes = SMALL | {"train.images": arguments.images, "train.seed": arguments.seed}
        self.recipe = mrcnn.recipes.get(HERE.parent / "nuclei/run/recipe.yaml").override(changes)
        every, self.val = (
            mrcnn.load_coco(arguments.data / f"annotations_{part}.json", arguments.data / "images")
            for part in ("train", "val")
        )
        self.val = self.val.subset(range(min(arguments.val, len(self.val))))
        rng = np.random.default_rng(arguments.seed)
        self.pool = every.subset(sorted(rng.permutation(len(every))[: arguments.pool].tolist()))
        self.counts = [len(self.pool.instances(i)) for i in range(len(self.pool))]
        self.start = rng.permutation(len(self.pool))[:START].tolist()

    def first_model(self):
        keras.utils.set_random_seed(self.seed)
        model = self.recipe.build_model(self.pool.class_names, self.pool.category_ids)
        mrcnn.load_imagenet(model.backbone, model.config.backbone)
        return model

    def order(self, way, model, left, number):
        """Places of images, that to label first on top."""
        if way == "random":
            return np.random.default_rng((self.seed, number)).permutation(left).tolist()
        labeled = [self.pool.record(i).path for i in range(len(self.pool)) if i not in left]
        images = [self.pool.record(i).path for i in left]
        selection = mrcnn.select_images(mrcnn.fold_batch_norm(model), images, len(left), labeled=labeled)
        return [left[choice.image] for choice in selection.chosen]

    def train(self, model, labeled):
        """Train further, and measure: the point of the curve."""
        mrcnn.train(model, self.pool.subset(labeled), recipe=self.recipe, progress=False)
        numbers = mrcnn.evaluate(model, self.val).numbers
        masks = sum(self.counts[i] for i in labeled)
        return {"images": len(labeled), "masks": masks, "AP": numbers["mask/AP"], "AP50": numbers["mask/AP50"]}

    def rounds(self, way, model, point):
        """The points of the curve after the first."""
        labeled = list(self.start)
        work = {"accepted": 0, "reshaped": 0, "added": 0, "deleted": 0}
        points = [{**point, **work}]
        for number, budget in enumerate(self.budgets):
            begin = time.perf_counter()
            left = [i for i in range(len(self.pool)) if i not in labeled]
            for image in self.order(way, model, left, number):
                if sum(self.counts[i] for i in labeled) >= budget:
                    break
                labeled.append(image)
                (prediction,) = mrcnn.detect(model, self.pool.load_image(image))
                done = corrections(self.pool.instances(image), prediction)
                work = {key: work[key] + done[key] for key in work}
            points.append(self.train(model, labeled) | work)
            print(f"{way}, seed {self.seed}: {points[-1]}, {time.perf_counter() - begin:.0f} s", flush=True)
        return points


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=120, help="images to choose from")
    parser.add_argument("--val", type=int, default=62, help="images to measure on")
    parser.add_argument("--images", type=int, default=320, help="crops of each training")
    parser.add_argument(
        "--budgets", type=int, nargs="+", default=(500, 1000, 2000), help="masks drawn in all, by round"
    )
    arguments = parser.parse_args()
    loop = Loop(arguments)
    model = loop.first_model()
    point = loop.train(model, loop.start)
    print(point, flush=True)
    curves = {}
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder, "start.safetensors")
        mrcnn.save_checkpoint(model, start)
        for way in ("proposed", "random"):
            curves[way] = loop.rounds(way, mrcnn.load_model(start), point)
            arguments.out.write_text(json.dumps({"seed": loop.seed, "curves": curves}, indent=1) + "\n")


if __name__ == "__main__":
    main()
