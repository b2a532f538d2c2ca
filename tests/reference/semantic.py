"""Panoptic FPN's semantic branch one number at a time, from its description. Never imports the package.

Ref: Panoptic Feature Pyramid Networks, arXiv 1901.02446, section 3 and figure 3.
"""

import math

import numpy as np

from tests.reference.convolution import conv2d


def enlarge(image, factor):
    """[C, H, W] -> [C, factor * H, factor * W]: bilinear between the centers of cells, the edge repeated beyond it."""
    _, height, width = image.shape
    result = np.zeros((len(image), factor * height, factor * width))
    for y in range(factor * height):
        for x in range(factor * width):
            at_y, at_x = max((y + 0.5) / factor - 0.5, 0.0), max((x + 0.5) / factor - 0.5, 0.0)
            top, left = math.floor(at_y), math.floor(at_x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, along = at_y - top, at_x - left
            upper = image[:, top, left] * (1 - along) + image[:, top, right] * along
            lower = image[:, below, left] * (1 - along) + image[:, below, right] * along
            result[:, y, x] = upper * (1 - down) + lower * down
    return result


def group_norm(image, groups, gamma, beta, epsilon):
    """Group Normalization, equation 1: mean and variance over a group's channels and all places."""
    result = np.zeros(image.shape)
    size = len(image) // groups
    for g in range(groups):
        part = image[g * size : (g + 1) * size]
        mean = part.mean()
        result[g * size : (g + 1) * size] = (part - mean) / math.sqrt(((part - mean) ** 2).mean() + epsilon)
    return result * gamma[:, None, None] + beta[:, None, None]


def branch(image, convs, doublings, groups, epsilon):
    """Convolution, norm, ReLU and perhaps a doubling, for each (kernel [out, in, 3, 3], gamma, beta)."""
    for kernel, gamma, beta in convs:
        image = np.maximum(group_norm(conv2d(image, kernel, 1), groups, gamma, beta, epsilon), 0)
        image = enlarge(image, 2) if doublings else image
    return image


def cross_entropy(logits, targets, ignored):
    """(sum over labeled pixels, their number) of logits [C, H, W] and targets [H, W]."""
    total, number = 0.0, 0
    for y in range(targets.shape[0]):
        for x in range(targets.shape[1]):
            if targets[y, x] != ignored:
                values = logits[:, y, x]
                total += (
                    math.log(sum(math.exp(v - values.max()) for v in values)) + values.max() - values[targets[y, x]]
                )
                number += 1
    return total, number
