"""Annotations of the masks that a data set's own `load_mask` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.rle import mask_to_rle
from mrcnn.structures.records import Annotation

if TYPE_CHECKING:
    from mrcnn.data.image_source import ImageSource


def annotations_of_masks(dataset: ImageSource, index: int) -> tuple[Annotation, ...]:
    """The objects that `load_mask(index)` gives, as RLE with the boxes around them; masks without a pixel left out.

    Args:
        dataset: calls its `load_mask` once.
        index: number of the image.

    Raises:
        DataError: arrays that do not fit the image, each other or the classes; names the image.
    """
    where = f"image {dataset._records[index].image_id!r}: load_mask gave"
    masks, class_ids = dataset.load_mask(index)
    masks, class_ids = np.asarray(masks), np.asarray(class_ids).reshape(-1)
    height, width = dataset.image_shape(index)
    if masks.size == 0 and not class_ids.size:
        return ()
    if masks.ndim != 3 or masks.shape[:2] != (height, width):
        raise DataError(f"{where} masks of shape {masks.shape}, expected ({height}, {width}, n)")
    if len(class_ids) != masks.shape[2]:
        raise DataError(f"{where} {masks.shape[2]} masks and {len(class_ids)} class ids")
    if class_ids.min() < 1 or class_ids.max() > dataset.num_classes:
        raise DataError(f"{where} class ids {sorted(set(class_ids.tolist()))}, expected 1..{dataset.num_classes}")
    annotations = []
    for i, class_id in enumerate(class_ids.tolist()):
        mask = masks[:, :, i].astype(bool)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            continue  # an object without a pixel can be neither trained on nor found
        box = (float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1))
        annotations.append(Annotation(class_id, box, mask_to_rle(mask), annotation_id=i, area=float(mask.sum())))
    return tuple(annotations)
