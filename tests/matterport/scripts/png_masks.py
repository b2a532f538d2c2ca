"""A folder a picture with one PNG a nucleus; random crops of a larger picture: png_masks.py DATA LOGS WEIGHTS"""

import os
import sys

import numpy as np
from matplotlib import image as mpimg

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config

DATASET_DIR, LOGS, WEIGHTS = sys.argv[1:4]


class NucleusConfig(Config):
    NAME = "nucleus"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = (6 - 2) // IMAGES_PER_GPU
    VALIDATION_STEPS = max(1, 2 // IMAGES_PER_GPU)
    DETECTION_MIN_CONFIDENCE = 0
    BACKBONE = "resnet50"
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    IMAGE_MIN_SCALE = 1.0
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    POST_NMS_ROIS_TRAINING = 100
    POST_NMS_ROIS_INFERENCE = 200
    RPN_NMS_THRESHOLD = 0.9
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64
    MEAN_PIXEL = np.array([43.53, 39.56, 48.22])
    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)
    TRAIN_ROIS_PER_IMAGE = 16
    MAX_GT_INSTANCES = 20
    DETECTION_MAX_INSTANCES = 40
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64


class NucleusInferenceConfig(NucleusConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    IMAGE_RESIZE_MODE = "pad64"
    RPN_NMS_THRESHOLD = 0.7


class NucleusDataset(utils.Dataset):
    def load_nucleus(self, subset_dir):
        self.add_class("nucleus", 1, "nucleus")
        for image_id in sorted(next(os.walk(subset_dir))[1]):
            self.add_image(
                "nucleus",
                image_id=image_id,
                path=os.path.join(subset_dir, image_id, "images/{}.png".format(image_id)),
            )

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        mask_dir = os.path.join(os.path.dirname(os.path.dirname(info["path"])), "masks")
        mask = []
        for f in next(os.walk(mask_dir))[2]:
            if f.endswith(".png"):
                mask.append((mpimg.imread(os.path.join(mask_dir, f)) > 0).astype(np.bool))
        mask = np.stack(mask, axis=-1)
        return mask, np.ones([mask.shape[-1]], dtype=np.int32)

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "nucleus":
            return info["id"]
        super(self.__class__, self).image_reference(image_id)


dataset_train = NucleusDataset()
dataset_train.load_nucleus(os.path.join(DATASET_DIR, "stage1_train"))
dataset_train.prepare()

config = NucleusConfig()
config.display()
model = modellib.MaskRCNN(mode="training", config=config, model_dir=LOGS)
# Weights of another set of classes: its heads cannot be kept.
model.load_weights(WEIGHTS, by_name=True, exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"])
image, meta, class_ids, bbox, mask = modellib.load_image_gt(dataset_train, config, 0, use_mini_mask=True)
print("CROP", image.shape, mask.shape[:2], modellib.parse_image_meta(meta[np.newaxis])["original_image_shape"][0])
model.train(dataset_train, dataset_train, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads")

model = modellib.MaskRCNN(mode="inference", config=NucleusInferenceConfig(), model_dir=LOGS)
model.load_weights(model.find_last(), by_name=True)
for image_id in dataset_train.image_ids[:2]:
    image = dataset_train.load_image(image_id)
    r = model.detect([image], verbose=0)[0]
    print("FOUND", r["masks"].shape[:2] == image.shape[:2], r["masks"].dtype, len(r["scores"]) > 0)
