from __future__ import annotations

import importlib
import os
import types

import keras
import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn.data.pipeline import DataConfig
from mrcnn.matterport import training
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
    fliplr = type("Fliplr", (), {"p": types.SimpleNamespace(p=types.SimpleNamespace(value=0.5))})()
    model.train(data, data, learning_rate=0.001, epochs=1, layers="heads", custom_callbacks=[seen], augmentation=fliplr)
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
    with pytest.raises(ValueError, match="no_augmentation_sources"):
        model.train(None, None, 0.1, 1, "all", no_augmentation_sources=["x"])
    affine = type("Affine", (), {})()
    with pytest.raises(ValueError, match="Affine"):
        training._flips(DataConfig(), affine)


def test_layers_by_matterports_names(model):
    layers = {layer.name: layer for layer in model.get_trainable_layers()}
    assert {"conv1", "res5c_branch2c", "bn_conv1", "rpn_class_raw", "mrcnn_mask_deconv"} <= set(layers)
    assert [w.shape for w in layers["conv1"].get_weights()] == [(7, 7, 3, 64)]


def test_pictures_and_masks_are_resized_as_load_image_gt_does():
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


def test_an_augmenter_moves_masks_but_leaves_their_colours():
    imgaug = pytest.importorskip("imgaug", exc_type=Exception)
    augmenters = importlib.import_module("imgaug.augmenters")
    assert imgaug
    image, mask = np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.array([[[1], [0]], [[0], [0]]], bool)
    chain = augmenters.Sequential([augmenters.Fliplr(1.0), augmenters.Add(5)])
    new_image, new_mask = training.augment(chain, image, mask)
    np.testing.assert_array_equal(new_image, image[:, ::-1] + 5)
    np.testing.assert_array_equal(new_mask, mask[:, ::-1])


def test_parallel_model_is_the_model():
    assert ParallelModel("model", 2) == "model"
