from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.export.resize import canvas_padding, resize_image, resized_shape
from mrcnn.ops import resize as host
from mrcnn.preprocessing import InputConfig, preprocess
from mrcnn.weights.profiles import PROFILES

spec = tf.TensorSpec([], tf.int32)
in_graph = tf.function(resize_image, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8), spec, spec])


def test_every_byte_equals_the_host_resize():
    rng = np.random.default_rng(0)
    for _ in range(60):
        h, w, new_h, new_w = rng.integers(1, 120, 4)
        images = rng.integers(0, 256, (2, h, w, 3)).astype(np.uint8)
        expected = np.stack([host.resize_image(image, (new_h, new_w)) for image in images])
        assert np.array_equal(in_graph(images, new_h, new_w), expected), (h, w, new_h, new_w)


@pytest.mark.parametrize("interpolation", ["linear", "linear_u8", "linear_black_u8"])
def test_other_interpolations_equal_the_hosts(interpolation):
    run = tf.function(lambda i, h, w: resize_image(i, h, w, interpolation), input_signature=in_graph.input_signature)
    rng = np.random.default_rng(2)
    # Ratios of 5/4, 5/2 and 2 meet whole gray levels exactly, which are cut off to the same side.
    common = [(9, 12, 9, 12), (9, 12, 20, 12), (40, 64, 32, 51), (60, 40, 24, 16), (20, 30, 40, 60)]
    for sizes in [*common, *rng.integers(1, 60, (20, 4)).tolist()]:
        h, w, new_h, new_w = sizes
        images = rng.integers(0, 256, (2, h, w, 3)).astype(np.uint8)
        resized = run(images, new_h, new_w).numpy()
        expected = np.stack([host.resize_image(image, (new_h, new_w), interpolation) for image in images])
        assert resized.dtype == expected.dtype
        atol = 0 if resized.dtype == np.uint8 else 1e-4
        np.testing.assert_allclose(resized, expected, atol=atol, err_msg=str(sizes))


@pytest.mark.parametrize("name", [*PROFILES, "mrcnn", "center on a divisor", "on a square"])
def test_the_models_input_is_the_hosts(name):
    """Every rule together, for each family of weights: size, pixels, canvas and position."""
    others = {
        "mrcnn": InputConfig(),
        "center on a divisor": InputConfig(padding="center", rounding="floor"),
        "on a square": InputConfig(canvas="square", square_side=120),
    }
    config = PROFILES[name].input if name in PROFILES else others[name]
    config = dataclasses.replace(config, short_side=48, long_side=80)
    rng = np.random.default_rng(3)
    for h, w in [(111, 300), (300, 87), (64, 96), (48, 60), (1, 1), *rng.integers(1, 200, (6, 2)).tolist()]:
        image = rng.integers(0, 256, (h, w, 3)).astype(np.uint8)
        rule = (config.short_side, config.long_side, config.rounding, config.never_shrink_for_short)
        content = resized_shape(tf.constant(h), tf.constant(w), *rule)
        padding = [tf.stack(canvas_padding(side, config)) for side in content]
        resized = resize_image(image[np.newaxis], *content, config.interpolation)[0]
        canvas = tf.pad(resized, [*padding, [0, 0]]).numpy()
        expected = preprocess(image, config)
        assert tuple(int(side) for side in content) == expected.content_shape
        assert tuple(int(before) for before, _ in padding) == expected.origin
        assert canvas.dtype == expected.image.dtype
        np.testing.assert_allclose(canvas, expected.image, atol=1e-4 if canvas.dtype == np.float32 else 0)


@pytest.mark.parametrize("rounding", ["floor", "half_even"])
@pytest.mark.parametrize("never_shrink", [True, False])
def test_shapes_by_other_rules_equal_the_hosts(rounding, never_shrink):
    rng = np.random.default_rng(1)
    for h, w in [(1, 1), (1, 4000), (4, 10), (480, 640), *rng.integers(1, 1500, (60, 2)).tolist()]:
        rule = (320, 512, rounding, never_shrink)
        new_h, new_w = resized_shape(tf.constant(h), tf.constant(w), *rule)
        assert (int(new_h), int(new_w)) == host.resized_shape(h, w, *rule), (h, w)


@pytest.mark.parametrize("limits", [(800, 1333), (64, 96), (320, 320), (1, 10000)])
def test_shapes_equal_the_hosts(limits):
    rng = np.random.default_rng(1)
    for h, w in [(1, 1), (1, 4000), (800, 1333), *rng.integers(1, 4000, (300, 2)).tolist()]:
        new_h, new_w = resized_shape(tf.constant(h), tf.constant(w), *limits)
        assert (int(new_h), int(new_w)) == host.resized_shape(h, w, *limits), (h, w)
