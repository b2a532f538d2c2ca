"""Box arithmetic, anchors, matching and suppression, one box at a time; slow and written for reading.

Boxes are (y1, x1, y2, x2), continuous. Never imports the package.
"""

import math

import numpy as np

MAX_LOG_SCALE = math.log(1000 / 16)


def area(box):
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def intersection(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    return height * width if height > 0 and width > 0 else 0.0


def iou(a, b):
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def iou_matrix(a, b):
    return np.array([[iou(x, y) for y in b] for x in a], np.float64).reshape(len(a), len(b))


def encode(box, anchor, weights=(1, 1, 1, 1)):
    """R-CNN, appendix C: t_y = (y - y_a) / h_a, t_h = log(h / h_a), and the same for x and w."""
    height, width = box[2] - box[0], box[3] - box[1]
    anchor_height, anchor_width = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dy = ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / anchor_height
    dx = ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / anchor_width
    deltas = (dy, dx, math.log(height / anchor_height), math.log(width / anchor_width))
    return [d * w for d, w in zip(deltas, weights, strict=True)]


def decode(deltas, anchor, weights=(1, 1, 1, 1), max_log_scale=MAX_LOG_SCALE):
    dy, dx, dh, dw = (d / w for d, w in zip(deltas, weights, strict=True))
    anchor_height, anchor_width = anchor[2] - anchor[0], anchor[3] - anchor[1]
    y = (anchor[0] + anchor[2]) / 2 + dy * anchor_height
    x = (anchor[1] + anchor[3]) / 2 + dx * anchor_width
    height = anchor_height * math.exp(min(dh, max_log_scale))
    width = anchor_width * math.exp(min(dw, max_log_scale))
    return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]


def anchors(feature_height, feature_width, stride, sizes, ratios, offset=0.0):
    """Every size and ratio (height / width, the faster one) at every cell, row by row."""
    result = []
    for row in range(feature_height):
        for column in range(feature_width):
            for size in sizes:
                for ratio in ratios:
                    width = math.sqrt(size * size / ratio)
                    height = ratio * width
                    y, x = (row + offset) * stride, (column + offset) * stride
                    result.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
    return np.array(result).reshape(-1, 4)


def match(boxes, gt_boxes, gt_valid, gt_crowd, fg_iou, bg_iou, allow_low_quality, crowd_coverage=0.5):
    """(gt_index, labels, max_iou) of each box; Faster R-CNN, section 3.1.2; crowds count neither way."""
    objects = [g for g in range(len(gt_boxes)) if gt_valid[g] and not gt_crowd[g]]
    crowds = [g for g in range(len(gt_boxes)) if gt_valid[g] and gt_crowd[g]]
    index, labels, best = [], [], []
    for box in boxes:
        overlaps = {g: iou(box, gt_boxes[g]) for g in objects}
        winner = max(objects, key=lambda g: overlaps[g], default=0)
        overlap = overlaps.get(winner, 0.0)
        index.append(winner if overlap > 0 else 0)
        best.append(overlap)
        labels.append(1 if overlap >= fg_iou else 0 if overlap < bg_iou else -1)
    if allow_low_quality:
        for g in objects:
            overlaps = [iou(box, gt_boxes[g]) for box in boxes]
            highest = max(overlaps, default=0.0)
            for i, overlap in enumerate(overlaps):
                if highest > 0 and overlap == highest:
                    labels[i] = 1
    for i, box in enumerate(boxes):
        for g in crowds:
            if labels[i] == 0 and area(box) > 0 and intersection(box, gt_boxes[g]) / area(box) >= crowd_coverage:
                labels[i] = -1
    return index, labels, best


def suppress(boxes, scores, groups, iou_threshold, max_outputs, score_threshold=-math.inf):
    """Indices kept, best first."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        rivals = [k for k in kept if groups[k] == groups[i]]
        if scores[i] > score_threshold and all(iou(boxes[i], boxes[k]) <= iou_threshold for k in rivals):
            kept.append(i)
    return kept[:max_outputs]
