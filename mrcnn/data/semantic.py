"""Semantic maps, which say of every pixel whether it is a thing or which stuff; and all segments of an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.label_map import packed_colors, read_values
from mrcnn.data.rasterize import annotation_window
from mrcnn.structures.panoptic import IGNORED, PanopticSegments, Segment
from mrcnn.structures.records import ImageRecord

if TYPE_CHECKING:
    from mrcnn.data.image_source import ImageSource


def read_semantic(record: ImageRecord) -> np.ndarray:
    """The semantic map that a record names.

    Returns:
        u8[h, w]: 0 a thing, 1..S stuff, 255 nothing is said.

    Raises:
        DataError: the record has none, or its file cannot be read; names the image or the file.
    """
    if record.stuff is None:
        raise DataError(f"image {record.image_id!r} has no semantic map; override load_semantic")
    values = read_values(Path(record.stuff.path))
    ids = packed_colors(values) if values.ndim == 3 else values.astype(np.int64)
    present, places = np.unique(ids, return_inverse=True)
    classes = np.array([record.stuff.class_ids.get(value, IGNORED) for value in present.tolist()], np.uint8)
    return classes[places].reshape(ids.shape)


def checked_semantic(dataset: ImageSource, index: int) -> np.ndarray:
    """The map that `dataset.load_semantic` gives, u8[h, w].

    Raises:
        DataError: another shape or dtype, or a class that the set does not have; names the image.
    """
    values = np.asarray(dataset.load_semantic(index))
    where = f"image {dataset._records[index].image_id!r}: load_semantic gave"
    shape = dataset.image_shape(index)
    if values.dtype != np.uint8 or values.shape != shape:
        raise DataError(f"{where} {values.dtype}{list(values.shape)}, expected uint8{list(shape)}")
    number = len(dataset.stuff_names)
    wrong = set(np.unique(values[(values > number) & (values != IGNORED)]).tolist())
    if wrong:
        raise DataError(f"{where} the classes {sorted(wrong)}, expected 0 (a thing), 1..{number} or {IGNORED}")
    return values


def ground_truth_segments(dataset: ImageSource, index: int) -> PanopticSegments:
    """All segments of an image: its things, crowd regions included, and its stuff.

    Of pixels of several things the last has them, as in the formats that give each pixel one owner nothing is. A stuff
    class is one segment.

    Args:
        dataset: with `stuff_names`.
        index: number of the image.

    Returns:
        segments numbered from 1, things in the order of the annotations. Empty: a map of zeros.

    Raises:
        DataError: see `checked_semantic`.
    """
    semantic = checked_semantic(dataset, index)
    annotations = dataset.annotations(index)
    ids = np.zeros(semantic.shape, np.int32)
    for number, annotation in enumerate(annotations, start=1):
        top, left, bits = annotation_window(annotation, *semantic.shape)
        ids[top : top + bits.shape[0], left : left + bits.shape[1]][bits] = number
    rest = np.where((ids == 0) & (semantic != IGNORED), semantic, 0)
    stuff = [k for k in np.unique(rest).tolist() if k]
    for number, class_id in enumerate(stuff, start=len(annotations) + 1):
        ids[rest == class_id] = number
    segments = [Segment(k, a.class_id, is_crowd=a.is_crowd) for k, a in enumerate(annotations, start=1)]
    segments += [Segment(k, class_id, is_thing=False) for k, class_id in enumerate(stuff, start=len(annotations) + 1)]
    present = set(np.unique(ids).tolist())
    return PanopticSegments(ids, tuple(segment for segment in segments if segment.id in present))
