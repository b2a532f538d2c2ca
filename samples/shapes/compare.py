"""Draw the losses and the mAP of two trainings side by side: python samples/shapes/compare.py IMAGE [LEFT RIGHT]

LEFT and RIGHT are `history.json` of `train_matterport.py` with and without --paper; those beside this file by default.
"""

import json
import sys
from pathlib import Path

from train_matterport import HERE, NAMES, draw_curves

LEFT, RIGHT = map(Path, sys.argv[2:] or [HERE / "history_paper.json", HERE / "history_matterport.json"])
histories = {NAMES[True]: json.loads(LEFT.read_text()), NAMES[False]: json.loads(RIGHT.read_text())}
draw_curves(histories, sys.argv[1])
