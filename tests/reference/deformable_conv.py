"""Deformable convolution, one sample after another, in float64.

Ref: Dai et al., arXiv 1703.06211, equations 2 to 4; Zhu et al., arXiv 1811.11168, equation 1.
"""

from __future__ import annotations

import numpy as np


def deformable_conv2d(inputs, offsets, kernel, mask=None, stride=1, dilation=1, groups=1, padding=None):
    """Arguments as in `mrcnn.ops.deformable_conv.deformable_conv2d`."""
    inputs, offsets, kernel = (np.asarray(x, np.float64) for x in (inputs, offsets, kernel))
    batch, height, width, channels = inputs.shape
    rows, columns, per_group, filters = kernel.shape
    padding = dilation * (rows - 1) // 2 if padding is None else padding
    offset_groups = offsets.shape[-1] // (2 * rows * columns)
    out_height = (height + 2 * padding - dilation * (rows - 1) - 1) // stride + 1
    out_width = (width + 2 * padding - dilation * (columns - 1) - 1) // stride + 1
    assert offsets.shape[1:3] == (out_height, out_width)
    outputs = np.zeros((batch, out_height, out_width, filters))
    for b, oy, ox in np.ndindex(batch, out_height, out_width):
        for i, j in np.ndindex(rows, columns):
            for c in range(channels):
                tap = (c // (channels // offset_groups)) * rows * columns + i * columns + j
                y = oy * stride - padding + i * dilation + offsets[b, oy, ox, 2 * tap]
                x = ox * stride - padding + j * dilation + offsets[b, oy, ox, 2 * tap + 1]
                value = bilinear(inputs[b, :, :, c], y, x)
                if mask is not None:
                    value *= mask[b, oy, ox, tap]
                group = c // per_group
                own = slice(group * (filters // groups), (group + 1) * (filters // groups))
                outputs[b, oy, ox, own] += value * kernel[i, j, c % per_group, own]
    return outputs


def bilinear(image, y, x):
    """The value of [H, W] at (y, x) where cells outside are 0."""
    if not (np.isfinite(y) and np.isfinite(x)):
        return 0.0
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    total = 0.0
    for v in (y0, y0 + 1):
        for u in (x0, x0 + 1):
            if 0 <= v < image.shape[0] and 0 <= u < image.shape[1]:
                total += (1 - abs(y - v)) * (1 - abs(x - u)) * image[v, u]
    return total
