"""A data set as the content of a COCO file."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.files import atomic_write


def dataset_to_coco(dataset: Dataset) -> dict[str, Any]:
    """A data set as the content of a COCO file, with the category and image ids of its source.

    Ids of annotations are those of the source, too, where they are numbers and none is given twice in the set.

    Numbers are plain; polygons stay polygons, other masks become compressed RLE.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    given = [a.annotation_id for index in range(len(dataset)) for a in dataset.annotations(index)]
    keeps_ids = all(isinstance(i, int) for i in given) and len(set(given)) == len(given)
    for index in range(len(dataset)):
        record = dataset.record(index)
        height, width = dataset.image_shape(index)
        name = record.extra.get("file_name") or (os.path.basename(record.path) if record.path else str(record.image_id))
        extra = {k: v for k, v in record.extra.items() if k != "file_name"}
        images.append({**extra, "id": record.image_id, "file_name": name, "height": height, "width": width})
        for annotation in record.annotations:
            y1, x1, y2, x2 = (float(v) for v in annotation.box)
            entry: dict[str, Any] = {
                "id": annotation.annotation_id if keeps_ids else len(annotations) + 1,
                "image_id": record.image_id,
                "category_id": dataset.category_ids[annotation.class_id - 1],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": annotation.area if annotation.area is not None else (y2 - y1) * (x2 - x1),
                "iscrowd": int(annotation.is_crowd),
            }
            segmentation = annotation.segmentation
            if isinstance(segmentation, dict):
                counts = segmentation["counts"]
                counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
                entry["segmentation"] = {"size": [int(v) for v in segmentation["size"]], "counts": counts}
            elif segmentation is not None:
                entry["segmentation"] = [np.asarray(p, np.float64).ravel().tolist() for p in segmentation]
            if annotation.keypoints is not None:
                entry["keypoints"] = np.asarray(annotation.keypoints, np.float64).ravel().tolist()
                entry["num_keypoints"] = int((annotation.keypoints[:, 2] > 0).sum())
            annotations.append(entry)
    categories: list[dict[str, Any]] = []
    for category_id, name in zip(dataset.category_ids, dataset.class_names, strict=True):
        category: dict[str, Any] = {"id": category_id, "name": name}
        if dataset.keypoint_names:
            category["keypoints"] = list(dataset.keypoint_names)
        categories.append(category)
    return {"images": images, "annotations": annotations, "categories": categories}


def save_json(data: Any, path: str | os.PathLike[str]) -> None:
    """Write JSON; the file appears whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file)
