from __future__ import annotations

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn import model as modellib
from mrcnn.matterport import batches
from mrcnn.parallel_model import ParallelModel
from tests.matterport.small import SmallConfig, small_dataset

LOSSES = ["rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return modellib.MaskRCNN("training", SmallConfig(), str(tmp_path_factory.mktemp("logs")))


class Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, logs["val_loss"]))


@pytest.mark.slow
def test_stages_count_epochs_from_the_start(model, capsys):
    data, seen = small_dataset(), Seen()
    model.train(data, data, learning_rate=0.001, epochs=1, layers="heads", custom_callbacks=[seen], augmentation=False)
    out = capsys.readouterr().out
    assert "\nStarting at epoch 0. LR=0.001\n\nCheckpoint Path: " in out and "Selecting layers to train" in out
    assert "fpn_c5p5               (Conv2D)" in out and "In model:  rpn_model" in out and "res2a" not in out
    assert model.keras_model.history.history.keys() == {"loss", *LOSSES, "val_loss", *(f"val_{n}" for n in LOSSES)}
    history = model.keras_model.history.history
    assert list(history) == ["loss", *LOSSES, "val_loss", *(f"val_{n}" for n in LOSSES)]  # in matterport's order
    assert history["loss"][0] == pytest.approx(sum(history[name][0] for name in LOSSES), rel=1e-3)  # and the decay

    before = {v.path: v.numpy() for v in model.keras_model.backbone.trainable_variables}
    assert not before
    model.train(data, data, 0.001, epochs=1, layers="all")  # nothing is left to do
    assert model.epoch == 1 and not seen.epochs[1:]
    model.train(data, data, 0.001, epochs=2, layers=r"(res5.*)|(bn5.*)|(mrcnn\_.*)", custom_callbacks=[seen])
    assert [epoch for epoch, _ in seen.epochs] == [0, 1] and np.isfinite(seen.epochs[1][1])
    assert {v.path.split("_")[0] for v in model.keras_model.backbone.trainable_variables} == {"stage5"}

    files = sorted(name for name in os.listdir(model.log_dir) if name.startswith("mask"))
    assert files == ["mask_rcnn_small-1_0001.h5", "mask_rcnn_small-1_0002.h5"]
    last = model.find_last()
    assert os.path.basename(last) == files[1]
    other = modellib.MaskRCNN("training", SmallConfig(), model.model_dir)
    other.load_weights(last, by_name=True)
    assert other.epoch == 2 and other.log_dir == model.log_dir
    for a, b in zip(model.keras_model.weights, other.keras_model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_unknown_arguments_are_refused_by_name(model):
    with pytest.raises(TypeError, match="class_weights"):
        model.train(None, None, 0.1, 1, "all", class_weights=[1])


def test_layers_by_matterports_names(model):
    layers = {layer.name: layer for layer in model.get_trainable_layers()}
    assert {"conv1", "res5c_branch2c", "bn_conv1", "rpn_class_raw", "mrcnn_mask_deconv"} <= set(layers)
    assert [w.shape for w in layers["conv1"].get_weights()] == [(7, 7, 3, 64), (64,)]


@pytest.mark.slow
def test_a_train_of_the_scripts_own(tmp_path):
    class Own(modellib.MaskRCNN):
        def train(self, train_dataset, val_dataset, learning_rate, epochs, layers):
            train_generator = modellib.data_generator(train_dataset, self.config, shuffle=True, batch_size=1)
            val_generator = modellib.data_generator(val_dataset, self.config, shuffle=True, batch_size=1)
            self.set_trainable(layers)
            self.compile(learning_rate, self.config.LEARNING_MOMENTUM)
            self.keras_model.metrics_tensors = []
            self.keras_model.fit_generator(
                train_generator,
                initial_epoch=self.epoch,
                epochs=epochs,
                steps_per_epoch=2,
                validation_data=val_generator,
                validation_steps=1,
                max_queue_size=100,
                workers=0,
                use_multiprocessing=True,
            )

    own = Own("training", SmallConfig(), str(tmp_path))
    own.train(small_dataset(), small_dataset(), 0.001, 1, r"(mrcnn\_.*)")
    history = own.keras_model.history.history
    assert np.isfinite(history["loss"]).all() and "val_mrcnn_mask_loss" in history


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(tmp_path, channels):
    class Channels(SmallConfig):
        IMAGE_CHANNEL_COUNT = channels
        MEAN_PIXEL = np.full(channels, 100.0)

    data = small_dataset()
    rgb = data.load_image
    data.load_image = lambda image_id: np.repeat(rgb(image_id)[..., :1], channels, axis=2)
    model = modellib.MaskRCNN("training", Channels(), str(tmp_path))
    model.train(data, data, 0.001, 1, "all")
    assert np.isfinite(model.keras_model.history.history["loss"]).all()
    reader = modellib.MaskRCNN("inference", Channels(), str(tmp_path))
    reader.load_weights(model.find_last(), by_name=True)
    assert reader.keras_model.get_layer("conv1").get_weights()[0].shape == (7, 7, channels, 64)
    result = reader.detect([data.load_image(0)])[0]
    assert result["masks"].shape[:2] == (48, 64)


def test_five_weights_of_losses():
    class Weighted(SmallConfig):
        LOSS_WEIGHTS = {  # noqa: RUF012
            "rpn_class_loss": 0.0, "rpn_bbox_loss": 2.0, "mrcnn_class_loss": 3.0, "mrcnn_bbox_loss": 0.5,
            "mrcnn_mask_loss": 4.0,
        }  # fmt: skip

    made, plain = (modellib.MaskRCNN("training", c(), "logs").keras_model for c in (Weighted, SmallConfig))
    made.set_weights(plain.get_weights())
    config = SmallConfig()
    config.USE_RPN_ROIS = False  # with RoIs around the objects all five losses have something to say
    np.random.seed(0)  # noqa: NPY002 - as scripts do
    inputs, _ = next(modellib.data_generator(small_dataset(), config, random_rois=200))
    batch = {name: tf.constant(value) for name, value in batches.as_batch(inputs, config).items()}
    first, second = made.batch_terms(batch, training=False), plain.batch_terms(batch, training=False)
    ratios = {n: float(first[n].mean()) / float(second[n].mean()) for n in second if float(second[n].mean())}
    expected = {"rpn_objectness": 0, "rpn_box": 2, "roi_class": 3, "roi_box": 0.5, "roi_mask": 4}
    assert len(ratios) >= 4
    for name, ratio in ratios.items():
        assert ratio == pytest.approx(expected[name], rel=1e-4), name


def test_parallel_model_is_the_model():
    assert ParallelModel("model", 2) == "model"


@pytest.fixture
def tensorflow_log(caplog):
    """What TensorFlow's logger says, every word of it."""
    logger = tf.get_logger()
    assert not logger.filters
    before, logger.propagate = logger.propagate, True
    yield caplog
    logger.propagate = before


def test_each_stage_has_functions_of_its_own(model, monkeypatch, tensorflow_log):
    """So TensorFlow does not take many short stages for one function that is traced again and again."""
    made, traced = model.keras_model, []

    def step(self, data):
        traced.append(self)
        return {"loss": tf.reduce_sum(data["x"])}

    monkeypatch.setattr(type(made), "train_step", step)
    monkeypatch.setattr(type(made), "test_step", step)

    model.set_trainable("mrcnn_class_logits", verbose=0)
    batches = tf.data.Dataset.from_tensors({"x": tf.ones([2])})

    def stages():
        traced.clear()
        for _ in range(3):
            model.compile(0.001, 0.9)
            made.fit(batches, epochs=2, shuffle=False, validation_data=batches, verbose=0)
            assert made.history.history == {"loss": [2.0, 2.0], "val_loss": [2.0, 2.0]}
        return len(traced)

    assert stages() == 6  # one trace for training, one for validation
    assert "retracing" not in tensorflow_log.text
    # With Keras' own functions there is one: the test would see it.
    monkeypatch.setattr(type(made), "_one_step_at_a_time", False)
    assert stages() == 6 and "retracing" in tensorflow_log.text


@pytest.mark.slow
def test_stages_of_training_bring_no_warning_of_retracing(model, tensorflow_log):
    data, first = small_dataset(), model.epoch
    for stage, layers in enumerate((r"mrcnn_.*", r"(mrcnn_mask.*)", r"mrcnn_.*"), first + 1):
        model.train(data, data, 0.001, epochs=stage, layers=layers)
        assert np.isfinite(model.keras_model.history.history["val_loss"]).all()
    assert "retracing" not in tensorflow_log.text


def test_running_eagerly_and_several_steps_at_once_are_keras_own(model, monkeypatch):
    made = model.keras_model
    model.set_trainable("mrcnn_class_logits", verbose=0)
    monkeypatch.setattr(type(made), "train_step", lambda self, data: {"loss": tf.reduce_sum(data["x"])})
    for options in ({"run_eagerly": True}, {"steps_per_execution": 2}):
        made.compile("sgd", **options)
        batches = tf.data.Dataset.from_tensors({"x": tf.ones([2])}).repeat(4)
        assert made.fit(batches, shuffle=False, verbose=0).history == {"loss": [2.0]}
