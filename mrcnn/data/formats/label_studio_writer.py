"""Label Studio: polygons of one outline, brush masks for everything else that has pixels, rectangles, keypoints."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from mrcnn.data.formats.brush import encode_brush
from mrcnn.data.formats.coco_writer import save_json
from mrcnn.data.formats.saving import Saver
from mrcnn.data.outlines import bridged, outlines, simplified
from mrcnn.data.rasterize import annotation_mask
from mrcnn.structures.records import Annotation, ImageRecord


def write_label_studio(saver: Saver) -> None:
    """Write tasks.json, with an annotation of each image, beside images/."""
    tasks = []
    for index in range(len(saver.dataset)):
        record = saver.dataset.record(index)
        height, width = saver.dataset.image_shape(index)
        regions = []
        for number, annotation in enumerate(saver.annotations(index), start=1):
            saver.without(record, annotation, keypoints=False)
            region = label_studio_region(saver.class_name(annotation), annotation, height, width, f"r{number}")
            if region is None:
                saver.lost("empty", "a mask without a pixel, not written", record, annotation)
                continue
            regions.append(region)
            if annotation.keypoints is not None:
                regions += _joints(saver, record, annotation, height, width, f"r{number}")
        saver.put_image(index, saver.path / "images")
        address = label_studio_image(str(PurePosixPath("images", saver.name(index))))
        task_id = record.image_id if isinstance(record.image_id, int) else index + 1
        tasks.append({"id": task_id, "data": {"image": address}, "annotations": [{"result": regions}]})
    save_json(tasks, saver.path / "tasks.json")


def _joints(
    saver: Saver, record: ImageRecord, annotation: Annotation, height: int, width: int, region_id: str
) -> list[dict[str, Any]]:
    """The labeled joints of an object as regions of their own, whose parent it is."""
    regions = []
    joints = np.asarray(annotation.keypoints, np.float64)
    for k, (name, (x, y, visibility)) in enumerate(zip(saver.dataset.keypoint_names, joints.tolist(), strict=False)):
        if visibility > 0:
            regions.append(label_studio_joint(name, x, y, height, width, f"{region_id}_{k}", "keypoint", "image"))
            regions[-1]["parentID"] = region_id
    if (joints[:, 2] == 1).any():
        saver.lost("keypoints", "its hidden keypoints are written as visible", record, annotation)
    return regions


def label_studio_region(
    label: str, annotation: Annotation, height: int, width: int, region_id: str
) -> dict[str, Any] | None:
    """One object as a region of a task, whose label config has the tags `polygon`, `brush` and `rectangle` of `image`.

    Args:
        label: the name of its class.
        annotation: the object.
        height, width: of the image.
        region_id: unique in the task.

    Returns:
        the entry of "result"; None: a mask without a pixel.

    Ref: Label Studio's documentation, "Export annotations", units of annotations: percentages of the image.
    """
    shape = label_studio_shape(annotation, height, width)
    if shape is None:
        return None
    kind, value = shape
    return _region(kind, {**value, f"{kind}labels": [label]}, height, width, region_id)


KINDS = ("polygon", "brush", "rectangle")
"""The kinds of regions that hold an area, by the names of their tags."""


def label_studio_shape(
    annotation: Annotation, height: int, width: int, kinds: Collection[str] = KINDS, tolerance: float = 0.0
) -> tuple[str, dict[str, Any]] | None:
    """The kind of region that holds an object best, and its value without the label.

    A box is a rectangle, one outline a polygon, anything else a brush mask. Without that tag: a box becomes its
    outline; what has several parts or holes becomes one outline whose parts are joined by bridges of no width, or its
    box.

    Args:
        annotation: the object.
        height, width: of the image.
        kinds: of `KINDS`, those there are tags for.
        tolerance: pixels by which a polygon may leave the outline, to have fewer points.

    Returns:
        None: a mask without a pixel, or no kind that there is a tag for.
    """
    has_mask = annotation.segmentation is not None
    loops = outlines(annotation, height, width) if has_mask or "rectangle" not in kinds else []
    if has_mask and not loops:
        return None
    if "polygon" in kinds and loops and (len(loops) == 1 or "brush" not in kinds):
        loop = bridged(loops) if len(loops) > 1 else simplified(loops[0], tolerance)
        return "polygon", {"points": (np.asarray(loop, np.float64) / (width, height) * 100).tolist(), "closed": True}
    if "brush" in kinds and loops:
        pixels = np.repeat(annotation_mask(annotation, height, width).ravel().astype(np.uint8) * 255, 4)
        return "brush", {"format": "rle", "rle": encode_brush(pixels)}
    if "rectangle" not in kinds:
        return None
    y1, x1, y2, x2 = np.clip(annotation.box, 0, [height, width, height, width]).tolist()
    sides = {"x": x1 / width, "y": y1 / height, "width": (x2 - x1) / width, "height": (y2 - y1) / height}
    return "rectangle", {**{key: 100 * v for key, v in sides.items()}, "rotation": 0}


def label_studio_joint(
    label: str, x: float, y: float, height: int, width: int, region_id: str, from_name: str, to_name: str
) -> dict[str, Any]:
    """A keypoint at (x, y) pixels as an entry of "result"; arguments as for `label_studio_entry`."""
    value = {"x": 100 * x / width, "y": 100 * y / height, "width": 0.5, "keypointlabels": [label]}
    return label_studio_entry("keypoint", value, height, width, region_id, from_name, to_name)


def _region(kind: str, value: dict[str, Any], height: int, width: int, region_id: str) -> dict[str, Any]:
    return label_studio_entry(kind, value, height, width, region_id, kind, "image")


def label_studio_entry(
    kind: str, value: dict[str, Any], height: int, width: int, region_id: str, from_name: str, to_name: str
) -> dict[str, Any]:
    """An entry of "result".

    Args:
        kind: of region, such as "polygon".
        value: with the label.
        height, width: of the image.
        region_id: unique in the task.
        from_name, to_name: the names of the tag with the labels and of the image's tag in the label config.
    """
    return {
        "id": region_id,
        "type": f"{kind}labels",
        "from_name": from_name,
        "to_name": to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value,
    }


def label_studio_image(name: str) -> str:
    """The address of an image in Label Studio's local files."""
    return f"/data/local-files/?d={name}"
