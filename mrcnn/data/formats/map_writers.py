"""Instance maps and one PNG for each object."""

from __future__ import annotations

import cv2
import numpy as np

from mrcnn.data.formats.saving import Saver, write_png
from mrcnn.data.rasterize import annotation_window
from mrcnn.files import atomic_write
from mrcnn.structures.records import Annotation, ImageRecord
from mrcnn.text import file_stem

_CLASS = "object"  # of a map that is read without a name for it


def draw_map(
    saver: Saver, record: ImageRecord, annotations: tuple[Annotation, ...], shape: tuple[int, int]
) -> np.ndarray:
    """i32[h, w]: object k has value k; of pixels of several objects the last has them, which is noted."""
    values = np.zeros(shape, np.int32)
    sizes = []
    for number, annotation in enumerate(annotations, start=1):
        top, left, bits = annotation_window(annotation, *shape)
        sizes.append(int(bits.sum()))
        values[top : top + bits.shape[0], left : left + bits.shape[1]][bits] = number
    kept = np.bincount(values.ravel(), minlength=len(annotations) + 1)
    for number, (annotation, size) in enumerate(zip(annotations, sizes, strict=True), start=1):
        if not size:
            saver.lost("empty", "a mask without a pixel, not written", record, annotation)
        elif kept[number] < size:
            message = f"{size - kept[number]} of its {size} pixels belong to a later object, too, which has them"
            saver.lost("overlap", message, record, annotation)
    return values


def write_maps(saver: Saver) -> None:
    """Write images/ and masks/, under the same names."""
    dataset = saver.dataset
    if dataset.num_classes > 1:
        saver.lost("class", f"all {dataset.num_classes} classes become one, maps have no classes")
    elif dataset.class_names not in ((), (_CLASS,)):
        saver.lost("class", f"the name {dataset.class_names[0]!r} is not written, maps have no classes")
    for index in range(len(dataset)):
        record, annotations = dataset.record(index), saver.annotations(index)
        for annotation in annotations:
            saver.without(record, annotation)
        values = draw_map(saver, record, annotations, dataset.image_shape(index))
        saver.put_image(index, saver.path / "images")
        if len(annotations) > 65535:
            with atomic_write(saver.path / "masks" / f"{saver.stem(index)}.tif") as temporary:
                temporary.write_bytes(cv2.imencode(".tif", values)[1].tobytes())
        else:
            kind = np.uint8 if len(annotations) < 256 else np.uint16
            write_png(saver.path / "masks" / f"{saver.stem(index)}.png", values.astype(kind))


def write_object_masks(saver: Saver) -> None:
    """Write images/ and annotations/IMAGE_CLASS_NUMBER.png."""
    dataset = saver.dataset
    for index in range(len(dataset)):
        record, shape = dataset.record(index), dataset.image_shape(index)
        for number, annotation in enumerate(saver.annotations(index)):
            saver.without(record, annotation)
            top, left, bits = annotation_window(annotation, *shape)
            if not bits.any():
                saver.lost("empty", "a mask without a pixel, not written", record, annotation)
                continue
            mask = np.zeros(shape, np.uint8)
            mask[top : top + bits.shape[0], left : left + bits.shape[1]][bits] = 255
            name = saver.class_name(annotation)
            plain = file_stem(name)
            if plain != name:
                saver.lost("class", f"class {name!r} is written as {plain!r}", record, annotation)
            write_png(saver.path / "annotations" / f"{saver.stem(index)}_{plain}_{number}.png", mask)
        saver.put_image(index, saver.path / "images")
