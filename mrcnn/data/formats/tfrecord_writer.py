"""TFRecord shards as the TensorFlow Object Detection API has them, masks as PNG; written in parallel."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.formats.proto import serialize_example
from mrcnn.data.formats.saving import Saver, write_text
from mrcnn.data.rasterize import annotation_mask
from mrcnn.files import atomic_write


def write_tfrecord(saver: Saver, shards: int, name: str) -> None:
    """Write shards NAME-CHECKSUM.tfrecord-00000-of-00008, images in turn, and a label map.

    CHECKSUM is the first 8 digits of the file's SHA-256, as `sha256sum` prints it. The shards are written by threads,
    as many as there are cores: encoding, checksums and files release Python's lock. The bytes do not depend on them.

    Args:
        saver: of the data set; images are always in the shards.
        shards: how many files.
        name: of the shards, by which their split is recognized.
    """
    number = len(saver.dataset)
    if not 1 <= shards <= max(number, 1):
        raise DataError(f"tfrecord: {shards} shards for {number} images, expected 1 to {max(number, 1)}")
    for index in range(number):
        saver.name(index)  # in order: names depend on those before

    def write(shard: int) -> None:
        _write_shard(saver, name, shard, shards)

    with ThreadPoolExecutor(max_workers=min(shards, os.cpu_count() or 1)) as threads:
        list(threads.map(write, range(shards)))
    items = "".join(
        f"item {{\n  id: {k}\n  name: {_quoted(label)}\n}}\n"
        for k, label in enumerate(saver.dataset.class_names, start=1)
    )
    write_text(saver.path / "label_map.pbtxt", items)


def _write_shard(saver: Saver, name: str, shard: int, shards: int) -> None:
    import tensorflow as tf

    ending = f".tfrecord-{shard:05d}-of-{shards:05d}"
    pending = saver.path / f"{name}{ending}.pending"  # no name of a shard: its checksum is not known yet
    with atomic_write(pending) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for index in range(shard, len(saver.dataset), shards):
            writer.write(serialize_example(_features(saver, index)))
    with pending.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    os.replace(pending, saver.path / f"{name}-{digest.hexdigest()[:8]}{ending}")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _features(saver: Saver, index: int) -> dict[str, list[bytes] | list[float] | list[int]]:
    dataset, annotations = saver.dataset, saver.annotations(index)
    height, width = dataset.image_shape(index)
    record = dataset._records[index]
    if saver.copy_images and saver.is_copied(index) and saver.name(index).lower().endswith((".jpg", ".jpeg", ".png")):
        encoded = Path(str(record.path)).read_bytes()
    else:
        encoded = _png(dataset._get_image(index))
    kind = b"jpeg" if encoded.startswith(b"\xff\xd8") else b"png"
    boxes = np.array([a.box for a in annotations], np.float64).reshape(-1, 4) / (height, width, height, width)
    features: dict[str, list[bytes] | list[float] | list[int]] = {
        "image/encoded": [encoded],
        "image/format": [kind],
        "image/height": [height],
        "image/width": [width],
        "image/filename": [saver.name(index).encode()],
        "image/source_id": [str(record.image_id).encode()],
        "image/object/class/text": [saver.class_name(a).encode() for a in annotations],
        "image/object/class/label": [a.class_id for a in annotations],
        "image/object/is_crowd": [int(a.is_crowd) for a in annotations],
        "image/object/area": [float(a.area or 0) for a in annotations],
        "image/object/mask": [_png(annotation_mask(a, height, width).astype(np.uint8)) for a in annotations],
    }
    for column, side in enumerate(("ymin", "xmin", "ymax", "xmax")):
        features[f"image/object/bbox/{side}"] = boxes[:, column].tolist()
    # Fractions in single precision lose the last digits of pixels: these are read where they agree with them.
    pixels = np.array([a.box for a in annotations], np.float64)
    features["image/object/bbox/pixels"] = pixels.ravel().tolist()
    if dataset.keypoint_names:
        joints = np.zeros((len(annotations), len(dataset.keypoint_names), 3))
        for row, annotation in zip(joints, annotations, strict=True):
            if annotation.keypoints is not None:
                row[: len(annotation.keypoints)] = annotation.keypoints
        features["image/object/keypoint/x"] = (joints[..., 0] / width).ravel().tolist()
        features["image/object/keypoint/y"] = (joints[..., 1] / height).ravel().tolist()
        features["image/object/keypoint/visibility"] = joints[..., 2].astype(int).ravel().tolist()
        features["image/object/keypoint/text"] = [n.encode() for n in dataset.keypoint_names] * len(annotations)
    return features


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()
