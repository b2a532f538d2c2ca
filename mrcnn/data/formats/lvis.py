"""LVIS v1: COCO's lists with the frequency of each category, and which categories an image was not searched for."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from mrcnn.data.formats.coco import Coco
from mrcnn.data.formats.coco_writer import dataset_to_coco, save_json
from mrcnn.data.formats.saving import Saver

_RARE, _COMMON = 10, 100


class Lvis(Coco):
    """LVIS v1. Its files are recognized and read as "coco", which they are; this name is for writing."""

    name = "lvis"
    looks_for = 'only by its name: files of LVIS are recognized as "coco"'

    def recognize(self, path: Path) -> bool:
        """Never: `Coco` does."""
        return False

    def save(self, saver: Saver, **options: Any) -> None:
        """annotations.json beside images/; or a .json file alone."""
        write_lvis(saver)


def write_lvis(saver: Saver) -> None:
    """Write a data set as LVIS v1; image ids become numbers where they are not.

    Ref: Gupta, Dollar and Girshick, LVIS, arXiv 1908.03195, section 2.2 and appendix B: a category is rare in up to 10
    images of training, common in up to 100, else frequent; and https://www.lvisdataset.org/dataset, data format.
    """
    dataset = saver.dataset
    content = dataset_to_coco(dataset)
    are_numbers = all(isinstance(entry["id"], int) for entry in content["images"])
    numbers = {entry["id"]: entry["id"] if are_numbers else k for k, entry in enumerate(content["images"], start=1)}
    alone = saver.path.suffix.lower() == ".json"
    for index, entry in enumerate(content["images"]):
        record = dataset.record(index)
        for annotation in record.annotations:
            saver.without(record, annotation)
        if not are_numbers:
            saver.lost("image id", f"image id {entry['id']!r} is written as {numbers[entry['id']]}", record)
        entry["id"] = numbers[entry["id"]]
        if not alone:
            saver.put_image(index, saver.path / "images")
            if saver.copy_images:
                entry["file_name"] = saver.name(index)
        entry.setdefault("coco_url", entry["file_name"])
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            entry.setdefault(key, [])
    for entry in content["annotations"]:
        entry["image_id"] = numbers[entry["image_id"]]
        for key in ("iscrowd", "keypoints", "num_keypoints"):
            entry.pop(key, None)
        if "segmentation" not in entry:  # of an object that is its box
            x, y, w, h = entry["bbox"]
            entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    pairs = {(entry["category_id"], entry["image_id"]) for entry in content["annotations"]}
    images = Counter(category for category, _ in pairs)
    instances = Counter(entry["category_id"] for entry in content["annotations"])
    for category in content["categories"]:
        category.pop("keypoints", None)
        count, plain = images[category["id"]], re.sub(r"\s+", "_", category["name"])
        frequency = "r" if count <= _RARE else "c" if count <= _COMMON else "f"
        category |= {"image_count": count, "instance_count": instances[category["id"]], "frequency": frequency}
        category |= {"synset": f"{plain}.n.01", "synonyms": [category["name"]], "def": ""}
    save_json(content, saver.path if alone else saver.path / "annotations.json")
