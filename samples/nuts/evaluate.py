"""The COCO numbers of a nuts model on the two held-out pictures: python samples/nuts/evaluate.py RUN"""

import sys
from pathlib import Path

from dataset import Nuts

import mrcnn

data = Nuts(Path(__file__).parent / "pictures/val.json")
print(mrcnn.evaluate(mrcnn.load_model(sys.argv[1]), data, out=sys.argv[1]))
