"""The COCO numbers of a nuts model on the two held-out images: python samples/nuts/evaluate.py RUN"""

import sys
from pathlib import Path

from dataset import Nuts

import mrcnn

data = Nuts(Path(__file__).parent / "images/val.json")
print(mrcnn.evaluate(mrcnn.load_model(sys.argv[1]), data, out=sys.argv[1]))
