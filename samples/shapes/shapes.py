"""Images of circles, squares and triangles on plain ground, drawn when they are asked for."""

import cv2
import numpy as np

CLASS_NAMES = ("circle", "square", "triangle")


def draw_image(seed, side=128, most=4):
    """A random image, the same for the same seed.

    Returns:
        (u8[side, side, 3], bool[side, side, n] what can be seen of each shape, i32[n] class ids from 1).
    """
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 256, 3)
    image = np.full((side, side, 3), ground, np.uint8)
    masks, class_ids = [], []
    for _ in range(rng.integers(1, most + 1)):
        class_id, radius = rng.integers(1, 4), rng.integers(side // 12, side // 4)
        center = rng.integers(side // 6, side - side // 6, 2)
        shape = _outline(class_id, center, radius, side)
        if any((shape & other).sum() > 0.3 * min(shape.sum(), other.sum()) for other in masks):
            continue  # too much on top of another
        color = rng.integers(0, 256, 3)
        while np.abs(color - ground).max() < 30:  # nobody could see it
            color = rng.integers(0, 256, 3)
        image[shape] = color
        masks = [mask & ~shape for mask in masks]
        masks.append(shape)
        class_ids.append(class_id)
    return image, np.stack(masks, axis=-1), np.array(class_ids, np.int32)


def _outline(class_id, center, radius, side):
    canvas = np.zeros((side, side), np.uint8)
    x, y = (int(c) for c in center)
    r = int(radius)
    if CLASS_NAMES[class_id - 1] == "circle":
        cv2.circle(canvas, (x, y), r, 1, -1)
    elif CLASS_NAMES[class_id - 1] == "square":
        cv2.rectangle(canvas, (x - r, y - r), (x + r, y + r), 1, -1)
    else:
        half = r / np.sin(np.pi / 3)
        corners = [(x, y - r), (x - half, y + r), (x + half, y + r)]
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
    return canvas.astype(bool)
