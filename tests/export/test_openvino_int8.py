"""Layers in 8 bits: which, and what they cost; on small graphs, and on a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.errors import InputError
from mrcnn.export.compare import INT8_ACCEPTED, compare
from mrcnn.export.errors import ExportError
from mrcnn.export.openvino import OpenVinoOptions, compile_options, export_openvino, load_openvino
from mrcnn.export.openvino_int8 import WEIGHT_LIMIT, layers_in_8_bits, measure, quantize
from mrcnn.inference import detect
from tests.tiny_model import noise_images

openvino = pytest.importorskip("openvino", reason="pip install 'mrcnn-keras[openvino]'")
ops = pytest.importorskip("openvino.opset15")

RNG = np.random.default_rng(0)


def conv(x, outputs, name, kernel=None):
    """A 1x1 convolution of 8 channels, random unless the kernel [outputs, 8] is given."""
    kernel = RNG.normal(size=(outputs, 8)) if kernel is None else kernel
    weights = ops.constant(kernel[:, :, None, None].astype(np.float32))
    layer = ops.convolution(x, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    layer.set_friendly_name(name)
    return layer


def network(middle):
    """An image of 8 channels, a first layer that hands it on, what `middle` makes of it, and a layer that predicts."""
    x = ops.parameter([-1, 8, -1, -1], np.float32, "x")
    x.output(0).set_names({"x"})
    last = conv(middle(conv(x, 8, "first", np.eye(8))), 2, "last")
    return openvino.Model([last.output(0)], [x])


def run(model, x):
    return next(iter(openvino.Core().compile_model(model, "CPU", compile_options())({"x": x}).values())).copy()


def names(model):
    return [layer.get_friendly_name() for layer in layers_in_8_bits(model)]


def test_the_first_layers_and_the_last_stay_float32():
    kernel = ops.constant(RNG.normal(size=(8, 1, 1, 1, 1)).astype(np.float32))

    def middle(x):
        for name in ("early", "late"):
            x = ops.group_convolution(x, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
            x.set_friendly_name(name)
            x = conv(x, 8, f"after {name}")
        return x

    assert names(network(middle)) == ["after early", "late", "after late"]


def test_a_layer_of_which_only_boxes_go_on_predicts():
    def middle(x):
        boxes = ops.reduce_mean(conv(x, 4, "boxes"), ops.constant(np.array([2, 3])))
        index = ops.constant(np.zeros(1, np.int32))
        return conv(ops.roi_align(conv(x, 8, "features"), boxes, index, 2, 2, 1, 1.0, "avg"), 8, "head")

    assert names(network(middle)) == ["features", "head"]


def test_ranges_and_means_are_those_of_the_images():
    model = network(lambda x: conv(x, 8, "middle"))
    images = [RNG.normal(size=(1, 8, 4, side)).astype(np.float32) for side in (4, 6)]
    (measured,) = measure(model, layers_in_8_bits(model), [{"x": image} for image in images])
    assert measured.low == pytest.approx(np.mean([image.min() for image in images]))
    assert measured.high == pytest.approx(np.mean([image.max() for image in images]))
    np.testing.assert_allclose(measured.mean, np.mean([image.mean((0, 2, 3)) for image in images], 0), atol=1e-6)


def rows(x):
    return ops.reshape(ops.transpose(x, ops.constant(np.array([0, 2, 3, 1]))), ops.constant(np.array([-1, 8])), False)


LAYERS = {
    "Convolution": ((8, 8, 1, 1), lambda x, w: ops.convolution(x, w, [1, 1], [0, 0], [0, 0], [1, 1])),
    "GroupConvolution": ((4, 2, 2, 1, 1), lambda x, w: ops.group_convolution(x, w, [1, 1], [0, 0], [0, 0], [1, 1])),
    "ConvolutionBackpropData": ((8, 8, 2, 2), lambda x, w: ops.convolution_backprop_data(x, w, [2, 2])),
    "MatMul": (
        (8, 8),
        lambda x, w: ops.reshape(ops.matmul(rows(x), w, False, True), ops.constant(np.array([-1, 8, 1, 1])), False),
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_rounded_weights_leave_the_mean_of_the_output_where_it_was(kind):
    """What has 256 values from 0 to 255 is not changed; the rest is linear, so rounded weights alone move the mean."""
    shape, make = LAYERS[kind]

    def middle(x):
        made = make(conv(x, 8, "second", np.eye(8)), ops.constant(weights))
        layer = made.input_value(0).get_node() if kind == "MatMul" else made
        layer.set_friendly_name("layer")
        return made

    weights = RNG.normal(size=shape).astype(np.float32)
    image = RNG.integers(0, 256, (1, 8, 6, 6)).astype(np.float32)
    image[0, 0, 0, :2] = 0, 255
    model = network(middle)
    expected = run(model, image)
    quantize(model, [{"x": image}])
    layer = next(node for node in model.get_ops() if node.get_friendly_name() == "layer")
    scaled = layer.input_value(1).get_node()
    integers = scaled.input_value(0).get_node().input_value(0).get_node()
    assert integers.data.dtype == np.int8 and np.abs(integers.data).max() == WEIGHT_LIMIT
    assert scaled.input_value(1).get_node().data.size == 8  # a scale for each output channel
    result = run(model, image)
    assert np.abs(result - expected).max() > 1.0  # of values up to some thousands
    axes = (0, 2, 3)
    np.testing.assert_allclose(result.mean(axes), expected.mean(axes), rtol=0, atol=1e-5 * np.abs(expected).max())


def test_group_norm_behind_8_bits_keeps_the_signal():
    """Made of sums and products it was lost: OpenVINO moved scales of single channels through their groups."""
    gamma, beta = (ops.constant(RNG.normal(size=8).astype(np.float32)) for _ in range(2))

    def middle(x):
        for i in range(3):
            kernel = RNG.normal(size=(8, 8)) * 10.0 ** RNG.uniform(-2, 2, (8, 1))  # scales that differ by channel
            x = ops.group_normalization(conv(x, 8, f"conv {i}", kernel), gamma, beta, 4, 1e-5)
        return x

    model = network(middle)
    image = RNG.normal(size=(1, 8, 32, 32)).astype(np.float32)
    expected = run(model, image)
    quantize(model, [{"x": image}])
    assert np.square(expected - run(model, image)).sum() < 1e-2 * np.square(expected).sum()


def test_scales_stay_on_their_axis():
    """OpenVINO 2026.4 moves those of channels on to another axis behind the first, and fails at the second."""
    tenth = ops.constant(np.linspace(0.1, 0.8, 8, dtype=np.float32))

    def middle(x):
        nhwc = ops.transpose(conv(conv(x, 8, "second"), 8, "third"), ops.constant(np.array([0, 2, 3, 1])))
        pairs = ops.unsqueeze(nhwc, ops.constant(np.array([2])))
        wide = ops.reshape(
            ops.tile(pairs, ops.constant(np.array([1, 1, 2, 1, 1]))), ops.constant(np.array([0, -1, 4, 8])), True
        )
        begin, end, step = (ops.constant(np.array(values)) for values in ([0, 0], [0, 4], [1, 1]))
        half = ops.strided_slice(ops.multiply(wide, tenth), begin, end, step, [1, 1], [1, 0], [], [], [1, 0])
        return ops.transpose(ops.concat([half, half], 3), ops.constant(np.array([0, 3, 1, 2])))

    model = network(middle)
    image = RNG.normal(size=(1, 8, 4, 4)).astype(np.float32)
    expected = run(model, image)
    quantize(model, [{"x": image}])
    assert np.square(expected - run(model, image)).sum() < 1e-3 * np.square(expected).sum()


@pytest.mark.parametrize(("images", "message"), [
    ([], "expected images to measure on, got none"),
    ([np.zeros((0, 8, 4, 4), np.float32)], "nothing is detected in any image given to measure on"),
])  # fmt: skip
def test_without_anything_to_measure_it_is_refused(images, message):
    with pytest.raises(ExportError, match=message):
        quantize(network(lambda x: conv(x, 8, "middle")), [{"x": image} for image in images])


@pytest.mark.parametrize(("options", "message"), [
    ({"int8": True}, r"int8 without calibration: .* need images .*mrcnn export --int8 --calibrate IMAGES"),
    ({"calibration": ("a.png",)}, "calibration without int8"),
])  # fmt: skip
def test_8_bits_and_images_belong_together(options, message):
    with pytest.raises(InputError, match=message):
        OpenVinoOptions(**options)


@pytest.mark.slow
def test_a_model_in_8_bits_is_a_quarter_of_the_size_and_close(model, exported_file, tmp_path):
    images = noise_images(6)
    # Masks of an untrained model lie close to a half everywhere, so that rounding tips more of their pixels.
    bounds = dataclasses.replace(INT8_ACCEPTED, unmatched=0.4, masks=0.4)
    small = export_openvino(model, tmp_path / "small.xml", int8=True, calibration=images, max_difference=bounds)
    size = exported_file("openvino").with_suffix(".bin").stat().st_size
    assert small.with_suffix(".bin").stat().st_size < 0.35 * size
    nodes = openvino.Core().read_model(str(small)).get_ops()
    layers = [n for n in nodes if n.get_type_name() in LAYERS and n.input_value(1).get_node().get_type_name() in
              ("Constant", "Multiply")]  # fmt: skip
    in_float32 = sorted(
        tuple(layer.input_value(1).get_shape())
        for layer in layers
        if layer.input_value(0).get_node().get_type_name() != "FakeQuantize"
    )
    levels = len(model.config.rpn.levels)
    assert in_float32 == sorted([
        (32, 3, 3, 3), (32, 1, 1, 3, 3),  # the stem and what follows it
        *[(3, 32, 1, 1), (12, 32, 1, 1)] * levels, (3, 64), (8, 64), (2, 16, 1, 1),  # RPN, box head, mask head
    ])  # fmt: skip
    difference = compare(
        detect(model, images, score_threshold=None), detect(load_openvino(small), images, score_threshold=None)
    )
    assert difference.detections > 10 and difference.scores > 0.0
    assert not difference.beyond(bounds)


@pytest.mark.slow
def test_the_shipped_model_keeps_its_ap(tmp_path):
    """In float32 masks have 0.626 and boxes 0.599 (docs/export.md)."""
    folder = Path(__file__).parents[2] / "samples/nuclei"
    dataset = mrcnn.load_coco(folder / "images/annotations.json", folder / "images")
    images = mrcnn.list_images(folder / "images")
    path = export_openvino(mrcnn.load_model(folder / "run"), tmp_path / "m.xml", int8=True, calibration=images)
    result = mrcnn.evaluate(load_openvino(path), dataset)
    assert result["mask/AP"] > 0.626 - 0.01
    assert result["box/AP"] > 0.599 - 0.01
