"""Use an exported model where only TensorFlow is installed: python samples/serve.py VERSION OUT.npz IMAGE...

VERSION is the folder of one exported version (served/1). Nothing of the package is imported here; this is what a
server would run.
"""

import sys

import numpy as np
import tensorflow as tf
from PIL import Image

sys.modules["mrcnn"] = None  # importing it from here on is an error


def tents(low, high, cells, pixels):
    """f[pixels, cells]: how much each mask cell, stretched over low..high, counts at each pixel's center."""
    position = (np.arange(pixels) + 0.5 - low) / (high - low) * cells - 0.5
    return np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0)


def paste(mask, box, height, width):
    """The mask f32[M, M] of one detection on the pixels of its image, bool[height, width]."""
    y1, x1, y2, x2 = box
    return tents(y1, y2, len(mask), height) @ mask @ tents(x1, x2, len(mask), width).T >= 0.5


serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
results = {}
for number, path in enumerate(sys.argv[3:]):
    image = np.asarray(Image.open(path, formats=("JPEG", "PNG")).convert("RGB"))
    request = {"image": tf.constant(image[None]), "shape": tf.constant([image.shape[:2]])}
    result = {name: value[0].numpy() for name, value in serve(**request).items()}
    count = result["num_detections"]
    masks = [paste(m, b, *image.shape[:2]) for m, b in zip(result["masks"][:count], result["mask_boxes"], strict=False)]
    for name in ("boxes", "scores", "class_ids"):
        results[f"{name}_{number}"] = result[name][:count]
    results[f"masks_{number}"] = np.array(masks, bool).reshape(count, *image.shape[:2])
np.savez_compressed(sys.argv[2], **results)
