from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.normalize import (
    AffineBatchNorm,
    FrozenBatchNorm,
    NormalizePixels,
    PixelNorm,
    StoredNormalization,
    group_norm_by,
    make_norm,
)


def test_pixels_by_hand() -> None:
    layer = NormalizePixels(PixelNorm(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0)))
    out = layer(np.array([[[[10, 24, 40], [12, 20, 25]]]], np.uint8))
    np.testing.assert_allclose(out, [[[[0, 1, 2], [1, 0, -1]]]])


def test_bgr_reverses_after_normalizing() -> None:
    layer = NormalizePixels(PixelNorm(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0), bgr=True))
    np.testing.assert_allclose(layer(np.array([[[[10, 24, 40]]]], np.uint8))[0, 0, 0], [2, 1, 0])


def test_padding_is_zero_whatever_it_held() -> None:
    image = np.full((2, 4, 5, 3), 200, np.uint8)
    out = NormalizePixels()(image, np.array([[1, 0, 3, 4], [0, 0, 4, 5]], np.float32)).numpy()
    assert (out[0, :1] == 0).all() and (out[0, 3:] == 0).all() and (out[0, :, 4:] == 0).all()
    assert (out[0, 1:3, :4] != 0).all() and (out[1] != 0).all()
    assert (NormalizePixels()(image).numpy() != 0).all()


def test_pixels_keep_precision_under_mixed_precision() -> None:
    layer = NormalizePixels(PixelNorm(mean=(127.5,), std=(255.0,)), dtype="mixed_float16")
    out = layer(np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1) + 0.01)
    assert out.dtype == tf.float16
    expected = (np.arange(256, dtype=np.float32) + np.float32(0.01) - 127.5) / 255
    np.testing.assert_array_equal(out.numpy().ravel(), expected.astype(np.float16))


def test_wrong_number_of_channels_is_named() -> None:
    with pytest.raises(ValueError, match="4 channels but the pixel mean has 3"):
        NormalizePixels()(np.zeros((1, 2, 2, 4), np.uint8))
    with pytest.raises(ConfigError, match="3 values in mean but 1 in std"):
        PixelNorm(std=(1.0,))
    with pytest.raises(ConfigError, match="positive"):
        PixelNorm(mean=(1.0,), std=(0.0,))


def _set(layer: keras.layers.Layer, rng: np.random.Generator) -> list[np.ndarray]:
    values = [rng.uniform(0.5, 1.5, 6).astype(np.float32) for _ in range(4)]
    for name, value in zip(("gamma", "beta", "moving_mean", "moving_variance"), values, strict=True):
        getattr(layer, name).assign(value)
    return values


def test_frozen_batch_norm_is_batch_norm_at_inference() -> None:
    rng = np.random.default_rng(0)
    layer = FrozenBatchNorm(1e-3)
    layer.build((None, 6))
    gamma, beta, mean, variance = _set(layer, rng)
    x = rng.normal(size=(3, 6)).astype(np.float32)
    expected = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_frozen_batch_norm_never_trains() -> None:
    layer = FrozenBatchNorm()
    layer.build((None, 6))
    layer.trainable = False
    layer.trainable = True
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 4


@pytest.mark.parametrize("kind", ["frozen_bn", "eval_bn", "affine_bn", "bn", "sync_bn", "gn"])
def test_make_norm_starts_as_the_plain_function(kind: str) -> None:
    layer = make_norm(kind, 1e-5, "n")
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 4, 64)).astype(np.float32)
    out = np.asarray(layer(x))
    if kind == "gn":  # 32 groups of two channels, statistics per image
        groups = x.reshape(2, 16, 32, 2).transpose(0, 2, 1, 3).reshape(2, 32, -1)
        mean, std = groups.mean(-1), np.sqrt(groups.var(-1) + 1e-5)
        x = (x - mean.repeat(2, -1)[:, None, None]) / std.repeat(2, -1)[:, None, None]
        np.testing.assert_allclose(out, x, atol=1e-4)
    else:
        np.testing.assert_allclose(out, x / np.sqrt(1 + 1e-5), rtol=1e-5)


def test_eval_batch_norm_trains_scale_and_shift_only() -> None:
    layer = make_norm("eval_bn", 1e-5, "n")
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 4, 8)).astype(np.float32)
    before = np.asarray(layer(x))
    assert [w.name for w in layer.trainable_weights] == ["gamma", "beta"]
    np.testing.assert_array_equal(np.asarray(layer(x)), before)
    layer.moving_mean.assign(np.full(8, 3.0))
    layer.gamma.assign(np.full(8, 2.0))
    layer.beta.assign(np.arange(8.0))
    np.testing.assert_allclose(
        np.asarray(layer(x)), 2 * (x - 3) / np.sqrt(1 + 1e-5) + np.arange(8), rtol=1e-4, atol=1e-4
    )


def test_make_norm_none_and_unknown() -> None:
    assert make_norm("none") is None
    with pytest.raises(ValueError, match="layernorm"):
        make_norm("layernorm")


@pytest.mark.parametrize("channels, groups", [(64, 32), (24, 8), (16, 16), (40, 8), (7, 1)])
def test_group_norm_fits_any_number_of_channels(channels: int, groups: int) -> None:
    layer = make_norm("gn", channels=channels)
    assert layer.groups == groups
    assert layer(np.ones((1, 2, 2, channels), np.float32)).shape == (1, 2, 2, channels)


@pytest.mark.parametrize("shape", [(2, 5, 3, 12), (1, 1, 1, 12)])
def test_group_norm_is_keras_group_norm(shape):
    x = tf.constant(np.random.default_rng(0).normal(1.0, 2.0, shape), tf.float32)
    ours, theirs = make_norm("gn", channels=12), keras.layers.GroupNormalization(4, epsilon=1e-5)
    for layer in (ours, theirs):
        layer.build(shape)
        layer.set_weights([np.linspace(0.5, 1.5, 12), np.linspace(-1, 1, 12)])
    assert ours.groups == 4

    def value_and_gradients(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(0.3 * tf.pow(y, 3) + y)
        return [y, *tape.gradient(loss, [x, *[w.value for w in layer.trainable_weights]])]

    for mine, reference in zip(value_and_gradients(ours), value_and_gradients(theirs), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-4)


def test_a_format_puts_its_own_operator_in_place_of_group_norm():
    x = tf.ones((1, 2, 2, 12))
    layer = make_norm("gn", epsilon=1e-3, channels=12)
    layer.build(x.shape)
    asked = []

    def operator(x, gamma, beta, groups, epsilon):
        asked.append((x.shape.as_list(), gamma.shape.as_list(), beta.shape.as_list(), groups, epsilon))
        return 7.0 * x

    with group_norm_by(operator):
        assert np.unique(layer(x)).tolist() == [7.0]
    assert asked == [([1, 2, 2, 12], [12], [12], 4, 1e-3)]
    assert np.unique(layer(x)).tolist() == [0.0]


def test_group_norm_keeps_float32_accuracy_on_a_large_map():
    x = np.random.default_rng(0).normal(2.0, 1.0, (1, 160, 224, 32)).astype(np.float32)
    layer = make_norm("gn", channels=32)
    layer.build(x.shape)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((1, 2))) / np.sqrt(exact.var((1, 2)) + 1e-5)  # 32 groups of one channel each
    error = np.linalg.norm(np.asarray(layer(x), np.float64) - exact) / np.linalg.norm(exact)
    assert error < 1e-6


def test_affine_batch_norm_trains_all_but_its_statistics() -> None:
    rng = np.random.default_rng(0)
    layer = make_norm("affine_bn", 1e-3)
    layer.build((None, 6))
    gamma, beta, mean, variance = _set(layer, rng)
    bias = rng.normal(size=6).astype(np.float32)
    layer.bias.assign(bias)
    x = rng.normal(size=(3, 6)).astype(np.float32)
    expected = (x + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    assert [v.name for v in layer.trainable_variables] == ["gamma", "beta", "bias"]
    layer.trainable = False
    layer.trainable = True
    assert len(layer.trainable_variables) == 3 and len(layer.non_trainable_variables) == 2
    assert isinstance(type(layer).from_config(layer.get_config()), AffineBatchNorm)


def test_stored_statistics_count_when_they_change():
    layer = StoredNormalization(epsilon=1e-3)
    layer.build((None, None, None, 2))
    x = np.array([3.0, 5.0], np.float32).reshape(1, 1, 1, 2)
    np.testing.assert_array_equal(layer(x), x)
    layer.mean.assign([1.0, 2.0])
    layer.variance.assign([4.0, 0.0])
    np.testing.assert_allclose(np.ravel(layer(x)), [1.0, 3000.0], rtol=1e-6)
    assert not layer.trainable_weights and [w.name for w in layer.weights] == ["mean", "variance"]
    assert StoredNormalization.from_config(layer.get_config()).epsilon == 1e-3
