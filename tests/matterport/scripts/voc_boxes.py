"""VOC XML boxes as masks, trained and evaluated as a well-known tutorial does: voc_boxes.py DATA LOGS"""

import sys
from os import listdir
from xml.etree import ElementTree

from numpy import asarray, expand_dims, mean, zeros

from mrcnn.config import Config
from mrcnn.model import MaskRCNN, load_image_gt, mold_image
from mrcnn.utils import Dataset, compute_ap, extract_bboxes

DATA, LOGS = sys.argv[1:3]


class KangarooDataset(Dataset):
    def load_dataset(self, dataset_dir, is_train=True):
        self.add_class("dataset", 1, "kangaroo")
        images_dir = dataset_dir + "/images/"
        annotations_dir = dataset_dir + "/annots/"
        for filename in sorted(listdir(images_dir)):
            image_id = filename[:-4]
            if is_train and int(image_id) >= 4:
                continue
            if not is_train and int(image_id) < 4:
                continue
            self.add_image(
                "dataset",
                image_id=image_id,
                path=images_dir + filename,
                annotation=annotations_dir + image_id + ".xml",
                class_ids=[0, 1],
            )

    def extract_boxes(self, filename):
        root = ElementTree.parse(filename).getroot()
        boxes = []
        for box in root.findall(".//bndbox"):
            boxes.append([int(box.find(side).text) for side in ("xmin", "ymin", "xmax", "ymax")])
        return boxes, int(root.find(".//size/width").text), int(root.find(".//size/height").text)

    def load_mask(self, image_id):
        boxes, w, h = self.extract_boxes(self.image_info[image_id]["annotation"])
        masks = zeros([h, w, len(boxes)], dtype="uint8")
        class_ids = []
        for i, box in enumerate(boxes):
            masks[box[1] : box[3], box[0] : box[2], i] = 1
            class_ids.append(self.class_names.index("kangaroo"))
        return masks, asarray(class_ids, dtype="int32")

    def image_reference(self, image_id):
        return self.image_info[image_id]["path"]


class KangarooConfig(Config):
    NAME = "kangaroo_cfg"
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 3
    IMAGES_PER_GPU = 1
    VALIDATION_STEPS = 1
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64


class PredictionConfig(KangarooConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    DETECTION_MIN_CONFIDENCE = 0.0
    DETECTION_MAX_INSTANCES = 8


def evaluate_model(dataset, model, cfg):
    APs = []
    for image_id in dataset.image_ids:
        image, image_meta, gt_class_id, gt_bbox, gt_mask = load_image_gt(dataset, cfg, image_id, use_mini_mask=False)
        scaled_image = mold_image(image, cfg)
        sample = expand_dims(scaled_image, 0)
        yhat = model.detect(sample, verbose=0)
        r = yhat[0]
        AP, _, _, _ = compute_ap(gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"])
        APs.append(AP)
    return mean(APs)


train_set, test_set = KangarooDataset(), KangarooDataset()
train_set.load_dataset(DATA, is_train=True)
train_set.prepare()
print("Train: %d" % len(train_set.image_ids))
test_set.load_dataset(DATA, is_train=False)
test_set.prepare()
print("Test: %d" % len(test_set.image_ids))
mask, class_ids = train_set.load_mask(0)
print("Boxes:", extract_bboxes(mask).tolist())

config = KangarooConfig()
model = MaskRCNN(mode="training", model_dir=LOGS, config=config)
model.train(train_set, test_set, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads")

cfg = PredictionConfig()
model = MaskRCNN(mode="inference", model_dir=LOGS, config=cfg)
model.load_weights(model.find_last()[1], by_name=True)
print("Test mAP: %.3f" % evaluate_model(test_set, model, cfg))
