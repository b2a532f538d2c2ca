"""Convolutions as PyTorch and Caffe2 define them, in plain loops: channels first, no flip of the kernel."""

from __future__ import annotations

import numpy as np


def conv2d(image: np.ndarray, kernel: np.ndarray, pad: int) -> np.ndarray:
    """[in, H, W] and [out, in, h, w] -> [out, H + 2 pad - h + 1, W + 2 pad - w + 1]."""
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    out, _, h, w = kernel.shape
    result = np.zeros((out, padded.shape[1] - h + 1, padded.shape[2] - w + 1))
    for o in range(out):
        for y in range(result.shape[1]):
            for x in range(result.shape[2]):
                result[o, y, x] = np.sum(padded[:, y : y + h, x : x + w] * kernel[o])
    return result


def conv_transpose2d(image: np.ndarray, kernel: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """[in, H, W] and [in, out, h, w]: every cell stamps the kernel, `stride` apart; `pad` is cut off all around."""
    channels, height, width = image.shape
    _, out, h, w = kernel.shape
    result = np.zeros((out, (height - 1) * stride + h, (width - 1) * stride + w))
    for i in range(channels):
        for y in range(height):
            for x in range(width):
                result[:, y * stride : y * stride + h, x * stride : x * stride + w] += image[i, y, x] * kernel[i]
    return result[:, pad : result.shape[1] - pad, pad : result.shape[2] - pad]
