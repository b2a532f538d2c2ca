"""The COCO numbers of any weights: python samples/coco/evaluate.py WEIGHTS ANNOTATIONS IMAGES [SHORT_SIDE]

WEIGHTS: a run, or a file of torchvision, detectron2, Detectron or matterport.
"""

import sys
from pathlib import Path

import mrcnn

weights, annotations, images, *rest = sys.argv[1:]
data = mrcnn.load_coco(annotations, images)
if Path(weights).is_dir() or weights.endswith(".safetensors"):
    model = mrcnn.load_model(weights)
else:
    model = mrcnn.load_pretrained(weights, **({"short_side": int(rest[0])} if rest else {}))
print(mrcnn.evaluate(model, data, progress=True))
