"""Fine-tune a model on four images of nuts: python samples/nuts/train.py [RUN]"""

import sys
from pathlib import Path

from dataset import Nuts

import mrcnn

HERE = Path(__file__).parent
RUN = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/nuts")

recipe = mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn").override(
    {
        "data.short_sides": [320, 352, 384],
        "data.rotate90": 0.5,
        "data.brightness": 0.2,
        "model.input.short_side": 384,
        "train.images": 1600,
        "train.warmup_images": 100,
        "train.eval_every_epochs": 50,
    }
)
train_data, val_data = Nuts(HERE / "images/train.json"), Nuts(HERE / "images/val.json")
model = recipe.build_model(train_data.class_names)
print(mrcnn.load_imagenet(model.backbone, model.config.backbone))  # pip install "mrcnn-keras[efficientnet]"
mrcnn.train(model, train_data, val_data, recipe=recipe, out=RUN)
