"""Do rotated boxes raise mask AP on nuts? python samples/nuts/rotated.py [RUN] [--data DIR] [--seeds K]"""

import argparse
import json
from pathlib import Path

import keras

import mrcnn

HERE = Path(__file__).parent
PROPOSALS = {"pre_nms_train": 300, "pre_nms_test": 300, "post_nms_train": 200, "post_nms_test": 200}
ALIGNED = {
    "model.input.short_side": 256,
    "model.input.long_side": 352,
    **{f"model.rpn.{name}": number for name, number in PROPOSALS.items()},
    "model.roi_sampler.num_rois": 64,
    "model.box_head.fc_dims": [128, 128],
    "model.heads.0.num_foreground": 16,
    "model.heads.0.conv_dims": [32] * 4,
    "model.heads.0.deconv_dim": 32,
    "data.short_sides": [],
    "data.flip_vertical": 0.5,
    "data.rotate90": 0.75,
    "data.max_instances": 150,
    "train.batch_size": 4,
    "train.learning_rate": 4e-3,
    "train.train_layers": "4+",
    "train.warmup_images": 80,
    "train.keep_checkpoints": 1,
}
ROTATED = {
    "model.rpn": {"kind": "RotatedRPNConfig", **PROPOSALS},
    "model.box_head": {"kind": "RotatedBoxHeadConfig", "fc_dims": [128, 128]},
    "model.heads.0.pool.op": "align_rotated",
    "data.rotated_boxes": True,
}


def recipe(rotated, images):
    """A pyramid on EfficientNet-Lite0 with light heads; with rotated boxes, or with axis-aligned ones."""
    chosen = mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn").override(ALIGNED | {"train.images": images})
    return chosen.override(ROTATED) if rotated else chosen


def main():
    """Train both kinds with each seed, what is there already excepted, and print their numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/nuts_rotated"))
    parser.add_argument("--data", type=Path, help="folder with annotations_train.json and annotations_val.json")
    parser.add_argument("--images", type=int, default=480, help="seen in each training, in steps of 4")
    parser.add_argument("--seeds", type=int, default=3, help="trainings with each kind of boxes")
    options = parser.parse_args()
    images, files = HERE / "images", (HERE / "images/train.json", HERE / "images/val.json")
    if options.data is not None:
        images, files = (
            options.data / "images",
            [options.data / f"annotations_{part}.json" for part in ("train", "val")],
        )
    train_data, val_data = (mrcnn.load_coco(file, images) for file in files)
    for seed in range(options.seeds):
        for kind in ("aligned", "rotated"):
            folder = options.run / f"{kind}_{seed}"
            if (folder / "metrics.json").exists():  # of an earlier call that was interrupted
                continue
            keras.utils.set_random_seed(seed)
            chosen = recipe(kind == "rotated", options.images).override({"train.seed": seed})
            model = chosen.build_model(train_data.class_names)
            mrcnn.load_imagenet(model.backbone, model.config.backbone)
            mrcnn.train(model, train_data, recipe=chosen, out=folder / "training", resume=True)
            print(f"{kind} boxes, seed {seed}\n{mrcnn.evaluate(model, val_data, out=folder)}\n", flush=True)
    for kind in ("aligned", "rotated"):
        runs = [json.loads(file.read_text()) for file in sorted(options.run.glob(f"{kind}_*/metrics.json"))]
        for name in ("mask/AP", "mask/AP50", "mask/AP75", "box/AP"):
            print(f"{kind:10}{name:12}", *(f"{one['numbers'][name]:.3f}" for one in runs))


if __name__ == "__main__":
    main()
