"""COCO JSON, read and evaluated with pycocotools: coco_json.py ANNOTATIONS IMAGES LOGS"""

import sys

import numpy as np
from pycocotools import mask as maskUtils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config

ANNOTATIONS, IMAGES, LOGS = sys.argv[1:4]


class CocoConfig(Config):
    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 3
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


class CocoDataset(utils.Dataset):
    def load_coco(self, annotations, images):
        coco = COCO(annotations)
        for i in coco.getCatIds():
            self.add_class("coco", i, coco.loadCats(i)[0]["name"])
        for i in coco.imgs:
            self.add_image(
                "coco",
                image_id=i,
                path="%s/%s" % (images, coco.imgs[i]["file_name"]),
                width=coco.imgs[i]["width"],
                height=coco.imgs[i]["height"],
                annotations=coco.loadAnns(coco.getAnnIds(imgIds=[i], iscrowd=None)),
            )
        return coco

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        instance_masks, class_ids = [], []
        for annotation in info["annotations"]:
            class_id = self.map_source_class_id("coco.{}".format(annotation["category_id"]))
            m = self.annToMask(annotation, info["height"], info["width"])
            if m.max() < 1:
                continue
            if annotation["iscrowd"]:
                class_id *= -1
            instance_masks.append(m)
            class_ids.append(class_id)
        if class_ids:
            return np.stack(instance_masks, axis=2).astype(bool), np.array(class_ids, dtype=np.int32)
        return super(CocoDataset, self).load_mask(image_id)

    def annToMask(self, ann, height, width):
        segm = ann["segmentation"]
        if isinstance(segm, list):
            rle = maskUtils.merge(maskUtils.frPyObjects(segm, height, width))
        elif isinstance(segm["counts"], list):
            rle = maskUtils.frPyObjects(segm, height, width)
        else:
            rle = segm
        return maskUtils.decode(rle)


def build_coco_results(dataset, image_ids, rois, class_ids, scores, masks):
    if rois is None:
        return []
    results = []
    for image_id in image_ids:
        for i in range(rois.shape[0]):
            bbox = np.around(rois[i], 1)
            results.append(
                {
                    "image_id": image_id,
                    "category_id": dataset.get_source_class_id(class_ids[i], "coco"),
                    "bbox": [bbox[1], bbox[0], bbox[3] - bbox[1], bbox[2] - bbox[0]],
                    "score": scores[i],
                    "segmentation": maskUtils.encode(np.asfortranarray(masks[:, :, i].astype(np.uint8))),
                }
            )
    return results


dataset = CocoDataset()
coco = dataset.load_coco(ANNOTATIONS, IMAGES)
dataset.prepare()

config = CocoConfig()
model = modellib.MaskRCNN(mode="training", config=config, model_dir=LOGS)
model.train(dataset, dataset, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads")
model.keras_model.save_weights(LOGS + "/final.h5")


class InferenceConfig(CocoConfig):
    IMAGES_PER_GPU = 1


model = modellib.MaskRCNN(mode="inference", config=InferenceConfig(), model_dir=LOGS)
model.load_weights(LOGS + "/final.h5", by_name=True)
results, coco_image_ids = [], []
for image_id in dataset.image_ids:
    r = model.detect([dataset.load_image(image_id)], verbose=0)[0]
    coco_image_ids.append(dataset.image_info[image_id]["id"])
    results.extend(
        build_coco_results(
            dataset, coco_image_ids[-1:], r["rois"], r["class_ids"], r["scores"], r["masks"].astype(np.uint8)
        )
    )
print("RESULTS", len(results))
cocoEval = COCOeval(coco, coco.loadRes(results), "segm")
cocoEval.params.imgIds = coco_image_ids
cocoEval.evaluate()
cocoEval.accumulate()
cocoEval.summarize()
