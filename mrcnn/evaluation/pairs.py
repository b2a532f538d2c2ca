"""What the measures of errors need of one image: its objects, its detections, and how much each pair overlaps.

The overlaps are computed once, between every detection and every object whatever their classes; the measures beside
this module are functions of a sequence of `ImagePairs`, and none of them sees a mask.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mrcnn.data.rle import encode_masks
from mrcnn.errors import InputError
from mrcnn.evaluation.metric import GroundTruth, as_instances
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import ByValue, ImageRecord

MAX_DETECTIONS = 100
"""Of an image and class, as COCO's last cut."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePairs(ByValue):
    """The objects and detections of one image, detections best first.

    G objects, crowd regions included; D detections. Boxes are (y1, x1, y2, x2) in pixels of the image.

    Attributes:
        image_id: of the data set.
        image_shape: (height, width).
        gt_boxes f64[G, 4], gt_class_ids i32[G], gt_crowd bool[G], gt_areas f64[G]: the areas are those that COCO sorts
            objects into small, medium and large by, in pixels.
        boxes f64[D, 4], class_ids i32[D], scores f64[D], areas f64[D]: the scores to 1e-6, as results files hold them.
        iou: f64[D, G], intersection over union; towards crowd regions intersection over the detection's own area.
        of_masks: whether overlaps and areas are those of masks, or of boxes.
    """

    image_id: int | str
    image_shape: tuple[int, int]
    gt_boxes: np.ndarray
    gt_class_ids: np.ndarray
    gt_crowd: np.ndarray
    gt_areas: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    iou: np.ndarray
    of_masks: bool

    def best_overlaps(self, same_class: bool) -> tuple[np.ndarray, np.ndarray]:
        """(i64[D], f64[D]): the object that each detection overlaps most, and by how much; crowd regions are none.

        Args:
            same_class: among the objects of the detection's class, or among those of all others.

        Returns:
            index -1 and overlap 0 for a detection that overlaps no such object.
        """
        is_same = self.class_ids[:, None] == self.gt_class_ids[None]
        overlap = np.where((is_same == same_class) & ~self.gt_crowd, self.iou, 0.0)
        if not overlap.size:
            return np.full(len(self.scores), -1), np.zeros(len(self.scores))
        best, value = overlap.argmax(1), overlap.max(1)
        return np.where(value > 0, best, -1), value


def pair_image(
    image_id: int | str,
    ground_truth: GroundTruth,
    prediction: Instances,
    max_detections: int = MAX_DETECTIONS,
) -> ImagePairs:
    """Objects, detections and overlaps of one image; of masks where both sides have them, else of boxes.

    Args:
        image_id: of the data set.
        ground_truth: instances, or the image's record.
        prediction: with scores, in any order.
        max_detections: the best so many of each class are kept.

    Raises:
        InputError: the prediction has no scores, or is of an image of another shape.
        DataError: a mask of the record that cannot be rasterized.

    Example:
        >>> objects = Instances([[0, 0, 4, 4]], [1], (8, 8))
        >>> pair_image(1, objects, Instances([[0, 0, 4, 2]], [2], (8, 8), scores=[0.75])).iou.tolist()
        [[0.5]]
    """
    if prediction.scores is None:
        raise InputError(f"image {image_id!r}: detections need scores, these instances have none")
    objects = as_instances(ground_truth, prediction.image_shape)
    if objects.image_shape != prediction.image_shape:
        raise InputError(
            f"image {image_id!r}: ground truth has shape {objects.image_shape}, prediction {prediction.image_shape}"
        )
    prediction = prediction[best_of_each_class(prediction, max_detections)]
    crowd = objects.is_crowd if objects.is_crowd is not None else np.zeros(len(objects), bool)
    # Objects that are annotated by boxes only have these as masks.
    of_masks = objects.has_masks and prediction.has_masks
    iou, gt_areas, areas = _overlaps(objects, prediction, crowd, of_masks)
    if isinstance(ground_truth, ImageRecord):
        stated = [a.area for a in ground_truth.annotations]
        gt_areas = np.array([area if own is None else own for own, area in zip(stated, gt_areas, strict=True)], float)
    return ImagePairs(
        image_id=image_id,
        image_shape=prediction.image_shape,
        gt_boxes=objects.boxes.astype(np.float64),
        gt_class_ids=objects.class_ids,
        gt_crowd=crowd,
        gt_areas=gt_areas,
        boxes=prediction.boxes.astype(np.float64),
        class_ids=prediction.class_ids,
        scores=_rounded_scores(prediction),
        areas=areas,
        iou=iou,
        of_masks=of_masks,
    )


def _rounded_scores(instances: Instances) -> np.ndarray:
    return np.round(np.asarray(instances.scores, np.float64), 6)


def best_of_each_class(instances: Instances, number: int = MAX_DETECTIONS) -> np.ndarray:
    """i64[D], the instances of a prediction that `pair_image` keeps, in its order: best score first."""
    order = np.argsort(-_rounded_scores(instances), kind="stable")
    class_ids = instances.class_ids[order]
    keep = np.ones(len(order), bool)
    for class_id in set(class_ids.tolist()):
        keep[np.flatnonzero(class_ids == class_id)[number:]] = False
    return order[keep]


def _overlaps(
    objects: Instances, prediction: Instances, crowd: np.ndarray, of_masks: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f64[D, G], f64[G], f64[D]: overlaps, and the areas of both sides."""
    from pycocotools import mask as coco_mask

    sides: list[Any]
    if of_masks:
        sides = [encode_masks(objects), encode_masks(prediction)]
        areas = [np.asarray(coco_mask.area(side), np.float64).reshape(-1) for side in sides]
    else:
        corners = [side.boxes.astype(np.float64)[:, [1, 0, 3, 2]] for side in (objects, prediction)]
        # pycocotools reads the memory row by row.
        sides = [np.ascontiguousarray(np.concatenate([c[:, :2], c[:, 2:] - c[:, :2]], axis=1)) for c in corners]
        areas = [side[:, 2:].prod(1) for side in sides]
    if not len(objects) or not len(prediction):
        return np.zeros((len(prediction), len(objects))), areas[0], areas[1]
    iou = coco_mask.iou(sides[1], sides[0], crowd.astype(np.uint8).tolist())
    return np.nan_to_num(np.asarray(iou, np.float64)), areas[0], areas[1]
