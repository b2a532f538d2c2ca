"""Heads, then stage 4 and up, then all; interrupted in between and gone on with: three_stages.py DATA LOGS"""

import json
import os
import sys

import cv2
import keras
import numpy as np

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config

DATA, LOGS = sys.argv[1:3]


class StagesConfig(Config):
    NAME = "stages"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    NUM_CLASSES = 2
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    TRAIN_ROIS_PER_IMAGE = 16


class Objects(utils.Dataset):
    def load(self, folder):
        self.add_class("objects", 1, "object")
        with open(os.path.join(folder, "via_region_data.json")) as f:
            for a in json.load(f).values():
                self.add_image("objects", a["filename"], os.path.join(folder, a["filename"]), regions=a["regions"])

    def load_mask(self, image_id):
        height, width = self.load_image(image_id).shape[:2]
        masks = []
        for region in self.image_info[image_id]["regions"]:
            shape, canvas = region["shape_attributes"], np.zeros([height, width], np.uint8)
            if shape["name"] != "polygon":
                continue
            cv2.fillPoly(canvas, [np.array(list(zip(shape["all_points_x"], shape["all_points_y"])), np.int32)], 1)
            masks.append(canvas)
        if not masks:
            return super().load_mask(image_id)
        return np.stack(masks, -1), np.ones(len(masks), int)


class LossHistory(keras.callbacks.Callback):
    def on_train_begin(self, logs={}):
        print("STAGE", sum(int(np.prod(w.shape)) for w in self.model.trainable_weights))

    def on_epoch_end(self, epoch, logs={}):
        print("EPOCH", epoch + 1, np.isfinite(logs["loss"]), np.isfinite(logs["val_loss"]))


dataset_train, dataset_val = Objects(), Objects()
dataset_train.load(os.path.join(DATA, "train"))
dataset_train.prepare()
dataset_val.load(os.path.join(DATA, "val"))
dataset_val.prepare()
config = StagesConfig()
stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=30)

model = modellib.MaskRCNN(mode="training", config=config, model_dir=LOGS)
print("Training network heads")
model.train(
    dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads",
    custom_callbacks=[LossHistory(), stop],
)  # fmt: skip

# The computer was switched off here.
model = modellib.MaskRCNN(mode="training", config=config, model_dir=LOGS)
model.load_weights(model.find_last(), by_name=True)
print("Fine tune Resnet stage 4 and up, from epoch", model.epoch)
model.train(
    dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=2, layers="4+",
    custom_callbacks=[LossHistory()],
)  # fmt: skip
print("Fine tune all layers")
model.train(
    dataset_train, dataset_val, learning_rate=config.LEARNING_RATE / 10, epochs=4, layers="all",
    custom_callbacks=[LossHistory()],
)  # fmt: skip
print("CHECKPOINTS", sorted(name for name in os.listdir(model.log_dir) if name.endswith(".h5")))
