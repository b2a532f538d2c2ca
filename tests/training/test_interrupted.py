"""A run that was interrupted: its folder is usable by every command, and can be resumed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import mrcnn
from mrcnn.modeling.variables import named_variables
from mrcnn.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
NUCLEI = ROOT / "tests/assets/nuclei_tiny"
SMALL = {
    "data.mask_side": 28,
    "data.short_sides": [],
    "model.input.short_side": 64,
    "model.input.long_side": 96,
    "model.rpn.channels": 32,
    "model.neck.channels": 32,
    "model.box_head.fc_dims": [32],
    "model.heads.0.conv_dims": [32],
    "train.batch_size": 2,
    "train.images": 100_000,
}


def _command(out: Path, *more: str) -> list[str]:
    annotations = str(NUCLEI / "annotations.json")
    changes = [word for key, value in SMALL.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    data = ["--train", annotations, "--train-images", str(NUCLEI / "images")]
    recipe = ["--recipe", "mask_rcnn_efficientnet_lite0_fpn", "--weights", "none"]
    return [sys.executable, "-m", "mrcnn", "train", *recipe, *data, "--out", str(out), *changes, *more]


def _interrupt(command: list[str], when: str) -> tuple[int, list[str]]:
    """Run a command, send it SIGINT after a line that begins so; its exit code, and the lines on standard error."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    guard = threading.Timer(300, process.kill)
    guard.start()
    lines = []
    try:
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if line.startswith(when):
                time.sleep(0.5)
                process.send_signal(signal.SIGINT)
        return process.wait(), lines
    finally:
        guard.cancel()
        process.kill()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped by Ctrl-C in its first epoch, of a thousand steps."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    annotations = json.loads((NUCLEI / "annotations.json").read_text())
    assert len(annotations["images"]) < 100
    many = folder.parent / "many.json"
    images = [{**image, "id": image["id"] + 100_000 * copy} for copy in range(500) for image in annotations["images"]]
    objects = [
        {**a, "id": a["id"] + 10_000_000 * copy, "image_id": a["image_id"] + 100_000 * copy}
        for copy in range(500)
        for a in annotations["annotations"]
    ]
    many.write_text(json.dumps({**annotations, "images": images, "annotations": objects}))
    command = _command(folder)
    command[command.index("--train") + 1] = str(many)
    code, lines = _interrupt(command, "epoch 1 of ")
    text = "\n".join(lines)
    assert code == 130, text
    assert "Traceback" not in text
    assert "signal SIGINT: the run ends after this step" in text
    assert f"; resume the run in {folder}" in text
    assert not set(text) & set("\r\b\x1b"), "standard error is no terminal"
    return folder


@pytest.mark.slow
def test_the_folder_holds_a_checkpoint_a_model_history_and_curves(interrupted: Path) -> None:
    names = {path.name for path in interrupted.iterdir()}
    files = {"model.safetensors", "recipe.yaml", "run.json", "history.csv", "curves.png"}
    assert names == files | {"checkpoints", "events"}  # no lock, nothing half written
    [step] = Checkpoints(interrupted).steps()
    with (interrupted / "history.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert 0 < float(row["epoch"]) < 1
    assert float(row["loss"]) > 0
    assert step > 0
    image = cv2.imread(str(interrupted / "curves.png"))
    assert image[:, : image.shape[1] // 2].std() > 5


@pytest.mark.slow
def test_the_model_is_that_of_the_checkpoint_and_works(interrupted: Path, tmp_path: Path) -> None:
    model = mrcnn.load_model(interrupted)
    metadata, state = Checkpoints(interrupted).newest()
    named = named_variables(model)
    assert set(metadata["weights"]) == set(named)
    for path, name in metadata["weights"].items():
        np.testing.assert_array_equal(state[name], named[path].numpy(), err_msg=path)
    data = mrcnn.load_coco(NUCLEI / "annotations.json", NUCLEI / "images").subset([0])
    result = mrcnn.evaluate(model, data, out=tmp_path)
    assert "mask/AP" in result.numbers
    assert (tmp_path / "metrics.json").exists()


@pytest.mark.slow
def test_its_checkpoint_loads_as_weights_too(interrupted: Path) -> None:
    kept = Checkpoints(interrupted)
    [step] = kept.steps()
    last = named_variables(mrcnn.load_model(interrupted))
    for path, variable in named_variables(mrcnn.load_model(kept.path(step))).items():
        np.testing.assert_array_equal(variable.numpy(), last[path].numpy(), err_msg=path)
    assert mrcnn.load_model(kept.path(step)).class_names == ("nucleus",)


@pytest.mark.slow
def test_it_is_resumed(interrupted: Path) -> None:
    before = Checkpoints(interrupted).steps()[0]
    command = _command(interrupted, "--resume")
    command[command.index("--train") + 1] = str(interrupted.parent / "many.json")
    code, lines = _interrupt(command, "epoch 1 of ")
    assert code == 130, "\n".join(lines)
    assert any(f"resuming after step {before} of " in line for line in lines)
    assert Checkpoints(interrupted).steps()[0] > before
