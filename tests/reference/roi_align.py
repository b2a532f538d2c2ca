"""RoIAlign one sample at a time; slow and written for reading. Never imports the package.

Mask R-CNN, section 3: bins of a RoI keep their fractional coordinates; in each, a regular grid of points is sampled
bilinearly and averaged.
"""

import math

import numpy as np


def bilinear(feature, y, x):
    """Value at (y, x) in cells, cell centers at integers; border values reach one cell beyond, then zeros."""
    height, width = feature.shape[:2]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(feature.shape[2])
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = int(y), int(x)
    if y0 >= height - 1:
        y0 = y1 = height - 1
        y = float(y0)
    else:
        y1 = y0 + 1
    if x0 >= width - 1:
        x0 = x1 = width - 1
        x = float(x0)
    else:
        x1 = x0 + 1
    ly, lx = y - y0, x - x0
    upper = (1 - lx) * feature[y0, x0] + lx * feature[y0, x1]
    lower = (1 - lx) * feature[y1, x0] + lx * feature[y1, x1]
    return (1 - ly) * upper + ly * lower


def roi_align(feature, box, stride, output_size, sampling_ratio, aligned, max_samples=math.inf):
    """[h, w, C] of one box (y1, x1, y2, x2) in pixels on feature [H, W, C]."""
    bins_y, bins_x = output_size
    shift = 0.5 if aligned else 0.0
    y1, x1, y2, x2 = (float(side) / stride - shift for side in box)
    roi_height, roi_width = y2 - y1, x2 - x1
    if not aligned:
        roi_height, roi_width = max(roi_height, 1.0), max(roi_width, 1.0)
    bin_height, bin_width = roi_height / bins_y, roi_width / bins_x
    samples_y = sampling_ratio or max(min(math.ceil(bin_height), max_samples), 0)
    samples_x = sampling_ratio or max(min(math.ceil(bin_width), max_samples), 0)
    output = np.zeros((bins_y, bins_x, feature.shape[2]))
    for i in range(bins_y):
        for j in range(bins_x):
            for k in range(samples_y):
                for m in range(samples_x):
                    y = y1 + (i + (k + 0.5) / samples_y) * bin_height
                    x = x1 + (j + (m + 0.5) / samples_x) * bin_width
                    output[i, j] += bilinear(feature, y, x) / (samples_y * samples_x)
    return output


def level_of(box, min_level, max_level, canonical_size=224, canonical_level=4):
    """Feature Pyramid Networks, equation 1; a hair above a whole number counts as it."""
    side = math.sqrt(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))
    if side == 0:
        return min_level
    return min(max(math.floor(canonical_level + math.log2(side / canonical_size) + 1e-9), min_level), max_level)
