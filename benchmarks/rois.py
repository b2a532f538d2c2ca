"""The RoIs that RoIAlign is timed on: those of an 800 x 1088 image on the levels P2 to P5 of a pyramid."""

import numpy as np

HEIGHT, WIDTH, CHANNELS = 800, 1088, 256
STRIDES = (4, 8, 16, 32)


def draw_boxes(rng: np.random.Generator, batch: int, num_rois: int) -> np.ndarray:
    """f32[B, S, 4] inside the image, sides spread evenly over the octaves from 8 to 800 pixels."""
    side = np.exp(rng.uniform(np.log(8), np.log(800), (batch, num_rois)))
    stretch = np.exp(rng.uniform(-0.5, 0.5, (batch, num_rois)))
    half = np.stack([side * stretch, side / stretch], axis=-1) / 2
    center = rng.uniform(0, 1, (batch, num_rois, 2)) * [HEIGHT, WIDTH]
    corners = np.concatenate([center - half, center + half], axis=-1)
    return np.clip(corners, 0, [HEIGHT, WIDTH, HEIGHT, WIDTH]).astype(np.float32)
