"""Train the paper's Mask R-CNN on COCO: python samples/coco/train.py COCO IMAGENET [RUN]

COCO holds annotations/instances_train2017.json and instances_val2017.json, train2017/ and val2017/.
IMAGENET is a file of ResNet-50 weights, e.g. torchvision's .pth; see `mrcnn.load_imagenet`.
"""

import sys
from pathlib import Path

import mrcnn

COCO = Path(sys.argv[1])
IMAGENET = Path(sys.argv[2])
RUN = Path(sys.argv[3] if len(sys.argv) > 3 else "runs/coco")

recipe = mrcnn.recipes.get("mask_rcnn_r50_fpn")  # any of mrcnn.recipes.named(); .override({...}) changes it
train_data = mrcnn.load_coco(COCO / "annotations/instances_train2017.json", COCO / "train2017")
val_data = mrcnn.load_coco(COCO / "annotations/instances_val2017.json", COCO / "val2017")
model = recipe.build_model(train_data.class_names, train_data.category_ids)
print(mrcnn.load_imagenet(model.backbone, model.config.backbone, IMAGENET))
mrcnn.train(model, train_data, val_data, recipe=recipe, out=RUN)
