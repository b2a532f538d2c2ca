"""The `coco` sample of matterport: its Config, its data set and its evaluation, for scripts that build on them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.data.rasterize import mask_to_rle
from mrcnn.matterport import utils
from mrcnn.matterport.config import Config

DEFAULT_DATASET_YEAR = "2014"
ROOT_DIR = os.path.abspath(os.curdir)
COCO_MODEL_PATH = os.path.join(ROOT_DIR, "mask_rcnn_coco.h5")
DEFAULT_LOGS_DIR = os.path.join(ROOT_DIR, "logs")


class CocoConfig(Config):
    """Configuration for training on COCO."""

    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 80


class CocoDataset(utils.Dataset):
    """Images and objects of a COCO folder: `annotations/instances_<subset><year>.json` and `<subset><year>/`."""

    def load_coco(
        self,
        dataset_dir: str,
        subset: str,
        year: str = DEFAULT_DATASET_YEAR,
        class_ids: Sequence[int] | None = None,
        class_map: Any = None,
        return_coco: bool = False,
        auto_download: bool = False,
    ) -> COCO | None:
        """Add classes and images of a subset.

        Args:
            dataset_dir: the folder.
            subset: "train", "val", "minival" or "valminusminival" (the last two are of val2014).
            year: "2014" or "2017".
            class_ids: only images of these COCO classes; None: all.
            class_map: not used.
            return_coco: return the pycocotools object.
            auto_download: not done here; a missing folder is an error either way.

        Raises:
            FileNotFoundError: the annotation file is missing; says which.
        """
        path = os.path.join(dataset_dir, "annotations", f"instances_{subset}{year}.json")
        if not os.path.isfile(path):
            note = "; auto_download: fetch it from cocodataset.org by hand" if auto_download else ""
            raise FileNotFoundError(f"{path}: no COCO annotations there{note}")
        coco = COCO(path)
        folder = os.path.join(dataset_dir, f"{'val' if 'minival' in subset else subset}{year}")
        class_ids = sorted(class_ids or coco.getCatIds())
        if len(class_ids) == len(coco.getCatIds()):
            image_ids = list(coco.imgs)
        else:
            image_ids = list({i for class_id in class_ids for i in coco.getImgIds(catIds=[class_id])})
        for class_id in class_ids:
            self.add_class("coco", class_id, coco.loadCats(class_id)[0]["name"])
        for i in image_ids:
            self.add_image(
                "coco",
                image_id=i,
                path=os.path.join(folder, coco.imgs[i]["file_name"]),
                width=coco.imgs[i]["width"],
                height=coco.imgs[i]["height"],
                annotations=coco.loadAnns(coco.getAnnIds(imgIds=[i], catIds=class_ids, iscrowd=None)),
            )
        return coco if return_coco else None

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Masks bool[h, w, n] and class ids i32[n]; a crowd has the negative of its class."""
        info = self.image_info[image_id]
        if info["source"] != "coco":
            return super().load_mask(image_id)
        masks, class_ids = [], []
        for annotation in info["annotations"]:
            class_id = self.map_source_class_id(f"coco.{annotation['category_id']}")
            mask = self.annToMask(annotation, info["height"], info["width"])
            if not class_id or mask.max() < 1:
                continue
            if annotation["iscrowd"]:
                class_id = -class_id
                if mask.shape != (info["height"], info["width"]):
                    mask = np.ones([info["height"], info["width"]], bool)
            masks.append(mask)
            class_ids.append(class_id)
        if not class_ids:
            return super().load_mask(image_id)
        return np.stack(masks, axis=2).astype(bool), np.array(class_ids, np.int32)

    def image_reference(self, image_id: int) -> str:
        """The image's address on cocodataset.org."""
        info = self.image_info[image_id]
        if info["source"] == "coco":
            return f"http://cocodataset.org/#explore?id={info['id']}"
        return super().image_reference(image_id)

    def annToRLE(self, ann: dict[str, Any], height: int, width: int) -> Any:
        """Polygons or uncompressed RLE as compressed RLE."""
        segmentation = ann["segmentation"]
        if isinstance(segmentation, list):
            return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
        if isinstance(segmentation["counts"], list):
            return mask_utils.frPyObjects(segmentation, height, width)
        return segmentation

    def annToMask(self, ann: dict[str, Any], height: int, width: int) -> np.ndarray:
        """u8[h, w], the mask of an annotation."""
        return mask_utils.decode(self.annToRLE(ann, height, width))


def build_coco_results(
    dataset: Any, image_ids: Any, rois: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, masks: np.ndarray
) -> list[dict[str, Any]]:
    """Detections of one image as entries of a COCO result file.

    Args:
        dataset: of the source "coco", for its class ids.
        image_ids: COCO's ids the detections are written under.
        rois, class_ids, scores, masks: as `MaskRCNN.detect` gives them.
    """
    if rois is None:
        return []
    results = []
    for image_id in image_ids:
        for i in range(rois.shape[0]):
            y1, x1, y2, x2 = (float(side) for side in np.around(rois[i], 1))
            results.append(
                {
                    "image_id": image_id,
                    "category_id": dataset.get_source_class_id(class_ids[i], "coco"),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(scores[i]),
                    "segmentation": mask_to_rle(masks[:, :, i].astype(bool)),
                }
            )
    return results


def evaluate_coco(
    model: Any, dataset: Any, coco: COCO, eval_type: str = "bbox", limit: int = 0, image_ids: Any = None
) -> COCOeval:
    """Detect in a data set's images and print COCO's numbers.

    Args:
        model: in inference mode.
        dataset: of the source "coco".
        coco: what `load_coco(..., return_coco=True)` gave.
        eval_type: "bbox" or "segm".
        limit: images at most; 0: all.
        image_ids: numbers of images in the data set; None: all.

    Returns:
        pycocotools' evaluation, with `stats`.
    """
    image_ids = list(dataset.image_ids if image_ids is None else image_ids)
    image_ids = image_ids[:limit] if limit else image_ids
    coco_ids = [dataset.image_info[i]["id"] for i in image_ids]
    begun, spent, results = time.time(), 0.0, []
    for image_id, coco_id in zip(image_ids, coco_ids, strict=True):
        image = dataset.load_image(image_id)
        start = time.time()
        result = model.detect([image], verbose=0)[0]
        spent += time.time() - start
        results += build_coco_results(
            dataset, [coco_id], result["rois"], result["class_ids"], result["scores"], result["masks"]
        )
    evaluation = COCOeval(coco, coco.loadRes(results) if results else COCO(), eval_type)
    evaluation.params.imgIds = coco_ids
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    print(f"Prediction time: {spent}. Average {spent / max(len(image_ids), 1)}/image")
    print("Total time: ", time.time() - begun)
    return evaluation
