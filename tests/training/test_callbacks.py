from __future__ import annotations

import csv
import json
import logging
import types

import cv2
import keras
import numpy as np
import pytest

from mrcnn.training import callbacks
from mrcnn.training.callbacks import EarlyStop, Evaluation, RunDirectory, WaitTimer
from mrcnn.training.fit import train
from mrcnn.weights.checkpoint import read_checkpoint
from tests.mean_color import MeanColor, write_set
from tests.training.test_resume import recipe_of


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    return clock


def _timer(rate: float = 0.25) -> WaitTimer:
    timer = WaitTimer(images_per_step=6)
    timer.set_model(types.SimpleNamespace(optimizer=keras.optimizers.SGD(rate)))
    return timer


def test_the_share_of_time_spent_waiting_and_the_speed(clock):
    timer = _timer()
    for _ in range(2):  # each epoch counts anew
        timer.on_epoch_begin(0)
        for step in range(4):
            with timer.waiting():
                clock.now += 3.0
            clock.now += 1.0  # the step itself
            logs = {"loss": 1.0}
            timer.on_train_batch_end(step, logs)
            assert logs == {"loss": 1.0, "data_wait": pytest.approx(3 / 4), "images_per_s": pytest.approx(6 / 4)}
        logs = {}
        timer.on_epoch_end(0, logs)
        assert logs == {
            "data_wait": pytest.approx(12 / 16),
            "images_per_s": pytest.approx(24 / 16),
            "learning_rate": 0.25,
        }


def test_an_epoch_of_no_time_and_one_without_logs(clock):
    timer = _timer()
    timer.on_epoch_begin(0)
    timer.on_epoch_end(0, None)
    logs = {}
    timer.on_epoch_end(0, logs)
    assert logs["data_wait"] == 0.0


def test_early_stop_counts_evaluations_since_the_best():
    stop = EarlyStop(2, "val_mask/AP")
    model = types.SimpleNamespace(stop_training=False)
    stop.set_model(model)
    states = []
    for value in (0.1, None, 0.3, 0.3, None, 0.2):
        assert not model.stop_training
        stop.on_epoch_end(0, {} if value is None else {"val_mask/AP": value})
        states.append(stop.get_state())
    assert model.stop_training
    assert [state["waited"] for state in states] == [0, 0, 0, 1, 1, 2]
    again = EarlyStop(2, "val_mask/AP")
    again.set_state(json.loads(json.dumps(states[3])))
    assert (again.best, again.waited) == (0.3, 1)


def test_evaluation_every_few_epochs_and_at_the_end(monkeypatch):
    calls = []

    def evaluate(model, dataset, *, batch_size, progress, log):
        calls.append((model, dataset, batch_size))
        return types.SimpleNamespace(numbers={"box/AP": 0.5, "mask/AP": 0.25, "mask/ARs": 0.1, "box/ARs": 0})

    monkeypatch.setattr(callbacks, "evaluate", evaluate)
    callback = Evaluation("images", every_epochs=3, batch_size=2, wanted="-val_mask/ARs")
    callback.set_model("model")
    callback.set_params({"epochs": 7})
    logged = []
    for epoch in range(7):
        logs = {"loss": 1.0}
        callback.on_epoch_end(epoch, logs)
        logged.append(logs)
    found = {"loss": 1.0, "val_box/AP": 0.5, "val_mask/AP": 0.25, "val_mask/ARs": 0.1}
    assert logged == [{"loss": 1.0}] * 2 + [found] + [{"loss": 1.0}] * 2 + [found, found]
    assert calls == [("model", "images", 2)] * 3


def _run(folder, epochs: list[dict[str, float]]) -> MeanColor:
    """As if these had been the logs of a training run; the head's bias is the number of the epoch."""
    model = MeanColor()
    callback = RunDirectory(folder, extra={"recipe": {"note": 1}})
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

    monkeypatch.setattr(callbacks, "save_checkpoint", full)
    with caplog.at_level(logging.ERROR, "mrcnn"):
        _run(tmp_path, [{"loss": 2.0}])
    assert "No space left on device" in caplog.text


def test_the_state_of_a_run_survives(tmp_path):
    first = RunDirectory(tmp_path, extra={})
    assert first.get_state() == {"rows": []}
    first.rows = [{"epoch": 1, "loss": 2.0, "val_mask/AP": 0.5}, {"epoch": 2, "loss": 1.0}]
    for best_by, best in (("val_mask/AP", 0.5), ("-loss", -1.0), ("val_box/AP", float("-inf"))):
        again = RunDirectory(tmp_path, extra={}, best_by=best_by)
        again.set_state(json.loads(json.dumps(first.get_state())))
        assert (again.best, again.rows) == (best, first.rows)


def test_less_may_be_better_and_any_number_decides(tmp_path, caplog):
    model = MeanColor()
    keeper, stop = RunDirectory(tmp_path, {}, best_by="-loss"), EarlyStop(1, "-loss")
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
    typo = RunDirectory(tmp_path, {}, best_by="val_mask/ap")
    typo.set_model(model)
    for logs in ({"loss": 1.0}, {"loss": 1.0, "val_mask/AP": 0.5}, {"loss": 1.0, "val_mask/AP": 0.5}):
        typo.on_epoch_end(0, logs)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["train.best_by: this run logs no val_mask/ap; it logs epoch, loss, val_mask/AP"]


@pytest.mark.slow
def test_weights_and_biases_by_its_own_keras_callback(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed: pip install 'mrcnn-keras[wandb]'")
    from wandb.integration.keras import WandbMetricsLogger

    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("DIR", str(tmp_path))):
        monkeypatch.setenv(f"WANDB_{name}", value)
    run = wandb.init(project="test", dir=str(tmp_path))
    try:
        data = write_set(tmp_path / "images", side=16)
        recipe = recipe_of(train__images=8, train__unfreeze=[], train__train_layers="all", data__crop=None)
        history = train(MeanColor(), data, recipe=recipe, callbacks=[WandbMetricsLogger()], progress=False).history
        found = dict(run.summary)
    finally:
        wandb.finish()
    for name in ("loss", "data_wait", "images_per_s"):
        assert found[f"epoch/{name}"] == pytest.approx(history[name][-1]), name
