"""labelme files: polygons, several parts of an object as a group; other masks as PNG in the JSON."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.formats.coco_writer import save_json
from mrcnn.data.formats.saving import Saver
from mrcnn.data.rasterize import annotation_window
from mrcnn.structures.records import Annotation

_VERSION = "5.4.1"


def write_labelme(saver: Saver) -> None:
    """Write an image and a JSON file for each image of the set."""
    for index in range(len(saver.dataset)):
        record = saver.dataset.record(index)
        height, width = saver.dataset.image_shape(index)
        shapes = []
        for group, annotation in enumerate(saver.annotations(index), start=1):
            saver.without(record, annotation)
            of_object = labelme_shapes(saver.class_name(annotation), annotation, height, width, group)
            if not of_object:
                saver.lost("empty", "a mask without a pixel, not written", record, annotation)
            shapes += of_object
        content = labelme_content(shapes, saver.name(index), height, width)
        saver.put_image(index, saver.path)
        save_json(content, saver.path / f"{saver.stem(index)}.json")


def labelme_content(shapes: list[dict[str, Any]], image: str, height: int, width: int) -> dict[str, Any]:
    """A labelme file of some shapes.

    Args:
        shapes: see `labelme_shapes`.
        image: its path, from the file's folder.
        height, width: of the image.
    """
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def labelme_shapes(label: str, annotation: Annotation, height: int, width: int, group: int) -> list[dict[str, Any]]:
    """One object as labelme's shapes: polygons, of one group where they are several; a mask; a rectangle.

    Empty: a mask without a pixel gives [].
    """
    common = {"label": label, "description": "", "flags": {}}
    segmentation = annotation.segmentation
    if segmentation is None:
        y1, x1, y2, x2 = (float(v) for v in annotation.box)
        return [{**common, "group_id": None, "shape_type": "rectangle", "points": [[x1, y1], [x2, y2]]}]
    if isinstance(segmentation, list):
        polygons = [np.asarray(p, np.float64).reshape(-1, 2).tolist() for p in segmentation]
        group_id = group if len(polygons) > 1 else None
        return [{**common, "group_id": group_id, "shape_type": "polygon", "points": p} for p in polygons]
    top, left, bits = annotation_window(annotation, height, width)
    if not bits.any():
        return []
    buffer = io.BytesIO()
    Image.fromarray(bits.astype(np.uint8) * 255).save(buffer, "PNG")
    corners = [[left, top], [left + bits.shape[1] - 1, top + bits.shape[0] - 1]]
    mask = base64.b64encode(buffer.getvalue()).decode("ascii")
    return [{**common, "group_id": None, "shape_type": "mask", "points": corners, "mask": mask}]
