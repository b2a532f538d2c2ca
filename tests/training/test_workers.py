"""Two processes train as one, over loopback; one of them dies, the other says so, and both go on."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mrcnn.recipes import Recipe
from mrcnn.training.checkpoints import Checkpoints
from mrcnn.training.evaluation_run import evaluate
from mrcnn.training.fit import train
from tests.mean_color import write_set
from tests.training.drawn import SIDE, small_model, weights
from tests.training.test_resume import recipe_of

ROOT = Path(__file__).parents[2]
STEPS = 6


def recipe_of_two(batch_size: int = 1) -> Recipe:
    """6 steps of 2 images, whoever makes them."""
    return recipe_of(
        train__images=12,
        train__batch_size=batch_size,
        train__checkpoint_images=2,
        train__unfreeze=[],
        train__weight_average=0.0,
        train__optimizer="sgd",
        train__train_layers="all",
        train__learning_rate=0.05,
    )


def _start(folder: Path, out: str) -> list[subprocess.Popen]:
    ports = []
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
        ports.append(str(one.getsockname()[1]))
    for one in sockets:
        one.close()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.worker", str(i), ",".join(ports), str(folder), out],
            cwd=ROOT,
            env=environment,
            stderr=(folder / f"{out}_{i}.log").open("a"),
        )
        for i in range(2)
    ]


def _expect_as_one(folder: Path, out: str, alone) -> None:
    expected = weights(alone)
    for i in range(2):
        with np.load(folder / f"{out}_end{i}.npz") as result:
            assert set(result.files) == set(expected)
            for path, value in expected.items():
                assert np.linalg.norm(result[path] - value) <= 1e-4 * np.linalg.norm(value) + 1e-7, path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    model = small_model()
    data = write_set(folder / "images", num=6, side=SIDE)
    train(model, data, data, recipe=recipe_of_two(batch_size=2), out=folder / "run", progress=False)
    return model, folder / "run"


@pytest.mark.slow
def test_two_workers_are_one(tmp_path, alone):
    model, run = alone
    processes = _start(tmp_path, "run")
    assert [process.wait(500) for process in processes] == [0, 0], (tmp_path / "run_0.log").read_text()[-3000:]
    _expect_as_one(tmp_path, "run", model)
    histories = []
    for folder in (tmp_path / "run", run):  # written by the chief; numbers of all images, each counted once
        with (folder / "history.csv").open(newline="") as file:
            histories.append(list(csv.DictReader(file)))
    for mine, theirs in zip(*histories, strict=True):
        for name in set(theirs) - {"data_wait", "images_per_s"}:
            assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=1e-3, abs=1e-6), name
    first, second = (json.loads((tmp_path / f"run_evaluation{i}.json").read_text()) for i in range(2))
    assert (first["looked_at"], second["looked_at"]) == ([0, 1, 2], [3, 4, 5])
    assert first["gathered"] == second["gathered"] == ["from 0", "from 1!"]
    expected = evaluate(small_model(), write_set(tmp_path / "again", num=6, side=SIDE))
    for result in (first, second):  # every image counted once, the same result everywhere
        assert len(result["detections"]) == len(expected.detections) > 0
        assert [d["image_id"] for d in result["detections"]] == [d["image_id"] for d in expected.detections]
        assert result["numbers"] == pytest.approx(expected.numbers, abs=1e-6)


@pytest.mark.slow
def test_a_worker_dies_the_other_says_so_and_both_go_on(tmp_path, alone):
    processes = _start(tmp_path, "run")
    kept, begin = Checkpoints(tmp_path / "run", writes=False), time.monotonic()
    while (kept.steps() or [0])[0] < 2:
        assert time.monotonic() - begin < 400 and processes[0].poll() is None, (tmp_path / "run_0.log").read_text()
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGKILL)
    assert processes[0].wait(300) != 0
    assert "another machine of this run is gone" in (tmp_path / "run_0.log").read_text()
    assert 2 <= kept.steps()[0] < STEPS
    assert [process.wait(500) for process in _start(tmp_path, "run")] == [0, 0]
    _expect_as_one(tmp_path, "run", alone[0])
