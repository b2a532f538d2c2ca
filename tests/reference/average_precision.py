"""Average precision as the COCO site describes it, in plain loops over NumPy arrays; slow and written for reading.

Never imports the package. Objects outside the asked area range and crowd regions are "don't care": they are not
missed when unfound, and a detection matched to one counts neither way.
"""

import numpy as np

THRESHOLDS = [0.5 + 0.05 * i for i in range(10)]
RECALLS = [i / 100 for i in range(101)]


def box_iou(a, b, crowd=False):
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    union = area_a if crowd else area_a + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if union > 0 else 0.0


def mask_iou(a, b, crowd=False):
    common = np.logical_and(a, b).sum()
    union = a.sum() if crowd else np.logical_or(a, b).sum()
    return common / union if union > 0 else 0.0


def average_precision(images, iou_of, threshold, area_range=(0.0, 1e10), max_dets=100):
    """AP of one class at one IoU threshold over images; -1 without any object that counts.

    Each image is a dict: ground truth (list of shapes), area (list), crowd (list), found (list of shapes), found_area,
    scores.
    """
    verdicts = []  # (score, 1 right / 0 wrong)
    num_objects = 0
    low, high = area_range
    for image in images:
        free = [c or not low <= a <= high for c, a in zip(image["crowd"], image["area"], strict=True)]
        num_objects += free.count(False)
        taken = [False] * len(free)
        best_first = sorted(range(len(image["scores"])), key=lambda i: -image["scores"][i])[:max_dets]
        for d in best_first:
            choice = None
            for want_free in (False, True):  # an object that counts is preferred to a region that does not
                for g in range(len(free)):
                    if free[g] != want_free or (taken[g] and not image["crowd"][g]):
                        continue
                    iou = iou_of(image["found"][d], image["ground_truth"][g], image["crowd"][g])
                    if iou >= threshold and (choice is None or iou >= choice[0]):
                        choice = (iou, g)
                if choice is not None:
                    break
            if choice is None:
                if low <= image["found_area"][d] <= high:
                    verdicts.append((image["scores"][d], 0))
            else:
                taken[choice[1]] = True
                if not free[choice[1]]:
                    verdicts.append((image["scores"][d], 1))
    if num_objects == 0:
        return -1.0
    verdicts.sort(key=lambda v: -v[0])
    points, right = [], 0
    for rank, (_, is_right) in enumerate(verdicts, 1):
        right += is_right
        points.append((right / num_objects, right / rank))
    total = 0.0
    for level in RECALLS:
        total += max([p for r, p in points if r >= level - 1e-12], default=0.0)
    return total / len(RECALLS)


def mean_average_precision(images, iou_of, area_range=(0.0, 1e10), max_dets=100):
    return float(np.mean([average_precision(images, iou_of, t, area_range, max_dets) for t in THRESHOLDS]))
