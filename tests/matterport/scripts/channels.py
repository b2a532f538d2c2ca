"""Grey pictures of one channel and pictures of four: channels.py DATA LOGS"""

import sys

import numpy as np

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config

DATA, LOGS = sys.argv[1:3]


class SmallConfig(Config):
    NUM_CLASSES = 1 + 3
    IMAGES_PER_GPU = 1
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    TRAIN_ROIS_PER_IMAGE = 16
    DETECTION_MIN_CONFIDENCE = 0


class GrayConfig(SmallConfig):
    NAME = "gray"
    IMAGE_CHANNEL_COUNT = 1
    MEAN_PIXEL = np.array([100.0])


class RGBDConfig(SmallConfig):
    NAME = "rgbd"
    IMAGE_CHANNEL_COUNT = 4
    MEAN_PIXEL = np.array([123.7, 116.8, 103.9, 60.0])


class ShapesDataset(utils.Dataset):
    def load_shapes(self, folder, channels):
        self.channels = channels
        for i, name in enumerate(["disc", "box", "tri"], 1):
            self.add_class("shapes", i, name)
        with np.load(folder + "/all.npz") as content:
            self.content = dict(content)
        for i in range(len(self.content["images"])):
            self.add_image("shapes", image_id=i, path=None)

    def load_image(self, image_id):
        image = self.content["images"][image_id]
        if self.channels == 1:
            return np.mean(image, axis=-1, keepdims=True).astype(np.uint8)
        depth = self.content["depths"][image_id]
        return np.dstack([image, depth])

    def load_mask(self, image_id):
        labels, class_ids = self.content["labels"][image_id], self.content["class_ids"][image_id]
        present = np.flatnonzero(class_ids)
        return np.stack([labels == i + 1 for i in present], axis=-1), class_ids[present]


for config, channels in ((GrayConfig(), 1), (RGBDConfig(), 4)):
    dataset = ShapesDataset()
    dataset.load_shapes(DATA, channels)
    dataset.prepare()
    print("SHAPE", config.NAME, config.IMAGE_SHAPE.tolist())
    model = modellib.MaskRCNN(mode="training", config=config, model_dir=LOGS)
    if channels == 4:
        # All but the first layer can come from a model of another number of channels.
        model.load_weights(LOGS + "/first.h5", by_name=True, exclude=["conv1"])
    model.train(dataset, dataset, learning_rate=config.LEARNING_RATE, epochs=1, layers="all")
    model.keras_model.save_weights(LOGS + "/first.h5")

    inference = modellib.MaskRCNN(mode="inference", config=config, model_dir=LOGS)
    inference.load_weights(LOGS + "/first.h5", by_name=True)
    image, _, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(dataset, config, 0)
    r = inference.detect([image], verbose=1)[0]
    print("FOUND", config.NAME, image.shape, r["masks"].shape[:2], r["rois"].dtype)
