"""Pictures and masks in .npz files, each mask holding the number of its object; no resizing: npz_masks.py DATA LOGS"""

import glob
import os
import sys
from pathlib import Path

import numpy as np

import mrcnn.model as modellib
import mrcnn.utils as utils
from mrcnn.config import Config

DATA, LOGS = Path(sys.argv[1]), Path(sys.argv[2])


class CellConfig(Config):
    NAME = "cells-3D"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 3
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1.0
    BACKBONE = "resnet50"
    IMAGE_RESIZE_MODE = "none"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    IMAGE_MIN_SCALE = False
    USE_MINI_MASK = False
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    TRAIN_ROIS_PER_IMAGE = 16
    DETECTION_MIN_CONFIDENCE = 0
    EXPERIMENT = "fluorescence"  # for the log


class CellDataset(utils.Dataset):
    def load_cells(self, files):
        self.add_class("cells", 1, "round, or nearly so")
        self.add_class("cells", 2, "square")
        for i, name in enumerate(sorted(files)):
            self.add_image(source="cells", image_id=i, path=Path(name))

    def load_image(self, image_id):
        return np.load(self.image_info[image_id]["path"])["image"]

    def load_mask(self, image_id):
        content = np.load(self.image_info[image_id]["path"])
        labels = content["labels"]  # 0: ground
        mask = np.stack([labels == n for n in range(1, labels.max() + 1)], axis=-1).astype(np.float64)
        return mask, content["class_ids"].astype(np.uint8)


files = glob.glob(os.path.join(DATA, "*.npz"))
dataset = CellDataset()
dataset.load_cells(files)
dataset.prepare()
print("Classes:", dataset.class_names, dataset.num_classes)

config = CellConfig()
config.display()
model = modellib.MaskRCNN("training", config, LOGS)
model.train(dataset, dataset, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads", augmentation=False)
weights = model.keras_model.get_weights()
print("WEIGHTS", len(weights), all(np.isfinite(w).all() for w in weights))

config.IMAGES_PER_GPU = 1
config.BATCH_SIZE = 1
inference = modellib.MaskRCNN("inference", config, LOGS)
inference.keras_model.set_weights(weights)
image = dataset.load_image(0)
r = inference.detect([image], verbose=1)[0]
labels = np.zeros(image.shape[:2], int)
for i in range(r["masks"].shape[-1]):
    labels[r["masks"][..., i]] = i + 1
np.savez(LOGS / "found.npz", labels=labels, scores=r["scores"])
print("LABELS", labels.max() <= len(r["scores"]))
