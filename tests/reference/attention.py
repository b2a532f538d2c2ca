"""Attention and the non-local block, one place at a time, from their definitions. Never imports the package."""

import math

import numpy as np


def attend(queries, keys, values):
    """Non-local Neural Networks, equation 1 with the embedded Gaussian of one image.

    Args:
        queries: [N, D].
        keys: [M, D].
        values: [M, E].

    Returns:
        f64[N, E].
    """
    result = np.zeros((len(queries), values.shape[1]))
    for i, query in enumerate(queries):
        weights = []
        for key in keys:
            weights.append(math.exp(sum(float(a) * float(b) for a, b in zip(query, key, strict=True))))
        for j, weight in enumerate(weights):
            result[i] += weight / sum(weights) * np.asarray(values[j], np.float64)
    return result


def pooled(x):
    """The maximum of each 2 x 2 cells of [H, W, C], of fewer at an odd edge."""
    height, width, channels = x.shape
    result = np.zeros((math.ceil(height / 2), math.ceil(width / 2), channels))
    for y in range(result.shape[0]):
        for column in range(result.shape[1]):
            result[y, column] = x[2 * y : 2 * y + 2, 2 * column : 2 * column + 2].max((0, 1))
    return result


def non_local(x, theta, phi, g, out, subsample=False, scaled=False):
    """The block on one map [H, W, C]; theta, phi, g and out are (kernel, bias) of 1x1 convolutions."""
    x = np.asarray(x, np.float64)
    height, width, channels = x.shape

    def project(y, pair):
        kernel, bias = (np.asarray(part, np.float64) for part in pair)
        return y @ kernel.reshape(kernel.shape[-2:]) + bias

    queries, keys, values = (project(x, pair) for pair in (theta, phi, g))
    if subsample:
        keys, values = pooled(keys), pooled(values)
    if scaled:
        queries = queries / math.sqrt(queries.shape[-1])
    mixed = attend(*(part.reshape(-1, part.shape[-1]) for part in (queries, keys, values)))
    return x + project(mixed, out).reshape(height, width, channels)
