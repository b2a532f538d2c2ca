"""`Config`: config as class attributes, to subclass. Any further attribute is welcome.

`mrcnn.matterport.native_config` says what each of them becomes in this package's own config.
"""

from __future__ import annotations

import numpy as np


class Config:
    """Configuration of a run; subclass it and override what differs. `NAME` and `NUM_CLASSES` must be.

    Attributes:
        PAPER: False: the network and the conventions of matterport/Mask_RCNN, so that its weights give its numbers.
            True, or the name of a recipe: those of the paper; of the attributes below then only those count that have
            been changed.
        BATCH_SIZE, IMAGE_SHAPE, IMAGE_META_SIZE: made on construction from the others; a value given on the class is
            replaced.
    """

    PAPER = False

    NAME: str | None = None  # starts the names of folders and checkpoints, in lower case
    GPU_COUNT = 1  # with IMAGES_PER_GPU only the number of images in a batch
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 1000  # independent of the number of images
    VALIDATION_STEPS = 50

    BACKBONE = "resnet101"  # or "resnet50"
    COMPUTE_BACKBONE_SHAPE = None
    BACKBONE_STRIDES = [4, 8, 16, 32, 64]  # noqa: RUF012 - scripts change these in place, as they always could
    FPN_CLASSIF_FC_LAYERS_SIZE = 1024
    TOP_DOWN_PYRAMID_SIZE = 256

    NUM_CLASSES = 1  # with the background

    RPN_ANCHOR_SCALES = (32, 64, 128, 256, 512)  # side of a square anchor, pixels, one per level
    RPN_ANCHOR_RATIOS = [0.5, 1, 2]  # noqa: RUF012 - width / height
    RPN_ANCHOR_STRIDE = 1
    RPN_NMS_THRESHOLD = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256
    PRE_NMS_LIMIT = 6000
    POST_NMS_ROIS_TRAINING = 2000
    POST_NMS_ROIS_INFERENCE = 1000

    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)

    IMAGE_RESIZE_MODE = "square"  # or "none", "pad64", "crop"; see `utils.resize_image`
    IMAGE_MIN_DIM = 800
    IMAGE_MAX_DIM = 1024
    IMAGE_MIN_SCALE = 0
    IMAGE_CHANNEL_COUNT = 3
    MEAN_PIXEL = np.array([123.7, 116.8, 103.9])  # RGB

    TRAIN_ROIS_PER_IMAGE = 200
    ROI_POSITIVE_RATIO = 0.33
    POOL_SIZE = 7
    MASK_POOL_SIZE = 14
    MASK_SHAPE = [28, 28]  # noqa: RUF012
    MAX_GT_INSTANCES = 100
    RPN_BBOX_STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])  # (dy, dx, log dh, log dw)
    BBOX_STD_DEV = np.array([0.1, 0.1, 0.2, 0.2])

    DETECTION_MAX_INSTANCES = 100
    DETECTION_MIN_CONFIDENCE = 0.7
    DETECTION_NMS_THRESHOLD = 0.3

    LEARNING_RATE = 0.001
    LEARNING_MOMENTUM = 0.9
    WEIGHT_DECAY = 0.0001
    LOSS_WEIGHTS = {  # noqa: RUF012
        "rpn_class_loss": 1.0,
        "rpn_bbox_loss": 1.0,
        "mrcnn_class_loss": 1.0,
        "mrcnn_bbox_loss": 1.0,
        "mrcnn_mask_loss": 1.0,
    }
    USE_RPN_ROIS = True
    TRAIN_BN = False  # None or True: batch norm uses and updates the statistics of the batch
    GRADIENT_CLIP_NORM = 5.0

    def __init__(self) -> None:
        self.BATCH_SIZE = self.IMAGES_PER_GPU * self.GPU_COUNT
        side = self.IMAGE_MIN_DIM if self.IMAGE_RESIZE_MODE == "crop" else self.IMAGE_MAX_DIM
        self.IMAGE_SHAPE = np.array([side, side, self.IMAGE_CHANNEL_COUNT])
        # Id, original shape, shape, window, scale, one flag per class; see `model.compose_image_meta`.
        self.IMAGE_META_SIZE = 1 + 3 + 3 + 4 + 1 + self.NUM_CLASSES

    def display(self) -> None:
        """Print every attribute, those of subclasses and instances too."""
        print("\nConfigurations:")
        for name in dir(self):
            value = getattr(self, name)
            if not name.startswith("__") and not callable(value):
                print(f"{name:30} {value}")
        print("\n")
