"""The COCO numbers of the shipped nuclei model: python samples/nuclei/evaluate.py [ANNOTATIONS IMAGES]

Without arguments: on the twelve images that ship with the project.
"""

import sys
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent
annotations, images = sys.argv[1:3] or (HERE / "images/annotations.json", HERE / "images")
print(mrcnn.evaluate(mrcnn.load_model(HERE / "run"), mrcnn.load_coco(annotations, images), progress=True))
