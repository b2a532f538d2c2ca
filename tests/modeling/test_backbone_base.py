from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import BackboneConfig, freeze_stages, frozen_layers
from mrcnn.modeling.layers import ConvNorm, _large_depthwise


def _slow_conv(x: np.ndarray, kernel: np.ndarray, stride: int, before: int, depthwise: bool) -> np.ndarray:
    """Plain loops over output cells; zero padding `before` on top and left, enough below and right."""
    batch, height, width, _ = x.shape
    k = kernel.shape[0]
    out_h, out_w = -(-height // stride), -(-width // stride)
    padded = np.pad(x, ((0, 0), (before, k + stride), (before, k + stride), (0, 0)))
    out = np.zeros((batch, out_h, out_w, kernel.shape[2] if depthwise else kernel.shape[3]))
    for i, j in itertools.product(range(out_h), range(out_w)):
        window = padded[:, i * stride : i * stride + k, j * stride : j * stride + k]
        out[:, i, j] = np.einsum(
            "bklc,klc->bc" if depthwise else "bklc,klco->bo", window, kernel.squeeze(-1) if depthwise else kernel
        )
    return out


def _randomise(layer: ConvNorm, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) if "var" in weight.name else rng.normal(size=weight.shape))


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernel_size, stride", [(1, 1), (1, 2), (3, 1), (3, 2), (5, 2), (7, 2)])
@pytest.mark.parametrize("height, width", [(8, 9), (7, 6)])
def test_symmetric_padding_against_loops(
    depthwise: bool, kernel_size: int, stride: int, height: int, width: int
) -> None:
    if depthwise and kernel_size == 1:
        pytest.skip("no such layer")
    layer = ConvNorm(None if depthwise else 4, kernel_size, stride, depthwise=depthwise)
    x = np.random.default_rng(1).normal(size=(2, height, width, 3)).astype(np.float32)
    layer.build(x.shape)
    _randomise(layer)
    expected = _slow_conv(x, layer.kernel.numpy(), stride, (kernel_size - 1) // 2, depthwise) + layer.bias.numpy()
    out = layer(x)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    assert layer.compute_output_shape(x.shape) == out.shape


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernel_size, side, before", [(3, 8, 0), (3, 7, 1), (5, 8, 1), (5, 7, 2)])
def test_same_padding_against_loops(depthwise: bool, kernel_size: int, side: int, before: int) -> None:
    """At stride 2 an even side is padded less before than after."""
    layer = ConvNorm(None if depthwise else 4, kernel_size, 2, padding="same", depthwise=depthwise)
    x = np.random.default_rng(1).normal(size=(1, side, side, 3)).astype(np.float32)
    layer.build(x.shape)
    _randomise(layer)
    expected = _slow_conv(x, layer.kernel.numpy(), 2, before, depthwise) + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["none", "frozen_bn"])
def test_grouped_convolution_is_one_per_group(norm: str) -> None:
    """Two groups: the halves of the channels through layers of their own, side by side."""
    layer = ConvNorm(8, 3, 2, groups=2, norm=norm)
    x = np.random.default_rng(1).normal(size=(2, 6, 7, 6)).astype(np.float32)
    layer.build(x.shape)
    assert tuple(layer.kernel.shape) == (3, 3, 3, 8)
    _randomise(layer)
    halves = []
    for group in range(2):
        half = ConvNorm(4, 3, 2, norm=layer.norm_kind)
        half.build((2, 6, 7, 3))
        for weight, whole in zip(half.weights, layer.weights, strict=True):
            weight.assign(whole.numpy()[..., 4 * group : 4 * group + 4])
        halves.append(half(x[..., 3 * group : 3 * group + 3]))
    np.testing.assert_allclose(layer(x), np.concatenate(halves, -1), rtol=1e-4, atol=1e-5)


def test_dilated_convolution_is_one_with_holes_in_its_kernel() -> None:
    layer, holes = ConvNorm(4, 3, dilation=2), ConvNorm(4, 5)
    x = np.random.default_rng(1).normal(size=(2, 6, 7, 3)).astype(np.float32)
    for unit in (layer, holes):
        unit.build(x.shape)
    _randomise(layer)
    wide = np.zeros((5, 5, 3, 4), np.float32)
    wide[::2, ::2] = layer.kernel.numpy()
    holes.kernel.assign(wide)
    holes.bias.assign(layer.bias)
    np.testing.assert_allclose(layer(x), holes(x), rtol=1e-4, atol=1e-4)
    assert layer.compute_output_shape(x.shape) == (2, 6, 7, 4)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_folded_norm_is_norm_after_convolution(depthwise: bool, activation: str | None) -> None:
    """Same values and same kernel gradient as batch norm in inference mode."""
    arguments = {"depthwise": depthwise, "activation": activation, "epsilon": 1e-3}
    filters = None if depthwise else 5
    frozen = ConvNorm(filters, 3, norm="frozen_bn", **arguments)
    plain = ConvNorm(filters, 3, norm="bn", **arguments)
    x = tf.constant(np.random.default_rng(1).normal(size=(2, 6, 7, 3)).astype(np.float32) * 3)
    for layer in (frozen, plain):
        layer.build(x.shape)
        for seed, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance")):
            vector = getattr(layer.norm, name)
            vector.assign(np.random.default_rng(seed).uniform(0.5, 1.5, vector.shape))
        layer.kernel.assign(np.random.default_rng(9).normal(size=layer.kernel.shape))
    results = []
    for layer in (frozen, plain):
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = layer(x, training=False)
            loss = tf.reduce_sum(tf.square(out))
        results.append((out, *tape.gradient(loss, [layer.kernel.value, x])))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(np.abs(theirs).max()))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="filters"):
        ConvNorm(8, depthwise=True)
    with pytest.raises(ValueError, match="groups to divide the 8 filters, got 3"):
        ConvNorm(8, groups=3)
    with pytest.raises(ValueError, match="4 groups do not divide the 6 channels"):
        ConvNorm(8, groups=4).build((1, 4, 4, 6))
    with pytest.raises(ValueError, match="dilation 2 goes with stride 1"):
        ConvNorm(8, 3, 2, dilation=2)
    with pytest.raises(ValueError, match="gelu"):
        ConvNorm(8, activation="gelu")


def test_stage_of() -> None:
    stage_of = BackboneConfig().stage_of
    assert [stage_of(n) for n in ("stem_conv1", "stage2_block1_conv1", "stage5_x", "fpn", "stages")] == [
        1, 2, 5, None, None,
    ]  # fmt: skip


def _backbone(*names: str) -> keras.Model:
    image = x = keras.Input((None, None, 3))
    for name in names:
        x = keras.layers.Conv2D(2, 1, name=name)(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(image, {"c2": x})


def test_stages_that_the_config_does_not_know_are_not_frozen_in_silence() -> None:
    model = _backbone("entry", "block_a", "block_b")
    freeze_stages(model, BackboneConfig(freeze_at=0))
    with pytest.raises(ConfigError, match=r"no stage is known of 3 layers of 3, such as 'entry'; BackboneConfig.stage"):
        freeze_stages(model, BackboneConfig(freeze_at=2))
    half = _backbone("stem_conv", "stage2_a", "block_b")
    with pytest.raises(ConfigError, match="1 layers of 3, such as 'block_b'"):
        freeze_stages(half, BackboneConfig(freeze_at=2))
    with pytest.raises(ConfigError, match=r"no layer belongs to them; there are the stages \[3, 4\]"):
        freeze_stages(_backbone("stage3_a", "stage4_a"), BackboneConfig(freeze_at=2))
    assert all(layer.trainable for layer in (*model.layers, *half.layers))


def test_a_config_says_which_layers_belong_to_a_stage() -> None:
    class Lettered(BackboneConfig):
        abstract = True

        def stage_of(self, layer_name: str) -> int | None:
            return {"entry": 1, "block_a": 2, "block_b": 3}.get(layer_name)

    model = _backbone("entry", "block_a", "block_b")
    freeze_stages(model, Lettered(freeze_at=2))
    assert [layer.name for layer in model.layers if layer.weights and not layer.trainable] == ["entry", "block_a"]
    assert frozen_layers(model, Lettered(), 0) == []


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height, width", [(12, 9), (5, 8), (2, 1)])
@pytest.mark.parametrize("is_open", [False, True])
def test_large_depthwise_gradients_equal_the_stock_ones(stride: int, height: int, width: int, is_open: bool) -> None:
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, height, width, 4)).astype(np.float32))
    kernel = tf.constant(rng.normal(size=(5, 5, 4, 1)).astype(np.float32))
    spec = tf.TensorSpec((None, None, None, 4) if is_open else x.shape)

    def gradients(convolve: Callable[..., tf.Tensor], x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            out = convolve(x)
            loss = tf.reduce_sum(tf.square(out))
        return [out, *tape.gradient(loss, [x, kernel])]

    ours = tf.function(
        partial(gradients, lambda x: _large_depthwise(x, kernel, stride=stride)), input_signature=[spec]
    )(x)
    stock = gradients(lambda x: tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME"), x)
    for one, other in zip(ours, stock, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * float(np.abs(other).max()))


def test_large_depthwise_survives_export(tmp_path: Path) -> None:
    layer = ConvNorm(None, 5, 2, padding="same", depthwise=True, norm="frozen_bn", activation="relu6")
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 9, 8, 4)).astype(np.float32))
    expected = layer(x)
    module = tf.Module()
    module.layer = layer
    module.run = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec((None, None, None, 4))])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.run(x), expected, rtol=1e-5, atol=1e-6)
