from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.necks.fpn import FPN, FPNConfig

IN = {"c2": 3, "c3": 4, "c4": 5, "c5": 6}
STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


def _features(height: int, width: int, batch: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sides = {level: (-(-height // s), -(-width // s)) for level, s in zip(IN, (4, 8, 16, 32), strict=True)}
    return {level: rng.normal(size=(batch, *sides[level], c)).astype(np.float32) for level, c in IN.items()}


def _slow_fpn(features: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Loops over cells, coarse to fine."""
    out, above = {}, None
    for level in ("c5", "c4", "c3", "c2"):
        n = level[1]
        merged = features[level] @ weights[f"lateral{n}/kernel"][0, 0] + weights[f"lateral{n}/bias"]
        _, height, width, _channels = merged.shape
        if above is not None:
            for y in range(height):
                for x in range(width):
                    merged[:, y, x] += above[:, y // 2, x // 2]
        padded = np.pad(merged, ((0, 0), (1, 1), (1, 1), (0, 0)))
        result = np.zeros_like(merged)
        for y in range(height):
            for x in range(width):
                window = padded[:, y : y + 3, x : x + 3]
                result[:, y, x] = np.einsum("bklc,klco->bo", window, weights[f"output{n}/kernel"])
        out[f"p{n}"] = result + weights[f"output{n}/bias"]
        above = merged
    return out


def _build(config: FPNConfig) -> tuple[FPN, dict[str, np.ndarray]]:
    fpn = config.build(IN, STRIDES)
    rng = np.random.default_rng(1)
    for weight in fpn.weights:
        weight.assign(rng.normal(size=weight.shape))
    return fpn, {w.path.removeprefix("fpn/"): w.numpy() for w in fpn.weights}


@pytest.mark.parametrize("height, width", [(64, 96), (65, 35), (1, 1)])
def test_against_loops_even_and_odd(height: int, width: int) -> None:
    fpn, weights = _build(FPNConfig(channels=8))
    features = _features(height, width)
    levels = fpn(features)
    assert list(levels) == ["p2", "p3", "p4", "p5", "p6"]
    for name, expected in _slow_fpn(features, weights).items():
        np.testing.assert_allclose(levels[name], expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(levels["p6"], levels["p5"].numpy()[:, ::2, ::2])
    for name, stride in fpn.strides.items():
        assert levels[name].shape == (2, -(-height // stride), -(-width // stride), 8)


def test_gradient_reaches_every_weight_but_none_is_lost_above() -> None:
    fpn, _ = _build(FPNConfig(channels=8))
    features = {k: tf.constant(v) for k, v in _features(64, 64).items()}
    with tf.GradientTape() as tape:
        tape.watch(features)
        levels = fpn(features)
        loss = tf.reduce_sum(levels["p2"] ** 2)
    gradients = tape.gradient(loss, features)
    assert all(float(tf.reduce_max(tf.abs(g))) > 0 for g in gradients.values())  # p2 sees every map above it


def test_norm_replaces_bias() -> None:
    fpn = FPNConfig(channels=32, norm="gn").build(IN, STRIDES)
    names = {w.path.split("/")[-1] for w in fpn.weights}
    assert names == {"kernel", "gamma", "beta"} and len(fpn.weights) == 24


def test_two_maps_of_one_stride() -> None:
    config = FPNConfig(channels=8, levels=("c5", "c6"))
    fpn = config.build({"c5": 6, "c6": 7}, {"c5": 32, "c6": 32})
    rng = np.random.default_rng(2)
    for weight in fpn.weights:
        weight.assign(rng.normal(size=weight.shape))
    features = {"c5": rng.normal(size=(1, 3, 5, 6)).astype("f"), "c6": rng.normal(size=(1, 3, 5, 7)).astype("f")}
    levels = fpn(features)
    assert fpn.strides == {"p5": 32, "p6": 32, "p7": 64}
    assert list(levels) == ["p5", "p6", "p7"]
    weights = {w.path.removeprefix("fpn/"): w.numpy() for w in fpn.weights}
    top = features["c6"] @ weights["lateral6/kernel"][0, 0] + weights["lateral6/bias"]
    merged = features["c5"] @ weights["lateral5/kernel"][0, 0] + weights["lateral5/bias"] + top  # cell by cell
    for name, sums in (("5", merged), ("6", top)):
        cell = np.einsum("klc,klco->o", sums[0, 0:3, 1:4], weights[f"output{name}/kernel"])
        np.testing.assert_allclose(
            levels[f"p{name}"][0, 1, 2], cell + weights[f"output{name}/bias"], rtol=1e-4, atol=1e-4
        )
    np.testing.assert_array_equal(levels["p7"], levels["p6"].numpy()[:, ::2, ::2])
    shapes = fpn.compute_output_shape({level: value.shape for level, value in features.items()})
    assert shapes == {level: tuple(value.shape) for level, value in levels.items()}


@pytest.mark.parametrize("levels", [("c2", "c4"), ("c6", "c5"), ("p5",), ()])
def test_levels_that_are_no_pyramid_are_refused(levels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="neck"):
        FPNConfig(levels=levels).build({**IN, "c6": 3, "p5": 1}, {**STRIDES, "c6": 64, "p5": 32})
