"""Losses of one number at a time, from their definitions. Never imports the package."""

import math


def smooth_l1(pred, target, beta):
    """Fast R-CNN, equation 3, with the turn at beta instead of 1."""
    d = abs(float(pred) - float(target))
    return 0.5 * d * d / beta if d < beta else d - 0.5 * beta


def sigmoid_cross_entropy(logit, target):
    p = 1 / (1 + math.exp(-float(logit)))
    return -(float(target) * math.log(p) + (1 - float(target)) * math.log(1 - p))


def softmax(logits):
    total = sum(math.exp(float(x)) for x in logits)
    return [math.exp(float(x)) / total for x in logits]


def softmax_cross_entropy(logits, class_id):
    return -math.log(softmax(logits)[class_id])


def sigmoid_focal(logit, target, gamma):
    """Focal Loss, equation 4, for a target of 0 or 1."""
    p = 1 / (1 + math.exp(-float(logit)))
    likely = p if target == 1 else 1 - p
    return -((1 - likely) ** gamma) * math.log(likely)


def softmax_focal(logits, class_id, gamma):
    likely = softmax(logits)[class_id]
    return -((1 - likely) ** gamma) * math.log(likely)


def dice(probs, targets, smooth):
    """V-Net, section 3, of two masks as lists of rows, with `smooth` added above and below."""
    above = below = float(smooth)
    for row, target_row in zip(probs, targets, strict=True):
        for p, t in zip(row, target_row, strict=True):
            above += 2 * float(p) * float(t)
            below += float(p) ** 2 + float(t) ** 2
    return 1 - above / below


def sigmoid_cross_entropy_of_classes(logits, class_id, counted=None):
    """The sum over the things of logits (background first), or over those counted, ids from 1."""
    things = range(1, len(logits)) if counted is None else sorted(counted)
    return sum(sigmoid_cross_entropy(logits[k], 1 if k == class_id else 0) for k in things)


def federated_classes(class_ids, counts, num, power, uniforms):
    """Ids from 1 of the classes that count in an image: those of its RoIs, then one after the other of the rest.

    Each class waits -log(u) / weight, an exponential time of its own; the next one drawn is the one that waits least.
    """
    counted = {k for k in class_ids if k > 0}
    left = num - len(set(class_ids))  # background is one of them
    waits = {k: -math.log(u) / n**power for k, (n, u) in enumerate(zip(counts, uniforms, strict=True), 1) if n > 0}
    while left > 0 and waits.keys() - counted:
        counted.add(min(waits.keys() - counted, key=waits.get))
        left -= 1
    return counted
