"""RoIPool, RoIWarp and corner-aligned cropping one bin at a time; slow and written for reading."""

import math

import numpy as np

from tests.reference.roi_align import bilinear


def nearest(x):
    """The nearest whole number, halves away from zero."""
    return math.floor(x + 0.5) if x >= 0 else math.ceil(x - 0.5)


def roi_pool(feature, box, stride, output_size):
    """[h, w, C] and, per value, the (row, column) of the cell it came from, -1 in empty bins.

    Fast R-CNN, section 2.1: a RoI of H x W cells is divided into bins of about H / h x W / w cells.
    """
    bins_y, bins_x = output_size
    y1, x1, y2, x2 = (nearest(float(side) / stride) for side in box)
    bin_height = np.float32(max(y2 - y1 + 1, 1)) / np.float32(bins_y)
    bin_width = np.float32(max(x2 - x1 + 1, 1)) / np.float32(bins_x)
    height, width, channels = feature.shape
    output = np.zeros((bins_y, bins_x, channels))
    source = np.full((bins_y, bins_x, channels, 2), -1)
    for i in range(bins_y):
        for j in range(bins_x):
            rows = range(y1 + math.floor(np.float32(i) * bin_height), y1 + math.ceil(np.float32(i + 1) * bin_height))
            columns = range(x1 + math.floor(np.float32(j) * bin_width), x1 + math.ceil(np.float32(j + 1) * bin_width))
            for c in range(channels):
                best = -math.inf
                for y in rows:
                    for x in columns:
                        if 0 <= y < height and 0 <= x < width and feature[y, x, c] > best:
                            best = output[i, j, c] = feature[y, x, c]
                            source[i, j, c] = y, x
    return output, source


def roi_warp(feature, box, stride, output_size):
    """[h, w, C]: one sample at the upper left corner of each bin of the box rounded to cells."""
    bins_y, bins_x = output_size
    y1, x1, y2, x2 = (nearest(float(side) / stride) for side in box)
    height, width, channels = feature.shape
    output = np.zeros((bins_y, bins_x, channels))
    for i in range(bins_y):
        for j in range(bins_x):
            y, x = y1 + i * max(y2 - y1, 0) / bins_y, x1 + j * max(x2 - x1, 0) / bins_x
            if -0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5:
                output[i, j] = bilinear(feature, y, x)
    return output


def roi_crop(feature, box, image_shape, output_size):
    """[h, w, C]: samples from corner to corner, first and last pixel on first and last cell."""
    height, width, channels = feature.shape
    scale_y, scale_x = (height - 1) / (image_shape[0] - 1), (width - 1) / (image_shape[1] - 1)
    y1, x1, y2, x2 = (float(side) for side in box)
    output = np.zeros((*output_size, channels))
    for i, y in enumerate(np.linspace(y1, y2, output_size[0]) if output_size[0] > 1 else [(y1 + y2) / 2]):
        for j, x in enumerate(np.linspace(x1, x2, output_size[1]) if output_size[1] > 1 else [(x1 + x2) / 2]):
            if 0 <= y * scale_y <= height - 1 and 0 <= x * scale_x <= width - 1:
                output[i, j] = bilinear(feature, y * scale_y, x * scale_x)
    return output
