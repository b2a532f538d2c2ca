"""Train the nuclei model that ships in run/: python samples/nuclei/train.py DATA [RUN]

DATA holds annotations_train.json, annotations_val.json and images/; see README.md for where it comes from.
"""

import sys
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent
DATA = Path(sys.argv[1])
RUN = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/nuclei")

recipe = mrcnn.recipes.get(HERE / "run/recipe.yaml")
train_data = mrcnn.load_coco(DATA / "annotations_train.json", DATA / "images")
val_data = mrcnn.load_coco(DATA / "annotations_val.json", DATA / "images")
model = recipe.build_model(train_data.class_names, train_data.category_ids)
print(mrcnn.load_imagenet(model.backbone, model.config.backbone))  # pip install "mrcnn-keras[efficientnet]"
mrcnn.train(model, train_data, val_data, recipe=recipe, out=RUN)
