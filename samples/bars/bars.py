"""Bundles of parallel bars in any direction, drawn when they are asked for, and two small recipes to compare."""

import keras
import numpy as np

import mrcnn

SIDE = 96  # pixels of an image


class Bars(mrcnn.Dataset):
    """Images of bars; each has its number as its seed."""

    def __init__(self, first_seed, count):
        super().__init__()
        self.add_class("bars", 1, "bar")
        for seed in range(first_seed, first_seed + count):
            self.add_image("bars", image_id=seed, path=None, width=SIDE, height=SIDE)

    def load_image(self, index):
        return draw_image(self.image_ids[index])[0]

    def load_mask(self, index):
        masks = draw_image(self.image_ids[index])[1]
        return masks, np.ones(masks.shape[-1], np.int32)


def draw_image(seed):
    """A random image, the same for the same seed.

    Returns:
        (u8[SIDE, SIDE, 3], bool[SIDE, SIDE, n] what can be seen of each bar).
    """
    rng = np.random.default_rng(seed)
    image = rng.normal(90, 12, (SIDE, SIDE, 3))
    masks = []
    for _ in range(rng.integers(1, 3)):
        center, angle = rng.uniform(0.25 * SIDE, 0.75 * SIDE, 2), rng.uniform(0, np.pi)
        thick, long, number = rng.uniform(4, 8), rng.uniform(30, 56), rng.integers(1, 5)
        across, along = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        for place in range(number):
            shifted = center + across * (place - (number - 1) / 2) * (thick + rng.uniform(2, 5))
            offset = np.mgrid[:SIDE, :SIDE].transpose(1, 2, 0) + 0.5 - shifted
            bar = (np.abs(offset @ across) < thick / 2) & (np.abs(offset @ along) < long / 2)
            image[bar] = rng.uniform(140, 250, 3) * rng.uniform(0.8, 1)
            masks = [mask & ~bar for mask in masks] + [bar]
    masks = [mask for mask in masks if mask.sum() > 40]
    return image.clip(0, 255).astype(np.uint8), np.stack(masks, axis=-1)


def backbone(image):
    """Maps of strides 4 to 32, a light network to be trained from nothing."""
    maps, x = [], keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(image)
    for width in (24, 48, 64, 64):
        x = keras.layers.Activation("relu")(keras.layers.GroupNormalization(8)(x))
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.Activation("relu")(keras.layers.GroupNormalization(8)(x))
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        maps.append(x)
    return maps


def recipe(rotated, images=16_000):
    """The same small network with rotated boxes, or with axis-aligned ones."""
    name = "rotated_mask_rcnn_r50_fpn" if rotated else "mask_rcnn_r50_fpn"
    return mrcnn.recipes.get(name).override(
        {
            "model.backbone": {"kind": "CallableConfig", "function": f"{__name__}:backbone"},
            "model.neck": {"kind": "FPNConfig", "channels": 48, "norm": "gn"},
            "model.rpn.channels": 48,
            "model.rpn.anchors.sizes": [[12], [20], [32], [48], [64]],
            "model.rpn.pre_nms_train": 200,
            "model.rpn.pre_nms_test": 200,
            "model.rpn.post_nms_train": 200,
            "model.rpn.post_nms_test": 100,
            "model.roi_sampler.num_rois": 48,
            "model.box_head.fc_dims": [128],
            "model.heads.0.num_foreground": 12,
            "model.heads.0.conv_dims": [48, 48],
            "model.heads.0.deconv_dim": 48,
            "model.input.short_side": SIDE,
            "model.input.long_side": SIDE,
            "data.flip_vertical": 0.5,
            "data.rotate90": 0.75,
            "data.mask_side": 56,
            "data.max_instances": 16,
            "train.batch_size": 8,
            "train.images": images,
            "train.optimizer": "adamw",
            "train.learning_rate": 2e-3,
            "train.weight_decay": 0.01,
            "train.schedule": "cosine",
            "train.warmup_images": 400,
            "train.clip_norm": 5.0,
        }
    )
