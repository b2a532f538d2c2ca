"""Train on objects outlined with the VGG Image Annotator: python samples/balloon/train.py DATA [RUN]

DATA holds train/ and val/, each with its images and via_region_data.json.
"""

import sys
from pathlib import Path

import mrcnn

DATA = Path(sys.argv[1])
RUN = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/balloon")

recipe = mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn").override(
    {"data.brightness": 0.2, "train.images": 1600, "train.warmup_images": 100, "train.eval_every_epochs": 5}
)
train_data = mrcnn.load_via(DATA / "train/via_region_data.json", class_names=["balloon"])
val_data = mrcnn.load_via(DATA / "val/via_region_data.json", class_names=["balloon"])
model = recipe.build_model(train_data.class_names)
print(mrcnn.load_imagenet(model.backbone, model.config.backbone))  # pip install "mrcnn-keras[efficientnet]"
mrcnn.train(model, train_data, val_data, recipe=recipe, out=RUN)
