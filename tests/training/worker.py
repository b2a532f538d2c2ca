"""One of several machines of a training run; started by test_workers.py as a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from mrcnn.training.devices import gather_bytes, join_workers
from mrcnn.training.evaluation_run import evaluate
from mrcnn.training.fit import train


def main(index: int, ports: list[str], folder: Path, out: str) -> None:
    strategy = join_workers([f"127.0.0.1:{port}" for port in ports], index)
    from tests.mean_color import write_set
    from tests.training.drawn import SIDE, small_model, weights
    from tests.training.test_workers import recipe_of_two

    data = write_set(folder / f"images{index}", num=6, side=SIDE)
    with strategy.scope():
        model = small_model()
    train(model, data, data, recipe=recipe_of_two(), out=folder / out, strategy=strategy, resume=True, progress=False)
    np.savez(folder / f"{out}_end{index}.npz", **weights(model))
    looked_at, load_image = [], data.load_image
    data.load_image = lambda i: looked_at.append(i) or load_image(i)
    with strategy.scope():
        shared = small_model()  # with other weights than the trained one: detections of an untrained model are many
    result = evaluate(shared, data)
    gathered = [part.decode() for part in gather_bytes(strategy, b"from %d" % index + b"!" * index)]
    facts = {"looked_at": looked_at, "numbers": result.numbers, "detections": result.detections, "gathered": gathered}
    (folder / f"{out}_evaluation{index}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].split(","), Path(sys.argv[3]), sys.argv[4])
