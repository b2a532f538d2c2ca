"""Run lengths in a csv, as competitions hand them out, and a submission of the same kind: rle_csv.py DATA LOGS"""

import csv
import os
import sys

import numpy as np

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config

DATA, LOGS = sys.argv[1:3]


def rle_decode(mask_rle, shape):
    """Pairs of start and length, from 1, down the columns."""
    s = mask_rle.split()
    starts, lengths = np.asarray(s[0::2], int) - 1, np.asarray(s[1::2], int)
    img = np.zeros(shape[0] * shape[1], dtype=np.uint8)
    for lo, hi in zip(starts, starts + lengths):
        img[lo:hi] = 1
    return img.reshape(shape[::-1]).T


def rle_encode(mask):
    m = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(m[1:] != m[:-1])[0] + 1
    runs[1::2] -= runs[0::2]
    return " ".join(str(x) for x in runs)


class ShipConfig(Config):
    def __init__(self, **overwrites):
        for name, value in overwrites.items():
            setattr(self, name, value)
        super().__init__()

    NAME = "airbus"
    NUM_CLASSES = 2
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    TRAIN_ROIS_PER_IMAGE = 16
    DETECTION_MIN_CONFIDENCE = 0.0
    LOSS_WEIGHTS = {
        "rpn_class_loss": 2.0,
        "rpn_bbox_loss": 2.0,
        "mrcnn_class_loss": 1.0,
        "mrcnn_bbox_loss": 1.0,
        "mrcnn_mask_loss": 0.5,
    }


class ShipDataset(utils.Dataset):
    def __init__(self, folder, rows, shape):
        super().__init__(self)
        self.add_class("ship", 1, "ship")
        self.shape = shape
        for name in sorted({row["ImageId"] for row in rows}):
            annotations = [row["EncodedPixels"] for row in rows if row["ImageId"] == name]
            self.add_image("ship", image_id=name, path=os.path.join(folder, name), annotations=annotations)

    def load_mask(self, image_id):
        annotations = [a for a in self.image_info[image_id]["annotations"] if a]
        if not annotations:
            return np.zeros((*self.shape, 1), np.uint8), np.zeros(1, np.int32)
        masks = np.stack([rle_decode(a, self.shape) for a in annotations], axis=-1)
        return masks.astype(bool), np.ones(len(annotations), np.int32)


with open(DATA + "/train_ship_segmentations.csv") as f:
    rows = list(csv.DictReader(f))
folder = DATA + "/images"
dataset = ShipDataset(folder, rows, (64, 64))
dataset.prepare()

config = ShipConfig(LEARNING_RATE=0.002)
model = modellib.MaskRCNN(mode="training", config=config, model_dir=LOGS)
LEARNING_RATE = config.LEARNING_RATE
model.train(dataset, dataset, learning_rate=LEARNING_RATE * 2, epochs=1, layers="heads")
history = model.keras_model.history.history
epochs = range(1, len(next(iter(history.values()))) + 1)
best_epoch = np.argmin(history["val_loss"])
print("Best Epoch:", best_epoch + 1, len(epochs), history["val_loss"][best_epoch] > 0)

inference_config = ShipConfig(GPU_COUNT=1, IMAGES_PER_GPU=1)
model = modellib.MaskRCNN(mode="inference", config=inference_config, model_dir=LOGS)
model_path = model.find_last()
assert model_path != "", "Provide path to trained weights"
model.load_weights(model_path, by_name=True)
with open(LOGS + "/submission.csv", "w") as f:
    writer = csv.writer(f)
    writer.writerow(["ImageId", "EncodedPixels"])
    for image_id in dataset.image_ids:
        r = model.detect([dataset.load_image(image_id)])[0]
        assert len(r["rois"]) == len(r["class_ids"]) == len(r["scores"])
        taken = np.zeros((64, 64), bool)
        for i in np.argsort(r["scores"])[::-1]:
            mask = r["masks"][:, :, i] & ~taken
            taken |= mask
            if mask.any():
                writer.writerow([dataset.image_info[image_id]["id"], rle_encode(mask)])
