"""What is wrong with a data set, beyond what its reader reported.

refused      "image": missing, damaged, or of another size than recorded. "no image": neither a path nor a
             `load_image`. "class": a class id outside 1..C. "box": empty or not finite. "RLE": damaged or of
             another size.
for notice   "orientation": the file says that its pixels are to be turned, and the record has the size of the
             pixels as stored, so they are left as stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.images import image_shape, stored_shape
from mrcnn.data.rle import check_rle
from mrcnn.structures.records import Annotation, ImageRecord

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset


def validate(dataset: Dataset, pixels: bool = False) -> list[DatasetIssue]:
    """The issues of a data set: those of its reader first, then those of each image; see `Dataset.validate`."""
    issues = list(dataset.issues)
    for index, record in enumerate(dataset._records):
        issues += _image_issues(dataset, index, record, pixels)
    return issues


def _image_issues(dataset: Dataset, index: int, record: ImageRecord, pixels: bool) -> list[DatasetIssue]:
    def issue(kind: str, message: str, fatal: bool = True) -> DatasetIssue:
        return DatasetIssue(kind, message, record.image_id, None, record.path, fatal)

    issues = []
    try:
        if not dataset._reads_files:
            dataset._get_image(index)
        elif record.path is None:
            return [issue("no image", "has neither a path nor a load_image of its own")]
        else:
            shape = image_shape(record.path, dataset.read_options.page)
            stated = (record.height, record.width)
            if None not in stated and stated != shape:
                dataset.load_image(index)  # raises unless the pixels as stored have that size
                _, orientation = stored_shape(record.path, dataset.read_options.page)
                issues.append(
                    issue(
                        "orientation",
                        f"its orientation tag is {orientation}, by which it is {shape[0]} x {shape[1]} (height x"
                        f" width); the record says {stated[0]} x {stated[1]}, so its pixels are left as stored",
                        fatal=False,
                    )
                )
            elif pixels:
                dataset._get_image(index)
        annotations = dataset.annotations(index)
        height, width = dataset.image_shape(index)
    except DataError as error:
        return [*issues, issue("image", str(error))]
    for annotation in annotations:
        issues += _annotation_issues(annotation, dataset, record, height, width)
    return issues


def _annotation_issues(
    annotation: Annotation, dataset: Dataset, record: ImageRecord, height: int, width: int
) -> list[DatasetIssue]:
    reasons = []
    box = np.asarray(annotation.box, np.float64)
    if not 1 <= annotation.class_id <= dataset.num_classes:
        reasons.append(("class", f"class id {annotation.class_id}, expected 1..{dataset.num_classes}"))
    if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        reasons.append(("box", f"box {annotation.box} is empty or not finite"))
    if isinstance(annotation.segmentation, dict):
        try:
            check_rle(annotation.segmentation, height, width)
        except DataError as error:
            reasons.append(("RLE", str(error)))
    return [
        DatasetIssue(kind, message, record.image_id, annotation.annotation_id, dataset.path, fatal=True)
        for kind, message in reasons
    ]
