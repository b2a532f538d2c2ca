"""Losses of one number at a time, from their definitions. Never imports the package."""

import math


def smooth_l1(pred, target, beta):
    """Fast R-CNN, equation 3, with the turn at beta instead of 1."""
    d = abs(float(pred) - float(target))
    return 0.5 * d * d / beta if d < beta else d - 0.5 * beta


def sigmoid_cross_entropy(logit, target):
    p = 1 / (1 + math.exp(-float(logit)))
    return -(float(target) * math.log(p) + (1 - float(target)) * math.log(1 - p))


def softmax_cross_entropy(logits, class_id):
    total = sum(math.exp(float(x)) for x in logits)
    return -math.log(math.exp(float(logits[class_id])) / total)
