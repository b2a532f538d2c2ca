"""Time and memory of loading a checkpoint of 44 million parameters, in every container.

Writes checkpoints with random weights from a fixed seed (or takes the files named as cases) and loads each in a process
of its own. Numbers: seconds to load the file into a model; seconds to build that model; seconds of `load_pretrained`,
which does both; and for loading and for `load_pretrained` the memory, in multiples of the file's size. Memory is the
highest above the start, so `load_pretrained` cannot do with less than 1: the model itself.

    python benchmarks/load_weights.py [--case FILE ...] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np
import psutil

GOLDEN = harness.ROOT / "tests" / "golden" / "data"
CASES = ("torch_zip.pth", "torch_legacy.pth", "pickle.pkl", "python2_pickle.pkl", "keras.h5")


class PeakMemory:
    """Highest resident memory inside a with block above that at its start, in bytes."""

    def __enter__(self) -> PeakMemory:
        self._process, self._stop = psutil.Process(), threading.Event()
        self._start = self._highest = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self._highest = max(self._highest, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._highest = max(self._highest, self._process.memory_info().rss)

    @property
    def extra(self) -> int:
        """Bytes."""
        return self._highest - self._start


def _state(golden: str) -> dict[str, np.ndarray]:
    shapes = json.loads(str(np.load(GOLDEN / f"{golden}.npz")["meta"]))["state"]
    rng = np.random.default_rng(0)
    return {
        name: np.asarray(rng.random(shape), np.float32) if shape else np.zeros((), np.int64)
        for name, shape in shapes.items()
    }


def write_all(options: argparse.Namespace, folder: Path) -> None:
    """One file per container, in the layout of the family that uses it."""
    if not set(options.case) & set(CASES):
        return
    from tests.reference.containers import write_torch_legacy, write_torch_zip
    from tests.reference.keras_files import write_keras_h5
    from tests.reference.python2_pickle import python2_pickle

    torchvision, detectron2, matterport = map(_state, ("tv_mask_r50_fpn", "d2_mask_r50_fpn", "mp_mask_r50"))
    write_torch_zip(folder / "torch_zip.pth", torchvision)
    write_torch_legacy(folder / "torch_legacy.pth", torchvision)
    (folder / "pickle.pkl").write_bytes(pickle.dumps({"model": detectron2, "__author__": "benchmark"}, 3))
    (folder / "python2_pickle.pkl").write_bytes(python2_pickle({"model": detectron2}))
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in matterport.items():
        layers.setdefault(name.split("/")[0], {})[f"{name}:0"] = value
    write_keras_h5(folder / "keras.h5", layers)


def ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """One file, loaded both ways."""
    import keras

    import mrcnn
    from mrcnn.weights.pretrained import load_pretrained, load_weights

    keras.layers.Dense(2)(np.ones((1, 2), np.float32))  # TensorFlow's own memory is not the checkpoint's
    path = options.folder / case if case in CASES else Path(case)
    size = path.stat().st_size

    def run() -> harness.Answer:
        with PeakMemory() as memory:
            start = time.perf_counter()
            model = load_pretrained(path)
            both = time.perf_counter() - start
        whole = memory.extra / size
        start = time.perf_counter()
        mrcnn.MaskRCNN(model.config, model.class_names)
        build = time.perf_counter() - start
        with PeakMemory() as memory:
            start = time.perf_counter()
            load_weights(model, path)
            load = time.perf_counter() - start
        own = memory.extra / size
        note = f"{size / 1e6:.0f} MB"
        return {"seconds": load, "build": build, "both": both, "memory": own, "memory of both": whole, "note": note}

    return run


BENCHMARK = harness.Benchmark(__doc__, engines={"ours": ours}, cases=CASES, rounds=3, fresh=True, prepare=write_all)

if __name__ == "__main__":
    harness.run(BENCHMARK)
