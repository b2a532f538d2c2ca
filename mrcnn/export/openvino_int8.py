"""8 bits in OpenVINO's files: which layers, measured on what, written how.

A layer in 8 bits has integer weights, with one scale for each output channel, and an input rounded to 256 values. The
limits of that input are measured on images, and so is its mean, which tells by how much rounded weights move the
layer's output; the bias takes that back (Nagel et al., arXiv 1906.04721, section 4.2). OpenVINO multiplies the integers
where the CPU has instructions for it.

In float32 stay those that 8 bits cost most and save least: the layers that predict (after them no other follows, and
256 values are few for a box), the network's first convolution, a depthwise one right behind it, products of two
activations, and everything between layers: sums, norms, RoIAlign, boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mrcnn.export.errors import ExportError, require

WEIGHT_LIMIT = 63
"""Largest weight, of 127: CPUs without VNNI add two products of 8 bits in 16, which larger ones overflow."""

_OUTPUT_AXES = {"Convolution": (0,), "GroupConvolution": (0, 1), "ConvolutionBackpropData": (1,), "MatMul": (0,)}
"""Operators with weights -> the axes of these that are output channels."""


_RESHAPING = {"Broadcast", "Gather", "Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Tile", "Unsqueeze",
              "VariadicSplit"}  # fmt: skip
_LETS_SCALES_PASS = {"Add", "AvgPool", "Clamp", "Interpolate", "MaxPool", "Pad", "Relu", "Subtract", "Transpose"}
_SCALES = {*_OUTPUT_AXES, "Divide", "GroupNormalization", "MVN", "Multiply"}


class Statistics(NamedTuple):
    """Of a layer's input, over all images."""

    low: float  # mean of the images' minima
    high: float  # mean of their maxima
    mean: np.ndarray  # f32[input channels]


def quantize(model: Any, samples: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Put the layers of a model that bear it into 8 bits.

    Args:
        model: an `openvino.Model`; changed in place.
        samples: its inputs by name, for some images such as it will see.

    Raises:
        ExportError: there are no samples, or nothing is detected in any, so that heads have nothing to measure.
    """
    layers = layers_in_8_bits(model)
    statistics = measure(model, layers, samples)
    limited: dict[tuple[str, int], Any] = {}
    for layer, measured in zip(layers, statistics, strict=True):
        source = layer.input_value(0)
        key = source.get_node().get_friendly_name(), source.get_index()
        if key not in limited:
            limited[key] = _limit(source, measured)
        layer.input(0).replace_source_output(limited[key].output(0))
        _round_weights(layer, measured.mean)
    _hold_scales(model)
    model.validate_nodes_and_infer_types()


def layers_in_8_bits(model: Any) -> list[Any]:
    """The layers that `quantize` changes, those before others first; see the head of this module."""
    followers = _followers(model)
    followed = {name for _, names in followers.values() for name in names}
    first = {name for name in followers if name not in followed}
    after_first = {name for one in first for name in followers[one][1]}
    return [
        layer
        for name, (layer, names) in followers.items()
        if names and name not in first and not (name in after_first and layer.get_type_name() == "GroupConvolution")
    ]


def _followers(model: Any) -> dict[str, tuple[Any, set[str]]]:
    """Every layer with weights by its name, and the names of those that take what it puts out."""
    layers = {node.get_friendly_name(): node for node in model.get_ordered_ops() if _has_weights(node)}
    return {name: (layer, _next_layers(layer, layers)) for name, layer in layers.items()}


def _has_weights(node: Any) -> bool:
    kind = node.get_type_name()
    if kind not in _OUTPUT_AXES or node.input_value(1).get_node().get_type_name() != "Constant":
        return False
    return kind != "MatMul" or (not node.get_attributes()["transpose_a"] and node.get_attributes()["transpose_b"])


def _next_layers(layer: Any, layers: Mapping[str, Any]) -> set[str]:
    """By way of real numbers: not of indices, nor of boxes that RoIAlign pools features of."""
    result, seen, ahead = set(), set(), [layer]
    while ahead:
        for output in ahead.pop().outputs():
            if not output.get_element_type().is_real():
                continue
            for target in output.get_target_inputs():
                node = target.get_node()
                name = node.get_friendly_name()
                if node.get_type_name() == "ROIAlign" and target.get_index() != 0:
                    continue
                if name in layers:
                    result.add(name)
                elif name not in seen:
                    seen.add(name)
                    ahead.append(node)
    return result


def measure(model: Any, layers: list[Any], samples: Iterable[Mapping[str, np.ndarray]]) -> list[Statistics]:
    """Limits and mean of each layer's input.

    Raises:
        ExportError: see `quantize`.
    """
    import openvino.opset15 as ops

    from mrcnn.export.openvino import compile_options

    openvino = require("openvino", "openvino")
    twin = model.clone()
    copies = {node.get_friendly_name(): node for node in twin.get_ops()}
    reduced = []
    for layer in layers:
        x = copies[layer.get_friendly_name()].input_value(0)
        axes = list(range(x.get_partial_shape().rank.get_length()))
        channel = axes[-1] if layer.get_type_name() == "MatMul" else 1
        every, others = (ops.constant(np.array(some)) for some in (axes, [axis for axis in axes if axis != channel]))
        size = ops.reduce_prod(ops.shape_of(x), ops.constant(np.array([0])))
        reduced += [size, ops.reduce_min(x, every), ops.reduce_max(x, every), ops.reduce_mean(x, others)]
    measuring = openvino.Model([node.output(0) for node in reduced], twin.get_parameters())
    request = openvino.Core().compile_model(measuring, "CPU", compile_options()).create_infer_request()
    rows = [[value.copy() for value in request.infer(dict(sample)).values()] for sample in samples]
    if not rows:
        raise ExportError("8 bits: expected images to measure on, got none")
    return [_mean([row[i : i + 4] for row in rows]) for i in range(0, len(reduced), 4)]


def _mean(rows: list[list[np.ndarray]]) -> Statistics:
    """Of sizes, minima, maxima and means, a row for each image; where nothing is detected heads see nothing."""
    seen = [row[1:] for row in rows if row[0] > 0]
    if not seen:
        raise ExportError("8 bits: nothing is detected in any image given to measure on; expected images with objects")
    low, high, mean = (np.mean(values, axis=0) for values in zip(*seen, strict=True))
    return Statistics(float(low), float(high), mean)


def _limit(source: Any, measured: Statistics) -> Any:
    """The input rounded to 256 values, 0 among them; beyond the limits it is cut."""
    import openvino.opset15 as ops

    if measured.low >= 0:
        low, high = 0.0, max(measured.high, 1e-6)
    else:
        high = max(measured.high, -measured.low, 1e-6)
        low = -high * 128 / 127
    limits = [ops.constant(np.float32(value)) for value in (low, high)]
    return ops.fake_quantize(source, *limits, *limits, 256)


def _hold_scales(model: Any) -> None:
    """Keep scales of single channels from what gives a tensor other axes.

    OpenVINO moves products with constants towards the output, so that they meet the next layer's scales. Seen with
    2026.4: behind Unsqueeze they stand on another axis, and at a StridedSlice with an ellipsis it gives up. It moves
    none through Clamp, and computes that with the layer before.
    """
    import openvino.opset15 as ops

    held: dict[tuple[str, int], Any] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _RESHAPING:
            continue
        source = node.input_value(0)
        key = source.get_node().get_friendly_name(), source.get_index()
        if not source.get_element_type().is_real() or not _is_scaled(source.get_node()):
            continue
        if key not in held:
            bound = float(np.finfo(np.float32).max)
            held[key] = ops.clamp(source, -bound, bound)
        node.input(0).replace_source_output(held[key].output(0))


def _is_scaled(node: Any) -> bool:
    """Whether a scale may reach what comes after a node."""
    seen, behind = set(), [node]
    while behind:
        node = behind.pop()
        if node.get_type_name() in _SCALES:
            return True
        if node.get_type_name() in _LETS_SCALES_PASS and node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            behind += [value.get_node() for value in node.input_values()]
    return False


def _round_weights(layer: Any, mean: np.ndarray) -> None:
    """Weights as integers times scales, and the mean of what that changes off the output."""
    import openvino.opset15 as ops

    kind = layer.get_type_name()
    weight = np.asarray(layer.input_value(1).get_node().data, np.float32)
    axes = tuple(axis for axis in range(weight.ndim) if axis not in _OUTPUT_AXES[kind])
    scale = np.abs(weight).max(axes, keepdims=True) / WEIGHT_LIMIT
    scale[scale == 0] = 1.0
    rounded = np.rint(weight / scale).astype(np.int8)
    stored = ops.multiply(ops.convert(ops.constant(rounded), "f32"), ops.constant(scale))
    layer.input(1).replace_source_output(stored.output(0))

    error = weight - rounded * scale
    error = error.sum(tuple(range(error.ndim))[-2:]) if kind != "MatMul" else error  # over height and width
    if kind == "GroupConvolution":
        shift = np.einsum("goi,gi->go", error, mean.reshape(error.shape[0], -1)).reshape(-1)
    elif kind == "ConvolutionBackpropData":  # a cell of the output has one tap of those in a stride
        shift = np.einsum("io,i->o", error, mean) / np.prod(layer.get_attributes()["strides"])
    else:
        shift = np.einsum("oi,i->o", error, mean)
    if kind != "MatMul":
        shift = shift.reshape(1, -1, 1, 1)
    targets = list(layer.output(0).get_target_inputs())
    moved = ops.add(layer, ops.constant(shift.astype(np.float32)))
    for target in targets:
        target.replace_source_output(moved.output(0))
