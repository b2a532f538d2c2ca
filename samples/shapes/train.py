"""Train on circles, squares and triangles drawn on the fly: python samples/shapes/train.py [RUN]"""

import sys
from pathlib import Path

from shapes import CLASS_NAMES, draw_image

import mrcnn

RUN = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/shapes")


class Shapes(mrcnn.Dataset):
    """Images that are drawn when they are needed; each has its number as its seed."""

    def __init__(self, first_seed, count):
        super().__init__()
        for class_id, name in enumerate(CLASS_NAMES, start=1):
            self.add_class("shapes", class_id, name)
        for seed in range(first_seed, first_seed + count):
            self.add_image("shapes", image_id=seed, path=None, width=128, height=128)

    def load_image(self, index):
        return draw_image(self.image_ids[index])[0]

    def load_mask(self, index):
        return draw_image(self.image_ids[index])[1:]


def recipe(images=4000):
    """Anchors and images of 128 pixels."""
    return mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn").override(
        {
            "model.rpn.anchors.sizes": [[8], [16], [32], [64], [128]],
            "model.input.short_side": 128,
            "model.roi_sampler.num_rois": 32,
            "model.heads.0.num_foreground": 8,
            "data.short_sides": [],
            "train.batch_size": 8,
            "train.learning_rate": 4e-3,
            "train.images": images,
            "train.warmup_images": 160,
        }
    )


if __name__ == "__main__":
    train_data, val_data, fresh = Shapes(0, 1000), Shapes(100_000, 50), Shapes(200_000, 50)
    model = recipe().build_model(CLASS_NAMES)
    print(mrcnn.load_imagenet(model.backbone, model.config.backbone))  # pip install "mrcnn-keras[efficientnet]"
    mrcnn.train(model, train_data, val_data, recipe=recipe(), out=RUN)
    print(mrcnn.evaluate(mrcnn.load_model(RUN), fresh))
