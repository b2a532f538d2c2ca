from __future__ import annotations

import os

import keras
import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn.data import augmenters
from mrcnn.matterport import native_config, training
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


def test_stages_count_epochs_from_the_start(model, capsys):
    data, seen = small_dataset(), Seen()
    model.train(data, data, learning_rate=0.001, epochs=1, layers="heads", custom_callbacks=[seen], augmentation=False)
    out = capsys.readouterr().out
    assert "\nStarting at epoch 0. LR=0.001\n\nCheckpoint Path: " in out and "Selecting layers to train" in out
    assert "fpn_c5p5               (Conv2D)" in out and "In model:  rpn_model" in out and "res2a" not in out
    assert model.keras_model.history.history.keys() == {"loss", *LOSSES, "val_loss", *(f"val_{n}" for n in LOSSES)}
    history = model.keras_model.history.history
    assert history["loss"][0] == pytest.approx(sum(history[name][0] for name in LOSSES), rel=1e-4)

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
    assert [w.shape for w in layers["conv1"].get_weights()] == [(7, 7, 3, 64)]


def test_images_and_masks_are_resized_as_load_image_gt_does():
    data, config = small_dataset(), SmallConfig()
    seen = training.NativeDataset(data, config)
    image, _, class_ids, boxes, masks = modellib.load_image_gt(data, config, 0)
    np.testing.assert_array_equal(seen.load_image(0), image)
    found = seen.instances(0)
    np.testing.assert_array_equal(np.moveaxis(found.masks, 0, -1), masks.astype(bool))
    np.testing.assert_array_equal(found.boxes, boxes)
    assert found.class_ids.tolist() == class_ids.tolist() and seen.class_names == ("square", "disc")


@pytest.mark.parametrize("mode, shape", [("none", (48, 64)), ("pad64", (64, 128)), ("crop", (64, 85))])
def test_other_resize_modes(mode, shape):
    config = SmallConfig()
    config.IMAGE_RESIZE_MODE = mode
    seen = training.NativeDataset(small_dataset(), config)
    assert seen.load_image(0).shape[:2] == shape == seen.load_mask(0)[0].shape[:2] == seen.image_shape(0)


def test_what_cannot_be_shown_gives_way_to_the_next(caplog):
    data = small_dataset(4)
    load_mask = data.load_mask

    def faulty(image_id):
        if image_id == 1:
            raise OSError("cut off")
        masks, class_ids = load_mask(image_id)
        return (masks[..., :0], class_ids[:0]) if image_id == 2 else (masks, class_ids)

    data.load_mask = faulty
    seen = training.NativeDataset(data, SmallConfig(), skip=True)
    for shown, index in ((0, 0), (3, 1), (3, 2), (3, 3)):
        np.testing.assert_array_equal(seen.load_image(index), seen._load_image(shown))
        assert len(seen.annotations(index)) == 2
    assert caplog.text.count("Error processing image {'id': 'spot1'") == 1
    data.load_mask = lambda image_id: (np.zeros((48, 64, 0)), np.zeros(0))
    with pytest.raises(ValueError, match="no image"):
        training.NativeDataset(data, SmallConfig(), skip=True).load_image(0)


def test_the_sixth_image_that_cannot_be_loaded_stops(caplog):
    data = small_dataset(8)
    data.load_mask = lambda image_id: 1 / 0
    with pytest.raises(ZeroDivisionError):
        training.NativeDataset(data, SmallConfig(), skip=True).load_image(0)
    assert caplog.text.count("Error processing image") == 6


def test_augmenters_of_scripts(model):
    iaa = pytest.importorskip("imgaug.augmenters", reason="imgaug is not installed")
    data, config = small_dataset(), SmallConfig()
    chain = iaa.Sometimes(5 / 6, iaa.SomeOf((1, 2), [iaa.Fliplr(1.0), iaa.Affine(rotate=(-30, 30)), iaa.Multiply(0.5)]))
    native = native_config.recipe(config, 0.001).data
    batches = training._batches(data, config, native, 0, augmenters.Augmentation(chain))
    plain = next(iter(training._batches(data, config, native, 0)))
    batch = next(iter(batches))
    assert batch["image"].shape == plain["image"].shape and np.any(np.asarray(batch["image"]) != plain["image"])
    kept = augmenters.Augmentation(iaa.Invert(1.0), ["spots"])
    batch = next(iter(training._batches(data, config, native, 0, kept)))
    assert np.asarray(batch["image"])[:, 20:40].max() <= 220 and np.asarray(batch["image"])[0, 0].max() == 0
    with pytest.raises(ValueError, match="Jigsaw"):
        model.train(data, data, 0.001, 99, "heads", augmentation=iaa.Jigsaw(2, 2))


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
    found = reader.detect([data.load_image(0)])[0]
    assert found["masks"].shape[:2] == (48, 64)


def test_five_weights_of_losses():
    class Weighted(SmallConfig):
        LOSS_WEIGHTS = {  # noqa: RUF012
            "rpn_class_loss": 0.0, "rpn_bbox_loss": 2.0, "mrcnn_class_loss": 3.0, "mrcnn_bbox_loss": 0.5,
            "mrcnn_mask_loss": 4.0,
        }  # fmt: skip

    made, plain = (modellib.MaskRCNN("training", c(), "logs").keras_model for c in (Weighted, SmallConfig))
    made.set_weights(plain.get_weights())
    data = native_config.recipe(SmallConfig(), 0.001).data
    batch = next(iter(training._batches(small_dataset(), SmallConfig(), data, 0)))
    first, second = made.batch_terms(batch, training=False), plain.batch_terms(batch, training=False)
    ratios = {n: float(first[n].mean()) / float(second[n].mean()) for n in second if float(second[n].mean())}
    expected = {"rpn_objectness": 0, "rpn_box": 2, "roi_class": 3, "roi_box": 0.5, "roi_mask": 4}
    assert len(ratios) >= 3
    for name, ratio in ratios.items():
        assert ratio == pytest.approx(expected[name], rel=1e-4), name


def test_parallel_model_is_the_model():
    assert ParallelModel("model", 2) == "model"


def test_a_mask_of_nothing_is_no_object():
    data, config = small_dataset(), SmallConfig()
    data.load_mask = lambda _: (np.zeros((48, 64, 1), np.uint8), np.zeros(1, np.int32))
    assert training.NativeDataset(data, config).annotations(0) == ()
    masks = np.zeros((48, 64, 3), np.uint8)
    masks[4:8, 4:8, 1:] = 1
    data.load_mask = lambda _: (masks, np.array([1, -2, 0]))
    (crowd,) = training.NativeDataset(data, config).annotations(0)
    assert crowd.is_crowd and crowd.class_id == 2
