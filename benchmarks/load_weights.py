"""Time and memory of loading a checkpoint of 44 million parameters, in every container.

Writes checkpoints with drawn weights (or takes the files named on the command line) and loads each in a process of
its own. Columns: size of the file; seconds to build the model; seconds and memory, in multiples of the file's size,
to load the file into it; the same for `load_pretrained`, which does both. Memory is the highest above the start, so
`load_pretrained` cannot do with less than 1: the model itself.

    python benchmarks/load_weights.py [FILE ...] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "data"


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


def write_all(folder: Path) -> list[Path]:
    """One file per container, in the layout of the family that uses it."""
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
    return sorted(folder.iterdir())


def measure(path: Path) -> dict[str, float]:
    """Numbers of one file, in this process."""
    import keras

    import mrcnn
    from mrcnn.weights.pretrained import load_pretrained, load_weights

    keras.layers.Dense(2)(np.ones((1, 2), np.float32))  # TensorFlow's own memory is not the checkpoint's
    size = path.stat().st_size
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
    return {"MB": size / 1e6, "build": build, "load": load, "memory": memory.extra / size, "both": both, "whole": whole}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # for tests.reference, and for mrcnn where it is not installed
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'file':<24}{'MB':>8}{'build s':>10}{'load s':>10}{'x size':>10}{'both s':>10}{'x size':>10}")
        for path in arguments.files or write_all(Path(folder)):
            command = [sys.executable, __file__, "--measure", str(path)]
            runs = [
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                for _ in range(arguments.runs)
            ]
            middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            print(f"{path.name:<24}{middle['MB']:>8.1f}" + "".join(f"{x:>10.2f}" for x in list(middle.values())[1:]))


if __name__ == "__main__":
    main()
