from __future__ import annotations

import json
import types

import keras
import pytest

from mrcnn.training import callbacks
from mrcnn.training.callbacks import EarlyStop, Evaluation, WaitTimer
from mrcnn.training.fit import train
from tests.mean_color import MeanColor, write_set
from tests.training.test_resume import recipe_of


class Clock:
    """Time that passes only on request."""

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
    result = {"loss": 1.0, "val_box/AP": 0.5, "val_mask/AP": 0.25, "val_mask/ARs": 0.1}
    assert logged == [{"loss": 1.0}] * 2 + [result] + [{"loss": 1.0}] * 2 + [result, result]
    assert calls == [("model", "images", 2)] * 3


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
        result = dict(run.summary)
    finally:
        wandb.finish()
    for name in ("loss", "data_wait", "images_per_s"):
        assert result[f"epoch/{name}"] == pytest.approx(history[name][-1]), name
