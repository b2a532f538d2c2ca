"""YOLO-seg and YOLO-pose files. Parts and holes of an object are joined by bridges, as Ultralytics does."""

from __future__ import annotations

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.saving import Saver, write_text
from mrcnn.data.outlines import bridged, outlines
from mrcnn.structures.records import Annotation, ImageRecord


def write_yolo(saver: Saver, task: str | None, split: str) -> None:
    """Write data.yaml, images/SPLIT and labels/SPLIT.

    Args:
        saver: of the data set.
        task: "segment" or "pose"; None: "pose" where the set has keypoints.
        split: the name of the folders.
    """
    import yaml

    dataset = saver.dataset
    task = task or ("pose" if dataset.keypoint_names else "segment")
    if task not in ("segment", "pose"):
        raise DataError(f"yolo: task={task!r}, expected 'segment' or 'pose'")
    for index in range(len(dataset)):
        record = dataset.record(index)
        height, width = dataset.image_shape(index)
        rows = []
        for annotation in saver.annotations(index):
            saver.without(record, annotation, keypoints=task == "segment")
            if task == "pose":
                numbers = _pose(saver, record, annotation, height, width)
            else:
                numbers = outline_numbers(annotation, height, width)
            if numbers:
                rows.append(yolo_row(annotation.class_id, numbers))
            else:
                saver.lost("empty", "a mask without a pixel, not written", record, annotation)
        saver.put_image(index, saver.path / "images" / split)
        write_text(saver.path / "labels" / split / f"{saver.stem(index)}.txt", "".join(f"{row}\n" for row in rows))
    content: dict[str, object] = {"path": ".", split: f"images/{split}", "names": dict(enumerate(dataset.class_names))}
    if task == "pose":
        content["kpt_shape"] = [len(dataset.keypoint_names), 3]
        content["kpt_names"] = {k: list(dataset.keypoint_names) for k in range(dataset.num_classes)}
    write_text(saver.path / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def yolo_row(class_id: int, numbers: list[float]) -> str:
    """A row of a label file, without its end; classes 1..C are 0..C-1 there."""
    # Nine digits give back the coordinates in single precision: one pixel is a tenth of an object of ten.
    return " ".join([str(class_id - 1), *(f"{v:.9f}".rstrip("0").rstrip(".") for v in numbers)])


def outline_numbers(annotation: Annotation, height: int, width: int) -> list[float]:
    """One outline around an object as x, y, x, ... within 0 and 1. Empty: a mask without a pixel gives []."""
    loops = outlines(annotation, height, width)
    return (bridged(loops) / (width, height)).clip(0, 1).ravel().tolist() if loops else []


def _pose(saver: Saver, record: ImageRecord, annotation: Annotation, height: int, width: int) -> list[float]:
    y1, x1, y2, x2 = np.clip(annotation.box, 0, [height, width, height, width]).tolist()
    if annotation.segmentation is not None:
        saver.lost("mask", "its mask is not written, only its box", record, annotation)
    joints = np.zeros((len(saver.dataset.keypoint_names), 3))
    if annotation.keypoints is not None:
        joints[: len(annotation.keypoints)] = annotation.keypoints
    joints = np.where(joints[:, 2:] > 0, joints / (width, height, 1), 0.0)
    box = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    return [*box, *joints.ravel().tolist()]
