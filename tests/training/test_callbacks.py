from __future__ import annotations

import csv
import types

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.training import callbacks
from mrcnn.training.callbacks import Evaluation, RunDirectory, WaitTimer
from mrcnn.weights.checkpoint import read_checkpoint
from tests.mean_colour import MeanColour


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


class SlowData:
    """Stands in for a pipeline each of whose batches takes `seconds`."""

    element_spec = {"x": tf.TensorSpec([None, 2], tf.int32)}  # noqa: RUF012

    def __init__(self, clock: Clock, seconds: float, num: int):
        self.clock, self.seconds, self.num = clock, seconds, num

    def __iter__(self):
        for i in range(self.num):
            self.clock.now += self.seconds
            yield {"x": tf.fill([i + 1, 2], i)}


def _timer(rate: float = 0.25) -> WaitTimer:
    timer = WaitTimer()
    timer.set_model(types.SimpleNamespace(optimizer=keras.optimizers.SGD(rate)))
    return timer


def test_wrapping_changes_no_batch(clock):
    wrapped = WaitTimer().wrap(SlowData(clock, 0.0, 3))
    assert wrapped.element_spec == SlowData.element_spec
    assert [batch["x"].numpy().tolist() for batch in wrapped] == [[[0, 0]], [[1, 1]] * 2, [[2, 2]] * 3]


def test_the_share_of_time_spent_waiting(clock):
    timer = _timer()
    batches = iter(timer.wrap(SlowData(clock, 3.0, 8)))
    for _ in range(2):  # each epoch counts anew
        timer.on_epoch_begin(0)
        for _ in range(4):
            next(batches)
            clock.now += 1.0  # the step itself
        logs = {}
        timer.on_epoch_end(0, logs)
        assert logs == {"data_wait": pytest.approx(12 / 16), "learning_rate": 0.25}


def test_an_epoch_of_no_time_and_one_without_logs(clock):
    timer = _timer()
    timer.on_epoch_begin(0)
    timer.on_epoch_end(0, None)
    logs = {}
    timer.on_epoch_end(0, logs)
    assert logs["data_wait"] == 0.0


def test_evaluation_every_few_epochs_and_at_the_end(monkeypatch):
    calls = []

    def evaluate(model, dataset, *, batch_size):
        calls.append((model, dataset, batch_size))
        return types.SimpleNamespace(numbers={"box/AP": 0.5, "mask/AP": 0.25, "mask/ARs": 0.1})

    monkeypatch.setattr(callbacks, "evaluate", evaluate)
    callback = Evaluation("pictures", every_epochs=3, batch_size=2)
    callback.set_model("model")
    callback.set_params({"epochs": 7})
    logged = []
    for epoch in range(7):
        logs = {"loss": 1.0}
        callback.on_epoch_end(epoch, logs)
        logged.append(logs)
    found = {"loss": 1.0, "val_box/AP": 0.5, "val_mask/AP": 0.25}
    assert logged == [{"loss": 1.0}] * 2 + [found] + [{"loss": 1.0}] * 2 + [found, found]
    assert calls == [("model", "pictures", 2)] * 3


def _run(folder, epochs: list[dict[str, float]]) -> MeanColour:
    """As if these had been the logs of a training run; the head's bias is the number of the epoch."""
    model = MeanColour()
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
