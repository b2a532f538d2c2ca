"""What is not finite is named, and its batch kept."""

from __future__ import annotations

import json
import logging
import threading

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from mrcnn.training import faults
from mrcnn.training.faults import TrainingError, find_fault, log_if_stalled, save_batch
from mrcnn.training.fit import train
from tests.mean_color import write_set
from tests.training.drawn import SIDE, draw_batch, small_model, weights
from tests.training.test_resume import recipe_of

PLAIN = {"train__unfreeze": [], "train__train_layers": "all", "train__images": 12, "train__weight_average": 0.0}


def _ready():
    model = small_model()
    model.compile(keras.optimizers.SGD(0.01))
    return model


def test_a_weight_that_is_not_finite_is_named():
    model = _ready()
    model.heads[0].deconv.bias.assign(np.full(8, np.nan, np.float32))
    fault = find_fault(model, draw_batch([2, 1]), 7)
    assert fault.weights == ("mask_head/deconv/bias",)
    assert fault.layer is not None and "deconv" in fault.layer and "its input was not" not in fault.layer
    assert fault.terms == ("roi_mask",)
    assert "mask_head/mask_logits/kernel" in fault.gradients
    text = str(fault)
    for part in ("step 7", "mask_head/deconv/bias", "loss roi_mask", "image ids 100, 101"):
        assert part in text


def test_an_image_that_alone_is_at_fault_is_named():
    model = _ready()
    batch = draw_batch([2, 2, 1])
    boxes = batch["gt_boxes"].numpy()
    boxes[1, 0] = [5.0, 5.0, 5.0, 5.0 + 1e-30]  # no height: the log of its size is not finite
    fault = find_fault(model, {**batch, "gt_boxes": boxes}, 1)
    if fault.terms:  # unless the ops guard against it
        assert fault.image_ids == (101,)
    finite = find_fault(model, batch, 1)
    assert (finite.weights, finite.layer, finite.terms, finite.gradients, finite.image_ids) == ((), None, (), (), ())
    assert "not again when computed a second time" in str(finite)


def test_the_batch_is_kept(tmp_path):
    model = _ready()
    batch = draw_batch([1, 2])
    fault = find_fault(model, batch, 3)
    path = save_batch(tmp_path / "bad.npz", batch, fault, model.class_names)
    with np.load(path) as result:
        for key, value in batch.items():
            np.testing.assert_array_equal(result[key], value, err_msg=key)
        about = json.loads(str(result["about"]))
    assert (about["step"], about["batch_ids"], about["class_names"]) == (3, [100, 101], ["thing", "other"])


class Poison(keras.callbacks.Callback):
    """Sets a bias to infinity before one step, and back before the next."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.count = step, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.count += 1
        bias = self.model.box_head.class_logits.bias
        if self.count == self.step:
            self.kept = bias.numpy()
            bias.assign([np.inf, 0, 0])
        elif self.count == self.step + 1:
            bias.assign(self.kept)


@pytest.mark.slow
def test_a_run_stops_at_it_or_skips_it(tmp_path, caplog):
    data = write_set(tmp_path / "images", num=6, side=SIDE)
    with pytest.raises(TrainingError) as caught:
        train(small_model(), data, recipe=recipe_of(**PLAIN), out=tmp_path / "a", callbacks=[Poison(2)], progress=False)
    message = str(caught.value)
    for part in (
        "step 2",
        "box_head/class_logits/bias",
        "roi_class",
        "image ids",
        "mrcnn inspect",
        "on_nonfinite=skip",
    ):
        assert part in message
    assert len(list((tmp_path / "a").glob("nonfinite_step00000002_worker0.npz"))) == 1
    kept = tmp_path / "a" / "model.safetensors"
    assert not kept.exists() or np.isfinite(load_file(kept)["box_head/class_logits/bias"]).all()
    model = small_model()
    recipe = recipe_of(**PLAIN, train__on_nonfinite="skip")
    with caplog.at_level(logging.WARNING, "mrcnn"):
        history = train(model, data, recipe=recipe, out=tmp_path / "b", callbacks=[Poison(2)], progress=False)
    assert "the step is skipped" in caplog.text
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(value).all() for value in weights(model).values())
    assert int(model.optimizer.iterations) == 5


def test_a_loader_that_stalls_says_what_it_waits_for(monkeypatch, caplog):
    said = threading.Event()
    monkeypatch.setattr(faults, "images_in_work", lambda: [("image 7 (/slow/7.jpg)", 61.0)])
    monkeypatch.setattr(faults.logger, "warning", lambda *args: (said.set(), messages.append(args[0] % args[1:])))
    messages: list[str] = []
    with log_if_stalled(0.05):
        assert said.wait(30)
    assert "being read: image 7 (/slow/7.jpg) for 61 s" in messages[0]
    messages.clear()
    with log_if_stalled(60):
        pass
    assert messages == []
