"""VIA polygons, circles and rectangles of several classes, named by a region attribute: via_classes.py DATA LOGS"""

import json
import os
import sys

import cv2
import numpy as np

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.config import Config
from mrcnn.model import log

DATA_DIR, MODEL_DIR = sys.argv[1:3]
CLASSES = {"disc": 1, "box": 2, "tri": 3}


class PartsConfig(Config):
    """Settings of this data set."""

    NAME = "Parts_v2"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    NUM_CLASSES = len(CLASSES.keys()) + 1
    STEPS_PER_EPOCH = 8 // IMAGES_PER_GPU
    VALIDATION_STEPS = max(1, 3 // 2)
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = tuple(8 * 2**i for i in range(5))
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    TRAIN_ROIS_PER_IMAGE = 16
    DETECTION_MIN_CONFIDENCE = 0
    MAX_GT_INSTANCES = 5


class PartsDataset(utils.Dataset):
    def load_parts(self, subset):
        for name, number in CLASSES.items():
            self.add_class("parts", number, name)
        with open(os.path.join(DATA_DIR, subset, "via_region_data.json")) as f:
            annotations = list(json.load(f).values())
        for a in annotations:
            regions = a["regions"].values() if isinstance(a["regions"], dict) else a["regions"]
            polygons = [r["shape_attributes"] for r in regions]
            num_ids = [CLASSES[r["region_attributes"]["name"]] for r in regions]
            self.add_image(
                "parts",
                image_id=a["filename"],
                path=os.path.join(DATA_DIR, subset, a["filename"]),
                polygons=polygons,
                num_ids=num_ids,
            )

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        height, width = self.load_image(image_id).shape[:2]
        mask = np.zeros([height, width, len(info["polygons"])], dtype=np.uint8)
        for i, p in enumerate(info["polygons"]):
            canvas = np.zeros([height, width], np.uint8)
            if p["name"] == "polygon":
                points = np.stack([p["all_points_x"], p["all_points_y"]], axis=1)
                cv2.fillPoly(canvas, [points.astype(np.int32)], 1)
            elif p["name"] == "circle":
                cv2.circle(canvas, (int(p["cx"]), int(p["cy"])), int(p["r"]), 1, -1)
            else:
                canvas[p["y"] : p["y"] + p["height"], p["x"] : p["x"] + p["width"]] = 1
            mask[:, :, i] = canvas
        return mask, np.array(info["num_ids"], dtype=np.float32)

    def image_reference(self, image_id):
        return self.image_info[image_id]["path"]


config = PartsConfig()
config.display()
dataset_train, dataset_val = PartsDataset(), PartsDataset()
dataset_train.load_parts("train")
dataset_train.prepare()
dataset_val.load_parts("val")
dataset_val.prepare()
print("Image Count: {}".format(len(dataset_train.image_ids)))
for i, info in enumerate(dataset_train.class_info):
    print("{:3}. {:50}".format(i, info["name"]))

for image_id in np.random.choice(dataset_train.image_ids, 1):
    image = dataset_train.load_image(image_id)
    mask, class_ids = dataset_train.load_mask(image_id)
    bbox = utils.extract_bboxes(mask)
    log("image", image)
    log("mask", mask)
    log("class_ids", class_ids)
    log("bbox", bbox)
    visualize.display_top_masks(image, mask, class_ids, dataset_train.class_names)
    visualize.display_instances(image, bbox, mask, class_ids.astype(int), dataset_train.class_names)

model = modellib.MaskRCNN(mode="training", config=config, model_dir=MODEL_DIR)
model.train(dataset_train, dataset_val, config.LEARNING_RATE, epochs=1, layers="heads")
for name in sorted(model.keras_model.history.history):
    print("HISTORY", name, len(model.keras_model.history.history[name]))
