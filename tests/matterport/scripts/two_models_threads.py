"""Two models in one process behind a server's threads: two_models_threads.py PICTURES LOGS WEIGHTS"""

import glob
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import tensorflow as tf

import mrcnn.model as modellib
from mrcnn.config import Config

PICTURES, LOGS, WEIGHTS = sys.argv[1:4]


class FirstConfig(Config):
    NAME = "first"
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
    DETECTION_MAX_INSTANCES = 5


class SecondConfig(FirstConfig):
    NAME = "second"
    DETECTION_MAX_INSTANCES = 2
    IMAGE_MAX_DIM = 128


graph = tf.compat.v1.get_default_graph()
with tf.device("/cpu:0"):
    first = modellib.MaskRCNN(mode="inference", model_dir=LOGS, config=FirstConfig())
    first.load_weights(WEIGHTS, by_name=True)
    first.keras_model._make_predict_function()
second = modellib.MaskRCNN(mode="inference", model_dir=LOGS, config=SecondConfig())
second.load_weights(WEIGHTS, by_name=True)
second.keras_model._make_predict_function()
images = [cv2.imread(name)[..., ::-1] for name in sorted(glob.glob(PICTURES + "/*.png"))[:4]]


def predict(request):
    model, image = request
    with graph.as_default():
        r = model.detect([image])[0]
    return {name: np.asarray(value).tolist() for name, value in r.items() if name != "masks"}


requests = [(model, image) for image in images for model in (first, second)]
alone = [predict(request) for request in requests]
with ThreadPoolExecutor(4) as pool:
    together = list(pool.map(predict, requests))
print("SAME", together == alone, "FIRST", len(alone[0]["rois"]), "SECOND", len(alone[1]["rois"]))
