"""How well one image was segmented, to rank images by.

The measure is panoptic quality of the image, its classes put together: the sum of the overlaps of correct detections,
over their number plus half that of false ones and half that of missed objects.

Ref: Kirillov et al., "Panoptic Segmentation", arXiv 1801.00868, section 4.1.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mrcnn.evaluation.matching import match_detections
from mrcnn.evaluation.pairs import ImagePairs


@dataclasses.dataclass(frozen=True)
class ImageQuality:
    """Counts at one score threshold, the mean overlap of the correct detections, and the quality, in [0, 1].

    An image without objects and without detections has the quality 1; `mean_iou` is NaN without correct detections.
    """

    quality: float
    correct: int
    false: int
    missed: int
    mean_iou: float


def image_quality(image: ImagePairs, score_threshold: float, iou_threshold: float = 0.5) -> ImageQuality:
    """The quality of one image by its detections of at least a score.

    Example:
        >>> from mrcnn.evaluation.pairs import pair_image
        >>> from mrcnn.structures.instances import Instances
        >>> cells = Instances([[0, 0, 4, 4], [5, 5, 8, 8]], [1, 1], (9, 9), scores=[0.9, 0.9])
        >>> image_quality(pair_image(1, cells, cells[:1]), 0.5).missed
        1
    """
    matched, ignored = match_detections(image, iou_threshold)
    shown = (image.scores >= score_threshold) & ~ignored
    right = np.flatnonzero(shown & (matched >= 0))
    overlaps = image.iou[right, matched[right]]
    false = int(shown.sum()) - len(right)
    missed = int((~image.gt_crowd).sum()) - len(right)
    total = len(right) + 0.5 * (false + missed)
    quality = float(overlaps.sum() / total) if total else 1.0
    return ImageQuality(quality, len(right), false, missed, float(overlaps.mean()) if len(right) else float("nan"))
