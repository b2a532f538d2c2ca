"""Splash on a picture and, picture by picture, on a film: splash_video.py PICTURE FILM LOGS WEIGHTS"""

import os
import sys

import cv2
import numpy as np

from mrcnn import model as modellib
from mrcnn import visualize
from mrcnn.config import Config

PICTURE, FILM, LOGS, WEIGHTS = sys.argv[1:5]


class VideoConfig(Config):
    NAME = "video"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    NUM_CLASSES = 1 + 3
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 48)
    TOP_DOWN_PYRAMID_SIZE = 32
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    DETECTION_MIN_CONFIDENCE = 0
    DETECTION_MAX_INSTANCES = 3


class_names = ["BG", "disc", "box", "tri"]


def random_colors(N):
    np.random.seed(1)
    return [tuple(255 * np.random.rand(3)) for _ in range(N)]


colors = random_colors(len(class_names))
class_dict = {name: color for name, color in zip(class_names, colors)}


def apply_mask(image, mask, color, alpha=0.5):
    for n, c in enumerate(color):
        image[:, :, n] = np.where(mask == 1, image[:, :, n] * (1 - alpha) + alpha * c, image[:, :, n])
    return image


def display_instances(image, boxes, masks, ids, names, scores):
    n_instances = boxes.shape[0]
    if not n_instances:
        print("NO INSTANCES TO DISPLAY")
    else:
        assert boxes.shape[0] == masks.shape[-1] == ids.shape[0]
    for i in range(n_instances):
        if not np.any(boxes[i]):
            continue
        y1, x1, y2, x2 = boxes[i]
        label = names[ids[i]]
        caption = "{} {:.2f}".format(label, scores[i]) if scores is not None else label
        image = apply_mask(image, masks[:, :, i], class_dict[label])
        image = cv2.rectangle(image, (x1, y1), (x2, y2), class_dict[label], 2)
        image = cv2.putText(image, caption, (x1, y1), cv2.FONT_HERSHEY_COMPLEX, 0.7, class_dict[label], 2)
    return image


def color_splash(image, mask):
    gray = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)
    if mask.shape[-1] == 0:
        return gray.astype(np.uint8)
    return np.where(np.sum(mask, -1, keepdims=True) >= 1, image, gray).astype(np.uint8)


model = modellib.MaskRCNN(mode="inference", model_dir=LOGS, config=VideoConfig())
model.load_weights(WEIGHTS, by_name=True)

image = cv2.imread(PICTURE)[..., ::-1]
r = model.detect([image])[0]
splash = color_splash(image, r["masks"])
cv2.imwrite(os.path.join(LOGS, "splash.png"), splash[..., ::-1])
masked = visualize.apply_mask(image.copy(), np.ones(image.shape[:2], bool), visualize.random_colors(1)[0])
print("MASKED", masked.shape == image.shape, not np.array_equal(masked, image))

vcapture = cv2.VideoCapture(FILM)
width, height = int(vcapture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(vcapture.get(cv2.CAP_PROP_FRAME_HEIGHT))
fps = vcapture.get(cv2.CAP_PROP_FPS)
file_name = os.path.join(LOGS, "splash.avi")
vwriter = cv2.VideoWriter(file_name, cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
count, success = 0, True
while success:
    print("frame: ", count)
    success, frame = vcapture.read()
    if success:
        r = model.detect([frame[..., ::-1]], verbose=0)[0]
        splash = color_splash(frame[..., ::-1], r["masks"])[..., ::-1].copy()
        splash = display_instances(splash, r["rois"], r["masks"], r["class_ids"], class_names, r["scores"])
        vwriter.write(splash)
        count += 1
vwriter.release()
print("Saved to ", file_name, count)
