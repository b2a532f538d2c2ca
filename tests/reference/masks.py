"""Cropping and pasting masks one cell at a time; slow and written for reading. Never imports the package."""

import math

import numpy as np


def sample(grid, y, x, outside):
    """Bilinear value at (y, x), cell centers at integers; beyond the grid zeros ("zero") or the edge ("edge")."""
    height, width = grid.shape
    y0, x0 = math.floor(y), math.floor(x)
    total = 0.0
    for row, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for column, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            if outside == "edge":
                total += wy * wx * grid[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
            elif 0 <= row < height and 0 <= column < width:
                total += wy * wx * grid[row, column]
    return total


def crop(gt_mask, gt_box, box, side):
    """Values before the threshold, [side, side]: the mask of gt_box seen at the cell centers of box."""
    cells = gt_mask.shape[0]
    result = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            y = box[0] + (i + 0.5) / side * (box[2] - box[0])
            x = box[1] + (j + 0.5) / side * (box[3] - box[1])
            if gt_box[0] <= y <= gt_box[2] and gt_box[1] <= x <= gt_box[3]:
                v = (y - gt_box[0]) / (gt_box[2] - gt_box[0]) * cells - 0.5
                u = (x - gt_box[1]) / (gt_box[3] - gt_box[1]) * cells - 0.5
                result[i, j] = sample(gt_mask, v, u, "edge")
    return result


def paste(mask, box, height, width):
    """Values before the threshold, [height, width]."""
    side = mask.shape[0]
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            v = (row + 0.5 - box[0]) / (box[2] - box[0]) * side - 0.5
            u = (column + 0.5 - box[1]) / (box[3] - box[1]) * side - 0.5
            result[row, column] = sample(mask, v, u, "zero")
    return result


def coverage(mask, box, side):
    """Covered share of each cell of a side x side grid laid over box, [side, side]."""
    result = np.zeros((side, side))
    cell_height, cell_width = (box[2] - box[0]) / side, (box[3] - box[1]) / side
    for i in range(side):
        for j in range(side):
            top, left = box[0] + i * cell_height, box[1] + j * cell_width
            for row in range(mask.shape[0]):
                for column in range(mask.shape[1]):
                    tall = max(0.0, min(top + cell_height, row + 1) - max(top, row))
                    wide = max(0.0, min(left + cell_width, column + 1) - max(left, column))
                    result[i, j] += mask[row, column] * tall * wide
    return result / (cell_height * cell_width)


def project(mask, box, side, aligned):
    """Mean of each bin's samples, [side, side]: RoIAlign with as many samples as the RoI needs, at scale 1."""

    def value(y, x):
        height, width = mask.shape
        if y < -1 or y > height or x < -1 or x > width:
            return 0.0
        return sample(mask, min(max(y, 0), height - 1), min(max(x, 0), width - 1), "edge")

    offset = 0.5 if aligned else 0.0
    top, left = box[0] - offset, box[1] - offset
    tall, wide = box[2] - box[0], box[3] - box[1]
    if not aligned:
        tall, wide = max(tall, 1.0), max(wide, 1.0)
    num_y, num_x = max(math.ceil(tall / side), 1), max(math.ceil(wide / side), 1)
    result = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            for a in range(num_y):
                for b in range(num_x):
                    y = top + (i + (a + 0.5) / num_y) * tall / side
                    x = left + (j + (b + 0.5) / num_x) * wide / side
                    result[i, j] += value(y, x)
    return result / (num_y * num_x)


def paste_padded_integer(mask, box, height, width):
    """Values before the threshold, [height, width]: a border of zeros, a box of whole pixels, both ends inside."""
    padded = np.pad(np.asarray(mask, float), 1)
    grown = (mask.shape[0] + 2) / mask.shape[0]
    low, high = [], []
    for a in (0, 1):
        center, half = (box[a] + box[a + 2]) / 2, (box[a + 2] - box[a]) / 2 * grown
        low.append(math.trunc(center - half))
        high.append(math.trunc(center + half))
    tall, wide = max(high[0] - low[0] + 1, 1), max(high[1] - low[1] + 1, 1)
    result = np.zeros((height, width))
    for row in range(max(low[0], 0), min(low[0] + tall, height)):
        for column in range(max(low[1], 0), min(low[1] + wide, width)):
            v = (row - low[0] + 0.5) / tall * padded.shape[0] - 0.5
            u = (column - low[1] + 0.5) / wide * padded.shape[1] - 0.5
            result[row, column] = sample(padded, v, u, "edge")
    return result


def paste_integer_resize(mask, box, height, width):
    """Values before the threshold, [height, width]: the mask stretched over a box of whole pixels, zero outside."""
    y1, x1, y2, x2 = box
    result = np.zeros((height, width))
    for row in range(max(y1, 0), min(y2, height)):
        for column in range(max(x1, 0), min(x2, width)):
            v = (row - y1 + 0.5) / (y2 - y1) * mask.shape[0] - 0.5
            u = (column - x1 + 0.5) / (x2 - x1) * mask.shape[1] - 0.5
            result[row, column] = min(max(sample(mask, v, u, "zero"), mask.min()), mask.max())
    return result


def perceptron(x, layers):
    """Fully connected layers on the numbers of a map (row by row, channels fastest), ReLU between, one by one.

    Args:
        x: [h, w, channels].
        layers: (kernel [inputs, outputs], bias [outputs]) of each; the last has no ReLU.
    """
    values = [float(v) for row in x for cell in row for v in cell]
    for number, (kernel, bias) in enumerate(layers, start=1):
        sums = []
        for j in range(len(bias)):
            total = float(bias[j])
            for i, value in enumerate(values):
                total += value * float(kernel[i][j])
            sums.append(total if number == len(layers) else max(total, 0.0))
        values = sums
    return values
