"""What a run runs on, and the whole of it on two devices."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from mrcnn.training import devices
from mrcnn.training.devices import join_workers, num_workers, use_devices, worker_index
from mrcnn.training.evaluation_run import evaluate
from mrcnn.training.fit import train
from tests.mean_color import write_set
from tests.training.drawn import SIDE, small_model, weights
from tests.training.test_resume import recipe_of
from tests.training.test_train_step import _expect_same


def test_one_device_is_no_strategy():
    assert use_devices("1") is tf.distribute.get_strategy()
    assert use_devices("all") is tf.distribute.get_strategy() or tf.config.list_physical_devices("GPU")
    assert (num_workers(use_devices("1")), worker_index(use_devices("1"))) == (1, 0)


def test_parts_of_the_cpu():
    strategy = use_devices("cpu:2")
    assert strategy.num_replicas_in_sync == 2
    assert use_devices("cpu:2") is strategy
    assert (num_workers(strategy), worker_index(strategy)) == (1, 0)


@pytest.mark.parametrize("wrong", ["0", "two", "gpu:1", "-1", "", "cpu:0"])
def test_other_devices_are_refused(wrong: str):
    with pytest.raises(ValueError, match="devices: expected a number, all, or cpu:2, got"):
        use_devices(wrong)


def test_more_devices_than_there_are(monkeypatch):
    with pytest.raises(ValueError, match=r"64 GPUs wanted, \d+ found; cpu:64 splits the CPU instead"):
        use_devices("64")
    with pytest.raises(ValueError, match="cpu:7 must be asked for before TensorFlow is used"):
        use_devices("cpu:7")


def test_workers_are_checked(monkeypatch):
    monkeypatch.setattr(devices, "_multi_worker", lambda: "strategy")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="workers: give host:port of every machine, or set TF_CONFIG"):
        join_workers()
    with pytest.raises(ValueError, match="index: expected 0 to 1, one per worker, got 2"):
        join_workers(["a:1", "b:2"], 2)
    with pytest.raises(ValueError, match="workers: expected host:port, got 'b'"):
        join_workers(["a:1", "b"], 0)
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(ValueError, match="TF_CONFIG: expected JSON"):
        join_workers()
    assert join_workers(["a:1", "b:2"], 1) == "strategy"
    import os

    assert json.loads(os.environ["TF_CONFIG"]) == {
        "cluster": {"worker": ["a:1", "b:2"]},
        "task": {"type": "worker", "index": 1},
    }


def _recipe(batch_size: int, **changes):
    config = {"train__images": 8, "train__unfreeze": [], "train__train_layers": "all", "train__weight_average": 0.0}
    return recipe_of(train__batch_size=batch_size, train__optimizer="sgd", **(config | changes))


@pytest.mark.slow
def test_a_run_on_two_devices_is_a_run_on_one(two_devices, tmp_path, caplog):
    data = write_set(tmp_path / "images", num=5, side=SIDE)
    alone, both = small_model(), small_model()
    expected = train(alone, data, data, recipe=_recipe(2), out=tmp_path / "one", progress=False)
    with caplog.at_level("INFO", "mrcnn"):
        result = train(both, data, data, recipe=_recipe(1), out=tmp_path / "two", strategy=two_devices, progress=False)
    assert "2 devices, 2 images per step, learning rate 0.01 x 2 / 16 = 0.00125" in caplog.text
    _expect_same(both, alone, small_model())
    for name in set(expected.history) - {"data_wait", "images_per_s"}:
        assert result.history[name] == pytest.approx(expected.history[name], rel=2e-3, abs=1e-5), name


def test_evaluation_on_two_devices_counts_every_image_once(two_devices, tmp_path):
    data = write_set(tmp_path, num=5, side=SIDE)
    with two_devices.scope():
        both = small_model()
    alone = small_model()
    both.set_weights(alone.get_weights())
    expected, result = evaluate(alone, data), evaluate(both, data)
    assert result.num_images == 5
    assert len(result.detections) == len(expected.detections) > 0
    assert result.numbers == pytest.approx(expected.numbers, abs=1e-6)
    assert weights(alone).keys() == weights(both).keys()
