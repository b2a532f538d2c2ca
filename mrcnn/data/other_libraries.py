"""Data sets that other libraries hold in memory; none of them is imported, their objects are used as they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.images import as_rgb
from mrcnn.data.rle import mask_to_rle, window_to_rle
from mrcnn.structures.records import RLE, Annotation


class _Held(Dataset):
    """Images that another object holds."""

    def __init__(self, images: Any) -> None:
        super().__init__()
        self._images = images

    def load_image(self, index: int) -> np.ndarray:
        """From its file where the record has one, else from the object."""
        if self._records[index].path is not None:
            return self._read(index)
        return np.ascontiguousarray(as_rgb(self._images(index), name=f"image {self._records[index].image_id}"))


def _with_classes(dataset: Dataset, source: str, names: Iterable[str]) -> Dataset:
    for number, name in enumerate(names, start=1):
        dataset.add_class(source, number, str(name))
    return dataset


def from_supervision(source: Any) -> Dataset:
    """A `supervision.DetectionDataset`; its masks, or where it has none its boxes.

    Args:
        source: gives (path, image in BGR, detections) for each image, and has `classes`.

    Raises:
        DataError: the object is of another kind.
    """
    if not hasattr(source, "classes"):
        raise DataError(f"from_supervision: expected a DetectionDataset with `classes`, got {type(source).__name__}")
    kept: dict[int, np.ndarray] = {}
    dataset = _with_classes(_Held(lambda index: kept[index]), "supervision", source.classes)
    for index, (path, image, detections) in enumerate(source):
        height, width = image.shape[:2]
        masks = getattr(detections, "mask", None)
        annotations = []
        for k, (x1, y1, x2, y2) in enumerate(np.asarray(detections.xyxy, float).tolist()):
            rle = None if masks is None else mask_to_rle(np.asarray(masks[k], bool))
            class_id = int(detections.class_id[k]) + 1
            annotations.append(Annotation(class_id, (y1, x1, y2, x2), rle, annotation_id=k))
        is_file = os.path.isfile(path)
        if not is_file:
            kept[index] = image[..., ::-1]
        dataset.add_image(
            "supervision",
            str(path),
            str(path) if is_file else None,
            height=height,
            width=width,
            annotations=annotations,
        )
    return dataset


def from_fiftyone(source: Any, field: str = "ground_truth") -> Dataset:
    """A `fiftyone` data set or view; instance masks of its detections, or where they have none their boxes.

    Args:
        source: gives samples with `filepath` and a field of detections.
        field: the name of that field.
    """
    samples = [(sample, _detections(sample, field)) for sample in source]
    names = sorted({str(d.label) for _, detections in samples for d in detections})
    dataset = _with_classes(Dataset(), "fiftyone", names)
    for sample, detections in samples:
        path = str(sample.filepath)
        height, width = _shape_of(path)
        annotations = []
        for k, detection in enumerate(detections):
            x, y, w, h = (float(v) for v in detection.bounding_box)
            box = (y * height, x * width, (y + h) * height, (x + w) * width)
            mask = getattr(detection, "mask", None)
            rle: RLE | None = None
            if mask is not None:
                top, left = round(box[0]), round(box[1])
                bits = np.asarray(mask).astype(bool)[: max(height - top, 0), : max(width - left, 0)]
                rle = window_to_rle(top, left, bits, height, width)
            annotations.append(Annotation(names.index(str(detection.label)) + 1, box, rle, annotation_id=k))
        dataset.add_image("fiftyone", str(sample.id), path, height=height, width=width, annotations=annotations)
    return dataset


def _detections(sample: Any, field: str) -> Sequence[Any]:
    try:
        value = sample[field]
    except KeyError as error:
        raise DataError(f"from_fiftyone: sample {sample.filepath} has no field {field!r}") from error
    return () if value is None else value.detections


def _shape_of(path: str) -> tuple[int, int]:
    from mrcnn.data.images import image_shape

    return image_shape(path)


def from_huggingface(source: Any, *, image: str = "image", objects: str = "objects") -> Dataset:
    """A `datasets.Dataset` with a column of images and one of objects with "bbox" and "category".

    Boxes are [x, y, width, height] in pixels; "segmentation" (COCO's), "id", "area" and "iscrowd" are used where they
    are. Names of classes come from the features, else they are numbers.

    Args:
        source: rows as dicts.
        image, objects: names of the columns.
    """
    rows = [source[i][objects] for i in range(len(source))]
    numbers = sorted({int(c) for row in rows for c in row["category"]})
    names = _category_names(source, objects) or [str(k) for k in range(max(numbers, default=-1) + 1)]
    dataset = _with_classes(_Held(lambda index: source[index][image]), "huggingface", names)
    for index, row in enumerate(rows):
        held = source[index][image]
        width, height = held.size
        annotations = []
        for k, (x, y, w, h) in enumerate(row["bbox"]):
            box = (float(y), float(x), float(y + h), float(x + w))
            value = (row.get("segmentation") or [None] * len(row["bbox"]))[k]
            segmentation = value if isinstance(value, dict) or not value else [np.reshape(p, (-1, 2)) for p in value]
            crowd = bool((row.get("iscrowd") or [0] * len(row["bbox"]))[k])
            annotation_id = (row.get("id") or range(len(row["bbox"])))[k]
            class_id = int(row["category"][k]) + 1
            annotations.append(Annotation(class_id, box, segmentation or None, None, crowd, annotation_id))
        image_id = source[index].get("image_id", index)
        dataset.add_image("huggingface", image_id, None, height=height, width=width, annotations=annotations)
    return dataset


def _category_names(source: Any, objects: str) -> list[str]:
    features = getattr(source, "features", None)
    column = features.get(objects) if features is not None else None
    inner = getattr(column, "feature", column)
    category = inner.get("category") if isinstance(inner, dict) else None
    return list(getattr(getattr(category, "feature", category), "names", ()))


def from_datumaro(source: Any) -> Dataset:
    """A `datumaro.Dataset`: polygons, masks and boxes; annotations of one group and label are one object.

    Args:
        source: gives items with `media` and `annotations`, and has `categories()`.
    """
    labels = next((v for k, v in source.categories().items() if getattr(k, "name", k) == "label"), None)
    names = [str(item.name) for item in getattr(labels, "items", ())]
    media: dict[int, Any] = {}
    dataset = _with_classes(_Held(lambda index: np.asarray(media[index].data)[..., 2::-1]), "datumaro", names)
    for index, item in enumerate(source):
        path = getattr(item.media, "path", None) or None
        height, width = (int(v) for v in item.media.size)
        is_file = path is not None and os.path.isfile(path)
        if not is_file:
            media[index] = item.media
        groups: dict[object, list[Any]] = {}
        for k, annotation in enumerate(item.annotations):
            if annotation.type.name in ("polygon", "mask", "bbox") and annotation.label is not None:
                key = (annotation.label, annotation.group) if annotation.group else ("alone", k)
                groups.setdefault(key, []).append(annotation)
        objects = [_datumaro_object(parts, height, width, k) for k, parts in enumerate(groups.values())]
        dataset.add_image(
            "datumaro",
            f"{item.subset}/{item.id}",
            path if is_file else None,
            height=height,
            width=width,
            annotations=objects,
            split=str(item.subset),
        )
    return dataset


def _datumaro_object(parts: list[Any], height: int, width: int, number: int) -> Annotation:
    polygons = [np.reshape(p.points, (-1, 2)).astype(np.float32) for p in parts if p.type.name == "polygon"]
    masks = [np.asarray(p.image, bool) for p in parts if p.type.name == "mask"]
    boxes = np.array([p.get_bbox() for p in parts], float)
    x1, y1 = boxes[:, :2].min(axis=0).tolist()
    x2, y2 = (boxes[:, :2] + boxes[:, 2:]).max(axis=0).tolist()
    segmentation: list[np.ndarray] | RLE | None = polygons or None
    if masks:
        from mrcnn.data.rasterize import polygons_to_mask

        whole = np.any([*masks, *([polygons_to_mask(polygons, height, width)] if polygons else [])], axis=0)
        segmentation = mask_to_rle(whole)
    crowd = any(bool(p.attributes.get("is_crowd")) for p in parts)
    return Annotation(int(parts[0].label) + 1, (y1, x1, y2, x2), segmentation, None, crowd, number)
