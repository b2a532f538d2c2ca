"""The files of a run beside its checkpoints."""

from __future__ import annotations

import csv
import json
import logging

import cv2
import numpy as np

from mrcnn.training import run_folder
from mrcnn.training.callbacks import EarlyStop
from mrcnn.training.run_folder import RunFolder
from mrcnn.weights.checkpoint import read_checkpoint
from tests.mean_color import MeanColor


def _run(folder, epochs: list[dict[str, float]]) -> MeanColor:
    """As if these had been the logs of a training run; the head's bias is the number of the epoch."""
    model = MeanColor()
    callback = RunFolder(folder, extra={"recipe": {"note": 1}})
    callback.set_model(model)
    for epoch, logs in enumerate(epochs):
        model.head.bias.assign([epoch + 1.0] * 3)
        callback.on_epoch_end(epoch, logs)
    return model


def _epoch_of(path) -> float:
    metadata, tensors = read_checkpoint(path)
    assert metadata["recipe"] == {"note": 1}
    return float(np.asarray(tensors["head/bias"])[0])


def test_the_last_and_the_best_model_are_kept(tmp_path):
    aps = [0.1, 0.4, None, 0.4, 0.3]
    _run(tmp_path, [{"loss": 1.0} | ({} if ap is None else {"val_mask/AP": ap}) for ap in aps])
    assert _epoch_of(tmp_path / "model.safetensors") == 5
    assert _epoch_of(tmp_path / "best.safetensors") == 2  # the first of equals


def test_a_validation_set_without_objects_still_has_a_best(tmp_path):
    _run(tmp_path, [{"loss": 1.0, "val_mask/AP": -1.0}])
    assert _epoch_of(tmp_path / "best.safetensors") == 1


def test_history_has_a_row_per_epoch_and_a_column_for_whatever_came(tmp_path):
    _run(tmp_path, [{"loss": 2.0}, {"loss": np.float32(1.5), "val_mask/AP": 0.25}, {"loss": 1.0}])
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"epoch": "1", "loss": "2.0", "val_mask/AP": ""},
        {"epoch": "2", "loss": "1.5", "val_mask/AP": "0.25"},
        {"epoch": "3", "loss": "1.0", "val_mask/AP": ""},
    ]
    assert not list(tmp_path.glob("*.part*"))


def test_curves_are_drawn_with_and_without_validation(tmp_path):
    _run(tmp_path, [{"loss": 2.0, "rpn_box": 1.0}])
    bare = cv2.imread(str(tmp_path / "curves.png"))
    _run(tmp_path, [{"loss": 2.0, "rpn_box": 1.0, "val_mask/AP": 0.1}, {"loss": 1.0, "rpn_box": 0.4}])
    full = cv2.imread(str(tmp_path / "curves.png"))
    assert bare.shape == full.shape
    assert (bare[:, bare.shape[1] // 2 :] != full[:, full.shape[1] // 2 :]).any()


def test_drawing_leaves_pyplot_alone(tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    _run(tmp_path, [{"loss": 2.0}])
    assert plt.get_fignums() == before


def test_a_full_disk_is_reported_and_training_goes_on(tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "save_checkpoint", full)
    with caplog.at_level(logging.ERROR, "mrcnn"):
        _run(tmp_path, [{"loss": 2.0}])
    assert "No space left on device" in caplog.text


def test_the_state_of_a_run_survives(tmp_path):
    first = RunFolder(tmp_path, extra={})
    assert first.get_state() == {"rows": []}
    first.rows = [{"epoch": 1, "loss": 2.0, "val_mask/AP": 0.5}, {"epoch": 2, "loss": 1.0}]
    for best_by, best in (("val_mask/AP", 0.5), ("-loss", -1.0), ("val_box/AP", float("-inf"))):
        again = RunFolder(tmp_path, extra={}, best_by=best_by)
        again.set_state(json.loads(json.dumps(first.get_state())))
        assert (again.best, again.rows) == (best, first.rows)


def test_less_may_be_better_and_any_number_decides(tmp_path, caplog):
    model = MeanColor()
    keeper, stop = RunFolder(tmp_path, {}, best_by="-loss"), EarlyStop(1, "-loss")
    best, stopped = [], []
    for epoch, loss in enumerate([2.0, 1.0, 1.5]):
        for callback in (keeper, stop):
            callback.set_model(model)
            callback.on_epoch_end(epoch, {"loss": loss})
        best.append(keeper.is_best)
        stopped.append(bool(getattr(model, "stop_training", False)))
    assert (best, stopped) == ([True, True, False], [False, False, True])
    again = EarlyStop(1, "val_box/AP")
    again.set_state(stop.get_state())
    assert (again.best, again.waited) == (float("-inf"), 0)  # what was watched before says nothing here
    assert not caplog.records
    typo = RunFolder(tmp_path, {}, best_by="val_mask/ap")
    typo.set_model(model)
    for logs in ({"loss": 1.0}, {"loss": 1.0, "val_mask/AP": 0.5}, {"loss": 1.0, "val_mask/AP": 0.5}):
        typo.on_epoch_end(0, logs)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["train.best_by: this run logs no val_mask/ap; it logs epoch, loss, val_mask/AP"]


def test_one_epoch_is_seen_in_the_curves(tmp_path):
    """A line through one point has no length."""
    _run(tmp_path / "high", [{"loss": 2.0, "rpn_box": 1.9, "val_mask/AP": 0.9}])
    _run(tmp_path / "low", [{"loss": 2.0, "rpn_box": 0.2, "val_mask/AP": 0.1}])
    high, low = (cv2.imread(str(tmp_path / name / "curves.png")) for name in ("high", "low"))
    middle = high.shape[1] // 2
    for half in (slice(None, middle), slice(middle, None)):
        assert (high[:, half] != low[:, half]).any()


def test_between_epochs_the_folder_is_brought_up_to_date_and_nothing_is_kept_of_it(tmp_path):
    model = MeanColor()
    keeper = RunFolder(tmp_path, extra={"recipe": {"note": 1}})
    keeper.set_model(model)
    model.head.bias.assign([7.0] * 3)
    keeper.write_between(0.25, {"loss": 4.0}, leaving=False)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "history.csv"}
    assert (tmp_path / "history.csv").read_text().split() == ["epoch,loss", "0.25,4.0"]
    model.head.bias.assign([8.0] * 3)
    keeper.write_between(0.5, {"loss": 3.0}, leaving=False)
    assert _epoch_of(tmp_path / "model.safetensors") == 7  # is there already
    keeper.write_between(0.75, {"loss": 2.0}, leaving=True)
    assert _epoch_of(tmp_path / "model.safetensors") == 8
    assert (tmp_path / "curves.png").exists()
    assert keeper.get_state() == {"rows": []}
    keeper.on_epoch_end(0, {"loss": 1.0})
    assert (tmp_path / "history.csv").read_text().split() == ["epoch,loss", "1,1.0"]


def test_a_step_without_numbers_makes_no_row(tmp_path):
    keeper = RunFolder(tmp_path, extra={})
    keeper.set_model(MeanColor())
    keeper.write_between(0.5, {}, leaving=True)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors"}
