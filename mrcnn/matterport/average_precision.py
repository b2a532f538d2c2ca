"""matterport's average precision of one image, which is not COCO's."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.matterport.boxes import compute_overlaps, compute_overlaps_masks, trim_zeros


def compute_matches(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which prediction found which object of one image: the best score first takes its best free object.

    Args:
        gt_boxes, pred_boxes: [n, 4]; rows of zeros are padding.
        gt_masks, pred_masks: [h, w, n], of one size.
        iou_threshold: lowest overlap of masks.
        score_threshold: objects that overlap less than this are not looked at.

    Returns:
        gt_match f[G] (index of the prediction or -1), pred_match f[P] (index of the object or -1), overlaps f[P, G];
        predictions ordered by score, the best first.
    """
    gt_boxes = trim_zeros(gt_boxes)
    gt_masks = gt_masks[..., : gt_boxes.shape[0]]
    pred_boxes = trim_zeros(pred_boxes)
    order = np.argsort(pred_scores[: pred_boxes.shape[0]])[::-1]
    pred_class_ids, pred_masks = pred_class_ids[order], pred_masks[..., order]
    overlaps = compute_overlaps_masks(pred_masks, gt_masks)
    pred_match, gt_match = -1 * np.ones([len(order)]), -1 * np.ones([gt_boxes.shape[0]])
    for i in range(len(order)):
        for j in np.argsort(overlaps[i])[::-1]:
            if overlaps[i, j] < max(iou_threshold, score_threshold):
                break
            if gt_match[j] == -1 and pred_class_ids[i] == gt_class_ids[j]:
                gt_match[j], pred_match[i] = i, j
                break
    return gt_match, pred_match, overlaps


def compute_ap(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Average precision over one image, all classes together: the area below precision made non-increasing.

    It is not the COCO number, which `mrcnn.evaluate` gives.

    Returns:
        (AP, precisions f[P + 2], recalls f[P + 2], overlaps f[P, G]). Empty: 0 without predictions.
    """
    gt_match, pred_match, overlaps = compute_matches(
        gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks, iou_threshold
    )
    matched = np.cumsum(pred_match > -1)
    precisions = np.concatenate([[0], matched / (np.arange(len(pred_match)) + 1), [0]])
    recalls = np.concatenate([[0], matched.astype(np.float32) / len(gt_match), [1]])
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]
    steps = np.flatnonzero(recalls[:-1] != recalls[1:]) + 1
    ap = np.sum((recalls[steps] - recalls[steps - 1]) * precisions[steps])
    return ap, precisions, recalls, overlaps


def compute_ap_range(
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    iou_thresholds: Any = None,
    verbose: int = 1,
) -> float:
    """The mean of `compute_ap` over thresholds, 0.5 to 0.95 by default."""
    thresholds = np.arange(0.5, 1.0, 0.05) if iou_thresholds is None else iou_thresholds
    precisions = []
    for threshold in thresholds:
        ap = compute_ap(gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, threshold)[0]
        if verbose:
            print(f"AP @{threshold:.2f}:\t {ap:.3f}")
        precisions.append(ap)
    mean = np.array(precisions).mean()
    if verbose:
        print(f"AP @{thresholds[0]:.2f}-{thresholds[-1]:.2f}:\t {mean:.3f}")
    return mean


def compute_recall(pred_boxes: Any, gt_boxes: Any, iou: float) -> tuple[float, np.ndarray]:
    """Share of the true boxes that some predicted one overlaps by `iou`, and the indices of those predictions."""
    overlaps = compute_overlaps(pred_boxes, gt_boxes)
    best, which = np.max(overlaps, axis=1), np.argmax(overlaps, axis=1)
    positive_ids = np.where(best >= iou)[0]
    return len(set(which[positive_ids])) / np.asarray(gt_boxes).shape[0], positive_ids
