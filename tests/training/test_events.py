"""What a run tells TensorBoard."""

from __future__ import annotations

import types

import cv2
import numpy as np
import tensorflow as tf

from mrcnn.training.events import Events
from tests.mean_color import write_set
from tests.training.drawn import SIDE, small_model
from tests.training.test_resume import recipe_of


def _read(folder) -> dict[str, list[tuple[int, np.ndarray]]]:
    """(step, value) of each tag."""
    result: dict[str, list] = {}
    for file in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                result.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    return result


def test_losses_numbers_and_images(tmp_path):
    data = write_set(tmp_path / "images", num=3, side=SIDE)
    events = Events(tmp_path / "events", 10, data, recipe_of().data, num_images=2, every_steps=2)
    events.set_model(small_model())
    events.on_train_begin()
    for step, loss in enumerate([4.0, 3.0, 2.0, 1.0]):
        events.on_train_batch_end(step, {"loss": loss})
    events.on_epoch_end(0, {"loss": 1.0, "val_mask/AP": 0.25})
    events.on_train_end()
    result = _read(tmp_path / "events")
    assert [(step, float(value)) for step, value in result["step/loss"]] == [(12, 3.0), (14, 1.0)]
    assert [(step, float(value)) for step, value in result["val_mask/AP"]] == [(14, 0.25)]
    assert 0 < float(result["matches/best_anchor_iou"][0][1]) <= 1
    assert {"matches/objects_with_an_anchor", "matches/objects_proposed"} <= set(result)
    width, height, png = result["gt_and_detections/100"][0][1]
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[:2] == (int(height), int(width))
    assert "gt_and_detections/102" in result


def test_without_images(tmp_path):
    events = Events(tmp_path)
    events.set_model(types.SimpleNamespace())
    events.on_train_begin()
    events.on_epoch_end(0, {"loss": 2.0})
    events.on_train_end()
    assert float(_read(tmp_path)["epoch/loss"][0][1]) == 2.0


def test_a_full_disk_is_reported_once_and_training_goes_on(tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.summary, "write", full)
    events = Events(tmp_path, every_steps=1)
    events.set_model(types.SimpleNamespace())
    events.on_train_begin()
    events.on_train_batch_end(0, {"loss": 2.0})
    events.on_epoch_end(0, {"loss": 2.0})
    events.on_train_end()
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{tmp_path}: events could not be written (No space left on device); training goes on"]
