"""The pyramid of one map against loops over cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.necks.simple_feature_pyramid import SimpleFeaturePyramid, SimpleFeaturePyramidConfig

WIDTH = 8


def _build(config: SimpleFeaturePyramidConfig) -> tuple[SimpleFeaturePyramid, dict[str, np.ndarray]]:
    neck = config.build({"c4": WIDTH}, {"c4": 16})
    rng = np.random.default_rng(1)
    for weight in neck.weights:
        weight.assign(rng.normal(size=weight.shape))
    return neck, {w.path.removeprefix("fpn/"): w.numpy().astype(np.float64) for w in neck.weights}


def _slow(x: np.ndarray, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    def norm(x, name):
        center = x - x.mean(-1, keepdims=True)
        scaled = center / np.sqrt((center**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    def enlarge(x, name):
        kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]  # [2, 2, out, in]
        out = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2], kernel.shape[2]))
        for i in (0, 1):
            for j in (0, 1):
                out[:, i::2, j::2] = x @ kernel[i, j].T + bias
        return out

    def convolve(x, name):
        padded, out = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 0.0
        for i in range(3):
            for j in range(3):
                part = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
                out = out + part @ weights[f"{name}/kernel"][i, j]
        return out

    finer = norm(enlarge(x, "enlarge2_first"), "enlarge2_norm")
    finer = finer * 0.5 * (1 + np.vectorize(math.erf)(finer / math.sqrt(2)))
    height, width = x.shape[1:3]
    halves = [[x[:, i : i + 2, j : j + 2].max((1, 2)) for j in range(0, width, 2)] for i in range(0, height, 2)]
    scaled = {
        "2": enlarge(finer, "enlarge2_second"),
        "3": enlarge(x, "enlarge3"),
        "4": x,
        "5": np.array(halves).transpose(2, 0, 1, 3),
    }
    levels = {}
    for number, values in scaled.items():
        lateral = norm(values @ weights[f"lateral{number}/kernel"][0, 0], f"lateral{number}/norm")
        levels[f"p{number}"] = norm(convolve(lateral, f"output{number}"), f"output{number}/norm")
    return levels | {"p6": levels["p5"][:, ::2, ::2]}


@pytest.mark.parametrize("height, width", [(4, 6), (3, 1)])
def test_against_loops(rng, height, width) -> None:
    neck, weights = _build(SimpleFeaturePyramidConfig(channels=4))
    x = rng.normal(size=(2, height, width, WIDTH))
    levels = neck({"c4": tf.constant(x, tf.float32)})
    shapes = neck.compute_output_shape({"c4": (2, height, width, WIDTH)})
    for name, expected in _slow(x, weights).items():
        np.testing.assert_allclose(levels[name], expected, rtol=1e-3, atol=1e-3)
        assert shapes[name] == expected.shape
    assert list(levels) == list(neck.strides) == ["p2", "p3", "p4", "p5", "p6"]


def test_gradient_reaches_every_weight() -> None:
    neck, _ = _build(SimpleFeaturePyramidConfig(channels=4))
    with tf.GradientTape() as tape:
        levels = neck({"c4": tf.random.stateless_normal([1, 4, 4, WIDTH], [0, 1])})
        loss = tf.add_n([tf.reduce_sum(level**2 * level) for level in levels.values()])
    for gradient in tape.gradient(loss, [v.value for v in neck.trainable_variables]):
        assert gradient is not None and float(tf.reduce_max(tf.abs(gradient))) > 0


def test_without_norm_convolutions_have_a_bias() -> None:
    neck, weights = _build(SimpleFeaturePyramidConfig(channels=4, norm="none"))
    assert "lateral2/bias" in weights and not any("norm" in name for name in weights)
    assert neck({"c4": tf.zeros([0, 2, 2, WIDTH])})["p2"].shape == (0, 8, 8, 4)


def test_comes_back_from_its_config() -> None:
    neck, _ = _build(SimpleFeaturePyramidConfig(channels=4))
    again = SimpleFeaturePyramid.from_config(neck.get_config())
    again.build()
    assert [w.path for w in again.weights] == [w.path for w in neck.weights]


@pytest.mark.parametrize(
    "channels, strides, message",
    [
        ({"c5": 8}, {"c5": 32}, "c4; the backbone has c5"),
        ({"c4": 8}, {"c4": 8}, "stride 16, c4 has 8"),
        ({"c4": 6}, {"c4": 16}, "multiple of 4 channels, c4 has 6"),
    ],
)
def test_maps_that_do_not_fit(channels, strides, message) -> None:
    with pytest.raises(ConfigError, match=message):
        SimpleFeaturePyramidConfig().build(channels, strides)
