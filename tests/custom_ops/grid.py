"""RoIs and config every implementation of RoIAlign is held to."""

import numpy as np

STRIDE = 4
HEIGHT, WIDTH = 12, 10

# (y1, x1, y2, x2): inside, partly and wholly outside, at every border, smaller than a cell and a pixel, without area,
# inverted, the whole image, far larger than it, with samples exactly one cell beyond the border.
BOXES = np.array(
    [
        [8, 4, 30, 21],
        [-20, -9, 11, 70],
        [200, 200, 240, 260],
        [-90, 5, -60, 20],
        [40, 30, 60, 44],
        [9, 9, 10, 10.5],
        [9.2, 9.3, 9.6, 9.4],
        [12, 12, 12, 12],
        [20, 20, 10, 14],
        [0, 0, 48, 40],
        [-300, -200, 500, 400],
        [-6, -14, 8, 14],
    ],
    np.float32,
)
CROPS = [(1, 1), (7, 7), (14, 14), (28, 14)]
RATIOS = [0, 1, 2, 4]


def case(rng, batch=1, channels=3, boxes=BOXES):
    """Features f32[B, HEIGHT, WIDTH, C] and boxes f32[B, S, 4], the images' boxes shifted against each other."""
    features = rng.normal(size=(batch, HEIGHT, WIDTH, channels)).astype(np.float32)
    shifts = np.arange(batch, dtype=np.float32)[:, None, None] * np.float32(1.5)
    return features, boxes[np.newaxis] + shifts
