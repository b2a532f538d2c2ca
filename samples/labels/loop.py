"""The label loop, simulated: python samples/labels/loop.py DATA RUNS [--rounds K] [--budget N] [--images N] [--seed N]

DATA holds annotations_train.json, annotations_val.json and images/ of nuclei. All labels of the training part are
withheld; each round reveals those of `budget` more images, drawn at random or as `mrcnn propose` says, trains anew on
all that are revealed, and measures mask AP on the validation part. Masks are counted as drawn if each is drawn by
hand, and if only those are that the model of the round before does not already have. What is in RUNS is not repeated.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np

import mrcnn

LIGHT = {
    "model.input.short_side": 320,
    "model.input.long_side": 448,
    "model.rpn.post_nms_train": 300,
    "model.rpn.post_nms_test": 300,
    "model.heads.0.conv_dims": [64] * 4,
    "model.heads.0.deconv_dim": 64,
    "data.flip_vertical": 0.5,
    "data.max_instances": 100,
    "train.batch_size": 4,
    "train.learning_rate": 2.4e-3,
    "train.warmup_images": 80,
    "train.keep_checkpoints": 1,
}
SAME = 0.75
"""IoU from which a mask is taken as the model gave it."""


def to_correct(objects, detections):
    """(masks to draw, detections to delete): what is left to do where a model's answer is corrected by hand."""
    overlaps = np.zeros((len(objects), len(detections)))
    for row, mask in enumerate(objects.iter_masks()):
        for column, (top, left, bits) in enumerate(detections.mask_windows()):
            part = mask[top : top + bits.shape[0], left : left + bits.shape[1]]
            inner = np.count_nonzero(part & bits)
            overlaps[row, column] = inner / (np.count_nonzero(mask) + np.count_nonzero(bits) - inner)
    good = overlaps >= SAME  # at this overlap a detection fits one object only, and an object hardly two detections
    return int((~good.any(1)).sum()), int((~good.any(0)).sum())


def trained(data, folder, images, seed):
    """The model of a round: from ImageNet weights, on what is labeled so far."""
    keras.utils.set_random_seed(seed)
    recipe = mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn")
    recipe = recipe.override(LIGHT | {"train.images": images, "train.seed": seed})
    model = recipe.build_model(data.class_names)
    mrcnn.load_imagenet(model.backbone, model.config.backbone)
    mrcnn.train(model, data, recipe=recipe, out=folder, resume=True)
    return model


def run(way, options, pool, val):
    """All rounds of one way to choose; the rows of its curve."""
    order = np.random.default_rng(options.seed).permutation(len(pool)).tolist()
    paths = [pool.record(index).path for index in range(len(pool))]
    chosen, rows, model = order[: options.budget], [], None
    drawn = corrected = sum(len(pool.annotations(index)) for index in chosen)
    deleted = 0  # detections
    for number in range(options.rounds):
        folder = options.runs / f"{way}_{options.seed}_{number}"
        file = folder / "round.json"
        if file.exists():  # of an earlier call
            state = json.loads(file.read_text())
        else:
            model = trained(pool.subset(chosen), folder / "training", options.images, options.seed)
            numbers = mrcnn.evaluate(model, val, out=folder).numbers
            left = [index for index in order if index not in chosen]
            if way == "random":
                following = left[: options.budget]
            else:
                files, known = [paths[index] for index in left], [paths[index] for index in chosen]
                selection = mrcnn.select_images(model, files, options.budget, labeled=known)
                following = [left[choice.image] for choice in selection.chosen]
            work = [to_correct(pool.instances(i), mrcnn.detect(model, paths[i])[0]) for i in following]
            row = {"way": way, "images": len(chosen), "drawn": drawn, "corrected": corrected, "deleted": deleted}
            drawn += sum(len(pool.annotations(index)) for index in following)
            corrected += sum(masks for masks, _ in work)
            deleted += sum(wrong for _, wrong in work)
            state = {
                "row": row | {"mask AP": round(numbers["mask/AP"], 4)},
                "chosen": [*chosen, *following],
                "counts": [drawn, corrected, deleted],
            }
            file.write_text(json.dumps(state))
        chosen, (drawn, corrected, deleted) = state["chosen"], state["counts"]
        rows.append(state["row"])
        print(*(f"{name} {value}" for name, value in state["row"].items()), sep=", ", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--budget", type=int, default=8, help="images labeled in each round")
    parser.add_argument("--images", type=int, default=800, help="seen in each training, in steps of 4")
    parser.add_argument("--pool", type=int, default=200, help="images to choose from; drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pool, val = (
        mrcnn.load_coco(options.data / f"annotations_{part}.json", options.data / "images") for part in ("train", "val")
    )
    some = np.random.default_rng(options.seed).permutation(len(pool))[: options.pool]
    pool = pool.subset(sorted(some.tolist()))
    rows = [row for way in ("random", "proposed") for row in run(way, options, pool, val)]
    (options.runs / "curve.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
