"""Functions that make backbones, good and bad."""

from __future__ import annotations

import keras
import numpy as np

from tests.tiny_model import tiny_model  # noqa: F401 - a function that is not of this module

ASKED: list = []


def plain(image):
    """Maps of strides 2, 4, 8, 16 and 32."""
    maps = [keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="stem")(image)]
    x = keras.layers.BatchNormalization(name="stem_norm")(maps[0])
    for width in (8, 12, 16, 20):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        maps.append(x)
    return maps


def as_matterport(input_image, stage5=False, train_bn=None):
    ASKED.append((stage5, train_bn))
    return plain(input_image)


def with_anything(image, **options):
    ASKED.append(options)
    return {f"any{i}": value for i, value in enumerate(plain(image))}


def no_stride_4(image):
    return plain(image)[2:]


def nothing(image):
    return []


def a_vector(image):
    maps = plain(image)
    return [*maps[:4], keras.layers.GlobalAveragePooling2D()(maps[4])]


def a_number(image):
    return 5


def an_array(image):
    return [np.zeros((1, 8, 8, 3))]


def breaks(image):
    raise ValueError("no network today")


def other_strides(image):
    half = keras.layers.MaxPooling2D(2)(image)
    return [half, keras.layers.MaxPooling2D((2, 4))(half), keras.layers.MaxPooling2D(6)(image)]


def _hidden(image):
    return plain(image)
