"""Layouts: what a foreign layer computes with its array, ours computes with the converted one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.weights.name_map import Conversion, Converted, convert_all, lone_conv
from mrcnn.weights.network import Network
from tests.reference.convolution import conv2d, conv_transpose2d

RNG = np.random.default_rng(0)


def network(num_classes: int = 3, **overrides) -> Network:
    """Of the fields that a conversion asks for; box_head__pool__size is box_head.pool.size."""
    fields = {path.replace("__", "."): value for path, value in overrides.items()}
    backbone = {"backbone.norm": "frozen_bn", "backbone.epsilon": 1e-5}
    return Network("detectron2", {"num_classes": num_classes, "box_head.pool.size": 7, **backbone, **fields})


def converted(name: str, array: np.ndarray, background: str = "last", **fields) -> np.ndarray:
    arrays = convert_all({"theirs": array}, {name: "theirs"}, network(**fields), background, "$^")
    result = np.asarray(arrays[name])
    assert arrays[name].shape == result.shape
    assert result.dtype == np.float32
    return result


def test_convolution() -> None:
    kernel = RNG.normal(size=(5, 4, 3, 3)).astype(np.float32)  # out, in, h, w
    image = RNG.normal(size=(4, 6, 7)).astype(np.float32)  # channels first
    ours = tf.nn.conv2d(image.transpose(1, 2, 0)[None], converted("fpn/output2/kernel", kernel), 1, "SAME")[0]
    np.testing.assert_allclose(ours.numpy().transpose(2, 0, 1), conv2d(image, kernel, pad=1), atol=1e-5)


@pytest.mark.parametrize(("side", "pad"), [(2, 0), (4, 1)])
def test_transposed_convolution(side: int, pad: int) -> None:
    kernel = RNG.normal(size=(4, 5, side, side)).astype(np.float32)  # in, out, h, w
    image = RNG.normal(size=(4, 3, 6)).astype(np.float32)
    ours = tf.nn.conv2d_transpose(
        image.transpose(1, 2, 0)[None], converted("mask_head/deconv/kernel", kernel), [1, 6, 12, 5], 2, "SAME"
    )[0]
    expected = conv_transpose2d(image, kernel, stride=2, pad=pad)
    np.testing.assert_allclose(ours.numpy().transpose(2, 0, 1), expected, atol=1e-5)


def test_first_dense_layer_sees_channels_last() -> None:
    weight = RNG.normal(size=(5, 4 * 2 * 2)).astype(np.float32)
    roi = RNG.normal(size=(4, 2, 2)).astype(np.float32)  # channels first
    kernel = converted("box_head/fc1/kernel", weight, box_head__pool__size=2)
    np.testing.assert_allclose(roi.transpose(1, 2, 0).reshape(-1) @ kernel, weight @ roi.reshape(-1), atol=1e-5)


def test_later_dense_layers_are_transposed() -> None:
    weight = RNG.normal(size=(5, 16)).astype(np.float32)
    np.testing.assert_array_equal(converted("box_head/fc2/kernel", weight), weight.T)


def test_background_comes_first() -> None:
    weight = np.arange(8, dtype=np.float32).reshape(4, 2)  # 3 things and background, 2 features
    last = converted("box_head/class_logits/kernel", weight)
    np.testing.assert_array_equal(last, [[6, 0, 2, 4], [7, 1, 3, 5]])
    np.testing.assert_array_equal(converted("box_head/class_logits/kernel", weight, "first"), weight.T)
    bias = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(converted("box_head/stage2/class_logits/bias", bias), [3, 0, 1, 2])


def test_box_deltas_are_ordered_by_coordinate_then_class() -> None:
    theirs = np.array([10, 11, 12, 13, 20, 21, 22, 23], np.float32)  # x y w h of two classes
    ours = [11, 21, 10, 20, 13, 23, 12, 22]  # y of both, x of both, height, width
    np.testing.assert_array_equal(converted("box_head/deltas/bias", theirs), ours)
    with_background = np.concatenate([np.full(4, -1, np.float32), theirs])
    np.testing.assert_array_equal(converted("box_head/deltas/bias", with_background, "first"), ours)
    kernel = np.stack([theirs, 100 + theirs], 1)  # 8 outputs, 2 features
    np.testing.assert_array_equal(converted("box_head/deltas/kernel", kernel), [ours, 100 + np.array(ours)])


def test_class_agnostic_box_deltas() -> None:
    theirs = np.array([0, 1, 2, 3], np.float32)
    np.testing.assert_array_equal(converted("box_head/stage3/deltas/bias", theirs), [1, 0, 3, 2])


def test_rpn_deltas_keep_their_anchors() -> None:
    theirs = np.array([10, 11, 12, 13, 20, 21, 22, 23], np.float32)  # x y w h of two anchors
    np.testing.assert_array_equal(converted("rpn/deltas/bias", theirs), [11, 10, 13, 12, 21, 20, 23, 22])
    kernel = RNG.normal(size=(8, 5, 1, 1)).astype(np.float32)
    ours = converted("rpn/deltas/kernel", kernel)
    np.testing.assert_array_equal(ours[0, 0, :, 4], kernel[5, :, 0, 0])


def test_mask_of_background_is_dropped_unless_there_is_one_mask_for_all() -> None:
    bias = np.arange(4, dtype=np.float32)
    head = {"mask_head__class_agnostic": False}
    np.testing.assert_array_equal(converted("mask_head/mask_logits/bias", bias, "first", **head), [1, 2, 3])
    np.testing.assert_array_equal(converted("mask_head/mask_logits/bias", bias, "last", **head), bias)
    head = {"mask_head__class_agnostic": True}
    np.testing.assert_array_equal(converted("mask_head/mask_logits/bias", bias[:1], "first", **head), [0])


def test_scale_and_shift_get_statistics_that_change_nothing() -> None:
    gamma = np.array([2, 3], np.float32)
    ours = {"backbone/stem_conv1/norm/gamma": "s", "backbone/stem_conv1/norm/beta": "b"}
    arrays = convert_all({"s": gamma, "b": gamma}, ours, network(), "first", "$^")
    mean, variance = (np.asarray(arrays[f"backbone/stem_conv1/norm/moving_{v}"]) for v in ("mean", "variance"))
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_allclose(1 / np.sqrt(variance + 1e-5), 1, rtol=1e-7)


def test_half_precision_is_widened_only_when_asked_for() -> None:
    arrays = convert_all({"w": np.ones((2, 3), np.float16)}, {"box_head/fc2/kernel": "w"}, network(), "last", "$^")
    assert np.asarray(arrays["box_head/fc2/kernel"]).dtype == np.float32


def test_names_back_to_the_file() -> None:
    arrays = {"a": np.zeros(1), "b": np.zeros(2), "b_momentum": np.zeros(2), "c": np.zeros(3)}
    converted = Converted(arrays, {"ours": Conversion(("a",), lambda x: x)}, "_momentum$")
    assert converted.source_of("ours") == ("a",)
    assert converted.source_of("unknown") == ()
    assert converted.unused == ("b", "c")
    assert list(converted) == ["ours"]
    assert len(converted) == 1


def test_a_lone_convolution_has_no_number() -> None:
    assert lone_conv({"rpn/conv1/kernel": "x"}, "rpn/conv") == {"rpn/conv/kernel": "x"}
    two = {"rpn/conv1/kernel": "x", "rpn/conv2/kernel": "y"}
    assert lone_conv(two, "rpn/conv") == two
