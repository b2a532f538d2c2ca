"""pycocotools' evaluation, silent and faster, with the same numbers to the last digit.

The only module of the package that subclasses pycocotools; it is imported on the first evaluation, not before.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.data.rasterize import polygons_to_rle
from mrcnn.evaluation.boundary import boundary_rle
from mrcnn.structures.rotated import minimum_area_boxes

COCO_JOINTS = 17
Sizes = dict[Any, tuple[Any, Any]]  # image id -> (height, width)


class QuickCOCOeval(COCOeval):
    """`COCOeval` whose matching loop visits only the pairs that can match.

    The original compares every detection with every object at each of ten thresholds and four area ranges in plain
    Python. Pairs below the lowest threshold can never match, and in a crowded image they are nearly all, so they
    are left out beforehand; what remains of the loop is the original, in the original order.
    """

    def evaluateImg(self, imgId: Any, catId: int, aRng: Sequence[float], maxDet: int) -> dict[str, Any] | None:
        """Matches of one image, class and area range, in the form `COCOeval.accumulate` reads."""
        params = self.params
        gt, dt = self._gts[imgId, catId], self._dts[imgId, catId]
        if not params.useCats:
            gt = [g for c in params.catIds for g in self._gts[imgId, c]]
            dt = [d for c in params.catIds for d in self._dts[imgId, c]]
        if not gt and not dt:
            return None
        ignore = [int(bool(g["ignore"]) or not aRng[0] <= g["area"] <= aRng[1]) for g in gt]
        order = np.argsort(ignore, kind="mergesort")  # objects that count come first
        gt, gt_ignore = [gt[i] for i in order], [ignore[i] for i in order]
        dt = [dt[i] for i in np.argsort([-d["score"] for d in dt], kind="mergesort")[:maxDet]]
        crowd = [bool(g["iscrowd"]) for g in gt]
        num_thresholds = len(params.iouThrs)
        gt_match = np.zeros((num_thresholds, len(gt)))
        dt_match = np.zeros((num_thresholds, len(dt)))
        dt_ignore = np.zeros((num_thresholds, len(dt)))
        ious = self.ious[imgId, catId]
        if len(ious):
            candidates = self._candidates(np.asarray(ious)[:, order], len(dt))
            for t, threshold in enumerate(params.iouThrs):
                taken = [False] * len(gt)
                for d, pairs in candidates:
                    best, best_iou = -1, min(threshold, 1 - 1e-10)
                    for g, iou in pairs:
                        if taken[g] and not crowd[g]:
                            continue
                        if best > -1 and not gt_ignore[best] and gt_ignore[g]:
                            break  # an object that counts is never given up for one that does not
                        if iou >= best_iou:
                            best, best_iou = g, iou
                    if best > -1:
                        taken[best] = True
                        dt_ignore[t, d] = gt_ignore[best]
                        dt_match[t, d] = gt[best]["id"]
                        gt_match[t, best] = dt[d]["id"]
        outside = np.array([not aRng[0] <= d["area"] <= aRng[1] for d in dt], bool)
        return {
            "image_id": imgId,
            "category_id": catId,
            "aRng": aRng,
            "maxDet": maxDet,
            "dtIds": [d["id"] for d in dt],
            "gtIds": [g["id"] for g in gt],
            "dtMatches": dt_match,
            "gtMatches": gt_match,
            "dtScores": [d["score"] for d in dt],
            "gtIgnore": np.array(gt_ignore),
            "dtIgnore": np.logical_or(dt_ignore, (dt_match == 0) & outside),
        }

    def computeIoU(self, imgId: Any, catId: int) -> Any:
        """Overlaps [D, G] of the best detections and the objects; where boundaries are given, no more than theirs."""
        ious = super().computeIoU(imgId, catId)
        dt = self._dts[imgId, catId]
        if not len(ious) or "boundary" not in dt[0]:
            return ious
        gt = self._gts[imgId, catId]
        dt = [dt[i] for i in np.argsort([-d["score"] for d in dt], kind="mergesort")[: self.params.maxDets[-1]]]
        crowd = [int(g["iscrowd"]) for g in gt]
        return np.minimum(ious, rle.iou([d["boundary"] for d in dt], [g["boundary"] for g in gt], crowd))

    def _candidates(self, ious: np.ndarray, num: int) -> list[tuple[int, list[tuple[int, float]]]]:
        """Per detection that can match at all, the (object, IoU) pairs at or above the lowest threshold."""
        lowest = min(min(self.params.iouThrs), 1 - 1e-10)
        grouped: dict[int, list[tuple[int, float]]] = {}
        for d, g in zip(*np.nonzero(ious[:num] >= lowest), strict=True):
            grouped.setdefault(int(d), []).append((int(g), ious[d, g]))
        return list(grouped.items())


class RotatedCOCOeval(QuickCOCOeval):
    """The same numbers with the overlap of rotated boxes, which annotations hold as "rotated_bbox"."""

    def computeIoU(self, imgId: Any, catId: int) -> Any:
        """f64[D, G], best score first: IoU, and against a crowd region the part of the detection inside it."""
        from mrcnn.ops.rotated_iou import pairwise_rotated_coverage, pairwise_rotated_iou

        gt, dt = self._gts[imgId, catId], self._dts[imgId, catId]
        if not gt or not dt:
            return []
        order = np.argsort([-d["score"] for d in dt], kind="mergesort")[: self.params.maxDets[-1]]
        detections = np.array([_center_first(dt[i]["rotated_bbox"]) for i in order], np.float32)
        objects = np.array([_center_first(g["rotated_bbox"]) for g in gt], np.float32)
        overlaps = pairwise_rotated_iou(detections, objects).numpy().astype(np.float64)
        crowd = np.array([bool(g["iscrowd"]) for g in gt])
        if crowd.any():
            overlaps[:, crowd] = pairwise_rotated_coverage(detections, objects[crowd]).numpy()
        return overlaps


def _center_first(box: Sequence[float]) -> tuple[float, ...]:
    """(cy, cx, h, w, angle) of (x, y, width, height, angle)."""
    x, y, width, height, angle = box
    return y, x, height, width, angle


def rotated_bbox(mask: np.ndarray | None, bbox: Sequence[float]) -> list[float]:
    """[center x, center y, width, height, angle] of the rectangle of least area around a mask, else of its box.

    Args:
        mask: bool[h, w], or None: there is none.
        bbox: [x, y, width, height], for an object without a mask, or with one that has no pixel.
    """
    center_y, center_x, height, width, angle = (
        minimum_area_boxes(mask[np.newaxis])[0].tolist() if mask is not None else [0] * 5
    )
    if width <= 0:
        x, y, width, height = bbox
        center_x, center_y, angle = x + width / 2, y + height / 2, 0.0
    return [center_x, center_y, width, height, angle]


def run(
    ground_truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    iou_type: str,
    max_dets: Sequence[int],
    keypoint_sigmas: Sequence[float] | None = None,
) -> QuickCOCOeval:
    """Evaluate results in COCO form against ground truth in COCO form; the caller's dicts are left as they are.

    Args:
        ground_truth: {"images": [...], "annotations": [...], "categories": [...]}, with integer ids of 64 bits;
            `id`, `area` and `iscrowd` of annotations may be absent. Segmentations are RLE that `check_rle` has passed.
        results: one dict a detection; {bbox, score, ...} for "bbox", {segmentation, ...} for "segm",
            {keypoints, ...} for "keypoints", {rotated_bbox, ...} for "rotated". Empty: all numbers are 0.
        iou_type: "bbox", "segm", "keypoints", "boundary" (masks, by the lower of mask IoU and boundary IoU) or
            "rotated": the overlap of rotated boxes, of objects that state none those of least area around their masks.
        max_dets: at how many detections an image and class results are cut, ascending.
        keypoint_sigmas: f[J], spread of each joint relative to the object's scale.

    Returns:
        the evaluation after `accumulate`: `.eval["precision"]` [T, R, C, A, M], `.eval["recall"]` [T, C, A, M].
    """
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in ground_truth["images"]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco_gt, coco_results = COCO(), COCO()
        coco_gt.dataset = {**ground_truth, "annotations": _gt_annotations(ground_truth, sizes, iou_type)}
        coco_gt.createIndex()
        coco_results.dataset = {
            "images": ground_truth["images"],
            "categories": ground_truth["categories"],
            "annotations": [_result_annotation(r, i, iou_type) for i, r in enumerate(results, 1)],
        }
        coco_results.createIndex()
        evaluator = RotatedCOCOeval if iou_type == "rotated" else QuickCOCOeval
        evaluation = evaluator(coco_gt, coco_results, {"boundary": "segm", "rotated": "bbox"}.get(iou_type, iou_type))
        evaluation.params.maxDets = list(max_dets)
        if iou_type == "keypoints" and keypoint_sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.asarray(keypoint_sigmas, float)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _gt_annotations(ground_truth: dict[str, Any], sizes: Sizes, iou_type: str) -> list[dict[str, Any]]:
    annotations = []
    for number, source in enumerate(ground_truth["annotations"], 1):
        # pycocotools takes a match with object id 0 for no match, so ids are given anew from 1.
        annotation = {**source, "id": number, "iscrowd": int(source.get("iscrowd", 0))}
        segmentation, size = annotation.get("segmentation"), sizes[annotation["image_id"]]
        if iou_type == "keypoints":
            joints = annotation.setdefault("keypoints", [0] * 3 * COCO_JOINTS)
            annotation.setdefault("num_keypoints", sum(v > 0 for v in joints[2::3]))
        if segmentation:
            annotation["segmentation"] = to_rle(segmentation)
        elif iou_type in ("segm", "boundary"):  # the box is the mask
            x, y, w, h = annotation["bbox"]
            corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
            annotation["segmentation"] = polygons_to_rle([corners], *size)
        if iou_type == "rotated" and annotation.get("rotated_bbox") is None:
            mask = rle.decode(annotation["segmentation"]).astype(bool) if segmentation else None
            annotation["rotated_bbox"] = rotated_bbox(mask, annotation["bbox"])
        if annotation.get("area") is None:
            if segmentation:  # an object's size is that of its mask, for boxes too
                annotation["area"] = float(rle.area(annotation["segmentation"]))
            else:
                annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
        if iou_type == "boundary":
            annotation["boundary"] = boundary_rle(annotation["segmentation"])
        annotations.append(annotation)
    return annotations


def _result_annotation(result: dict[str, Any], number: int, iou_type: str) -> dict[str, Any]:
    """A result as `COCO.loadRes` would index it for one IoU type; its size is that of the box, mask or joints."""
    annotation = {
        "id": number,
        "image_id": result["image_id"],
        "category_id": result["category_id"],
        "score": result["score"],
        "iscrowd": 0,
    }
    if iou_type == "bbox":
        annotation |= {"bbox": result["bbox"], "area": result["bbox"][2] * result["bbox"][3]}
    elif iou_type == "rotated":
        box = result["rotated_bbox"]
        annotation |= {"rotated_bbox": box, "area": box[2] * box[3]}
    elif iou_type in ("segm", "boundary"):
        mask = to_rle(result["segmentation"])
        annotation |= {"segmentation": mask, "area": rle.area(mask)}
        if iou_type == "boundary":
            annotation["boundary"] = boundary_rle(mask)
    else:
        x, y = result["keypoints"][0::3], result["keypoints"][1::3]
        annotation |= {"keypoints": result["keypoints"], "area": (max(x) - min(x)) * (max(y) - min(y))}
    return annotation


def to_rle(segmentation: dict[str, Any]) -> dict[str, Any]:
    """An RLE, checked before, as a compressed one."""
    if isinstance(segmentation["counts"], (list, tuple, np.ndarray)):
        counts = [int(n) for n in segmentation["counts"]]
        return rle.frPyObjects({**segmentation, "counts": counts}, *segmentation["size"])
    return segmentation


def _mean(values: np.ndarray) -> float:
    values = values[values > -1]  # -1 marks a class without objects
    return float(np.mean(values)) if len(values) else -1.0


def summary(evaluation: QuickCOCOeval, kind: str) -> dict[str, float]:
    """The numbers of `COCOeval.summarize`, for any `maxDets` and without printing."""
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # [T, R, C, A, M], [T, C, A, M]
    areas = evaluation.params.areaRngLbl
    thresholds = {f"{round(100 * t)}": i for i, t in enumerate(evaluation.params.iouThrs)}
    numbers = {
        "AP": _mean(precision[:, :, :, 0, -1]),
        "AP50": _mean(precision[thresholds["50"], :, :, 0, -1]),
        "AP75": _mean(precision[thresholds["75"], :, :, 0, -1]),
    }
    numbers |= {f"AP{label[0]}": _mean(precision[:, :, :, a, -1]) for a, label in enumerate(areas) if a}
    if kind == "keypoints":
        numbers |= {
            "AR": _mean(recall[:, :, 0, -1]),
            "AR50": _mean(recall[thresholds["50"], :, 0, -1]),
            "AR75": _mean(recall[thresholds["75"], :, 0, -1]),
        }
    else:
        numbers |= {f"AR{cut}": _mean(recall[:, :, 0, m]) for m, cut in enumerate(evaluation.params.maxDets)}
    return numbers | {f"AR{label[0]}": _mean(recall[:, :, a, -1]) for a, label in enumerate(areas) if a}


def class_summary(evaluation: QuickCOCOeval, column: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """AP, AP50, AP75 and AR of one class, and its precision at each recall level.

    Args:
        evaluation: accumulated.
        column: place of the class among all in the order of their ids, from 0.
    """
    precision = evaluation.eval["precision"][:, :, column, 0, -1]  # [T, R]
    numbers = {
        "AP": _mean(precision),
        "AP50": _mean(precision[0]),
        "AP75": _mean(precision[5]),
        "AR": _mean(evaluation.eval["recall"][:, column, 0, -1]),
    }
    return numbers, {"0.50": precision[0], "0.75": precision[5], "0.50:0.95": precision.mean(0)}


def curves(evaluation: QuickCOCOeval) -> dict[str, Any]:
    """Precision at each recall level, averaged over the classes that have objects."""
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [T, R, C]
    precision = precision[:, :, (precision > -1).all((0, 1))]
    mean = precision.mean(2) if precision.shape[2] else np.full(precision.shape[:2], -1.0)  # [T, R]
    return {
        "recall": np.asarray(evaluation.params.recThrs),
        "precision": {"0.50": mean[0], "0.75": mean[5], "0.50:0.95": mean.mean(0)},
    }
