"""A real Mask R-CNN, small, untrained, and scaled so that it finds things in noise and nothing in a blank image."""

from __future__ import annotations

import keras
import numpy as np

from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import InputConfig, MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig


def tiny_config() -> MaskRCNNConfig:
    """Two classes, images of 96 to 160 pixels, 20 detections."""
    return MaskRCNNConfig(
        num_classes=2,
        backbone=EfficientNetLiteConfig(),
        neck=FPNConfig(channels=32),
        rpn=RPNConfig(
            channels=32,
            anchors=AnchorConfig(sizes=((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))),
            pre_nms_test=100,
            post_nms_test=100,
        ),
        box_head=BoxHeadConfig(fc_dims=(64,), max_detections=20),
        heads=(MaskHeadConfig(conv_dims=(16,), deconv_dim=16),),
        input=InputConfig(short_side=96, long_side=160),
    )


def tiny_model(seed: int = 0) -> MaskRCNN:
    """The model of `tiny_config`."""
    keras.utils.set_random_seed(seed)
    model = MaskRCNN(tiny_config(), ["thing", "other"], [3, 8])
    logits = model.box_head.class_logits
    logits.kernel.assign(logits.kernel * 10.0)
    logits.bias.assign([4.0, 0.0, 0.0])  # what has no features is background
    return model


def blank_image(height: int, width: int) -> np.ndarray:
    """Mid-gray, which the network's input scaling takes to zero: it has no features at all."""
    return np.full((height, width, 3), 127, np.uint8)


def noise_images(num: int, seed: int = 0, sides: tuple[int, int] = (60, 260)) -> list[np.ndarray]:
    """Coarse colored noise, u8[h, w, 3] of mixed sizes."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(num):
        h, w = rng.integers(*sides, 2)
        coarse = rng.integers(0, 256, (h // 12 + 1, w // 12 + 1, 3)).astype(np.uint8)
        images.append(np.repeat(np.repeat(coarse, 12, 0), 12, 1)[:h, :w])
    return images
