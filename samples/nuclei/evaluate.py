"""The COCO numbers of the shipped nuclei model: python samples/nuclei/evaluate.py [ANNOTATIONS IMAGES]

Without arguments: on the twelve pictures that ship with the project.
"""

import sys
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent
annotations, images = sys.argv[1:3] or (HERE / "pictures/annotations.json", HERE / "pictures")
print(mrcnn.evaluate(mrcnn.load_model(HERE / "run"), mrcnn.load_coco(annotations, images), progress=True))
