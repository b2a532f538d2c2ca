"""Do rotated boxes raise mask AP on elongated objects? python samples/bars/compare.py [RUN] [--images N] [--seeds K]"""

import argparse
import json
from pathlib import Path

import keras
from bars import Bars, recipe

import mrcnn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("run", nargs="?", type=Path, default=Path("runs/bars"))
parser.add_argument("--images", type=int, default=4800, help="seen in each training, in steps of 8")
parser.add_argument("--seeds", type=int, default=2, help="trainings with each kind of boxes")
arguments = parser.parse_args()

train_data, fresh = Bars(0, 800), Bars(200_000, 100)
for seed in range(arguments.seeds):
    for kind in ("aligned", "rotated"):
        folder = arguments.run / f"{kind}_{seed}"
        if (folder / "metrics.json").exists():  # of an earlier call that was interrupted
            continue
        keras.utils.set_random_seed(seed)
        chosen = recipe(kind == "rotated", arguments.images).override({"train.seed": seed})
        model = chosen.build_model(["bar"])
        mrcnn.train(model, train_data, recipe=chosen, out=folder / "training", resume=True)
        result = mrcnn.evaluate(model, fresh, out=folder)
        print(f"{kind} boxes, seed {seed}\n{result}\n", flush=True)

for kind in ("aligned", "rotated"):
    numbers = [json.loads(file.read_text())["numbers"] for file in sorted(arguments.run.glob(f"{kind}_*/metrics.json"))]
    for name in ("mask/AP", "mask/AP50", "mask/AP75"):
        print(f"{kind:10}{name:12}", *(f"{one[name]:.3f}" for one in numbers))
