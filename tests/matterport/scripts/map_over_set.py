"""mAP over a set, with pictures of what was found: map_over_set.py DATA LOGS WEIGHTS"""

import os
import sys

import matplotlib.pyplot as plt
import numpy as np

import mrcnn.model as modellib
from mrcnn import utils, visualize
from mrcnn.config import Config

DATA, LOGS, WEIGHTS = sys.argv[1:4]


class InferenceConfig(Config):
    NAME = "inspect"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    NUM_CLASSES = 1 + 3
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    DETECTION_MIN_CONFIDENCE = 0
    DETECTION_MAX_INSTANCES = 5


class NpzDataset(utils.Dataset):
    def load(self, path):
        for i, name in enumerate(["disc", "box", "tri"], 1):
            self.add_class("npz", i, name)
        self.content = dict(np.load(path))
        for i in range(len(self.content["images"])):
            self.add_image("npz", image_id=i, path=path)

    def load_image(self, image_id):
        return self.content["images"][image_id]

    def load_mask(self, image_id):
        class_ids = self.content["class_ids"][image_id]
        present = np.flatnonzero(class_ids)
        return np.stack([self.content["labels"][image_id] == i + 1 for i in present], -1), class_ids[present]


def get_ax(rows=1, cols=1, size=4):
    _, ax = plt.subplots(rows, cols, figsize=(size * cols, size * rows))
    return ax


def compute_batch_ap(dataset, image_ids, verbose=1):
    APs = []
    for image_id in image_ids:
        image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
            dataset, config, image_id, use_mini_mask=False
        )
        results = model.detect([image], verbose=0)
        r = results[0]
        ap = utils.compute_ap_range(
            gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"], verbose=0
        )
        APs.append(ap)
        if verbose:
            info = dataset.image_info[image_id]
            meta = modellib.parse_image_meta(image_meta[np.newaxis, ...])
            print("{:3} {}   AP: {:.2f}".format(meta["image_id"][0], info["id"], ap))
    return APs


config = InferenceConfig()
dataset = NpzDataset()
dataset.load(DATA + "/all.npz")
dataset.prepare()
model = modellib.MaskRCNN(mode="inference", model_dir=LOGS, config=config)
model.load_weights(WEIGHTS, by_name=True)

image_id = 0
image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(dataset, config, image_id)
r = model.detect([image], verbose=1)[0]
visualize.display_instances(
    image, r["rois"], r["masks"], r["class_ids"], dataset.class_names, r["scores"], ax=get_ax(), title="Predictions"
)
plt.savefig(os.path.join(LOGS, "predictions.png"))
AP, precisions, recalls, overlaps = utils.compute_ap(
    gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
)
visualize.plot_precision_recall(AP, precisions, recalls)
visualize.plot_overlaps(gt_class_id, r["class_ids"], r["scores"], overlaps, dataset.class_names)
visualize.display_differences(
    image, gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"], dataset.class_names,
    ax=get_ax(),
)  # fmt: skip
# A detector that finds exactly what is there scores 1.
perfect = utils.compute_ap(
    gt_bbox, gt_class_id, gt_mask, gt_bbox, gt_class_id, np.linspace(1, 0.5, len(gt_bbox)), gt_mask
)[0]
print("PERFECT %.3f" % perfect)
APs = compute_batch_ap(dataset, dataset.image_ids)
print("Mean AP over {} images: {:.4f}".format(len(APs), np.mean(APs)))
plt.close("all")
