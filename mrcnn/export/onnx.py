"""ONNX: one file that onnxruntime, and whatever else reads ONNX, runs.

Converted by tf2onnx; RoIAlign and non-maximum suppression become ONNX's own operators.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.export.base import Exporter, ExportOptions
from mrcnn.export.check import expect_file
from mrcnn.export.compare import ACCEPTED, Difference
from mrcnn.export.errors import ExportError, reason, require
from mrcnn.export.messages import without_records
from mrcnn.export.portable import (
    DESCRIPTION,
    STAND_IN,
    PortableModel,
    describe,
    portable_graph,
    stand_in,
    stand_in_config,
)

OPSET = 18
"""Of the operators used; RoIAlign has had its half-cell modes since 16."""


def export_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    images: Iterable[Any] | None = None,
    max_difference: Difference = ACCEPTED,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Write a model as an ONNX file, inputs and outputs as `mrcnn.export.portable` says.

    Before the file gets its name it is loaded and compared with `detect`.

    Args:
        model: a `MaskRCNN`.
        path: the file to write, ending in .onnx; replaced if it is there.
        images: to compare on; None: noise.
        max_difference: largest differences accepted.
        log: called with the comparison's result; None: silent.

    Returns:
        the path.

    Raises:
        ExportError: tf2onnx, onnx or onnxruntime is missing; the model holds what ONNX has no operator for; its
            detections differ too much.
        InputError: the name does not end in .onnx.
    """
    return OnnxExporter().export(model, path, images=images, max_difference=max_difference, log=log)


def load_onnx(path: str | os.PathLike[str], *, threads: int | None = None) -> PortableModel:
    """A model written by `export_onnx`, for `detect`, run by onnxruntime on the CPU.

    Args:
        path: the .onnx file.
        threads: cores to use; None: as onnxruntime decides, all of them.

    Raises:
        ExportError: onnxruntime is missing, the file cannot be read or is no such model; names the file.
    """
    runtime = require("onnxruntime", "onnx")
    path = expect_file(path)
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of every shape it cannot infer
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base
        raise ExportError(f"{path}: onnxruntime cannot load it: {reason(error)}") from error
    names = [output.name for output in session.get_outputs()]
    described = session.get_modelmeta().custom_metadata_map.get(DESCRIPTION)

    def run(image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"image": image, "content_shape": content_shape}), strict=True))

    return PortableModel(described, run, path)


class OnnxExporter(Exporter):
    """Files that onnxruntime runs."""

    name = "onnx"
    suffix = ".onnx"
    summary = "one file for onnxruntime and whatever else reads ONNX"

    @property
    def runtime(self) -> str:
        return "onnxruntime"

    def write(self, model: Any, path: Path, options: ExportOptions) -> None:
        """Write the file, see `Exporter.write`."""
        onnx = require("onnx", "onnx")
        require("onnxruntime", "onnx")  # before the minute that converting takes
        converted = _convert(model)
        onnx.helper.set_model_props(converted, {DESCRIPTION: describe(model)})
        onnx.save_model(converted, str(path))

    def load(self, path: str | os.PathLike[str]) -> PortableModel:
        """The model of a file, see `load_onnx`."""
        return load_onnx(path)


def _convert(model: Any) -> Any:
    """The model as an `onnx.ModelProto` with named inputs and outputs."""
    convert = require("tf2onnx.convert", "onnx")
    portable = portable_graph(model, stand_in, keep_loops=True)  # tf2onnx loses the types of lowered ones
    try:
        with without_records("tf2onnx.shape_inference", f"^Cannot infer shape for .*{STAND_IN}"):
            converted, _ = convert._convert_common(
                portable.function.graph.as_graph_def(),
                name="mrcnn",
                input_names=list(portable.inputs.values()),
                output_names=list(portable.outputs.values()),
                opset=OPSET,
                custom_op_handlers={STAND_IN: (_roi_align, []), "Erfc": (_erfc, [])},
            )
    except Exception as error:
        raise ExportError(f"tf2onnx cannot convert the model: {reason(error)}") from error
    _rename(converted.graph, {tensor: name for name, tensor in (portable.inputs | portable.outputs).items()})
    return converted


def _rename(graph: Any, new: dict[str, str]) -> None:
    """Gives tensors of a graph, and of the graphs inside it, other names."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, new)


def _erfc(context: Any, node: Any, name: str, args: list[Any]) -> None:
    """1 - erf(x) in place of erfc(x), which ONNX has not; the exact GELU of Transformers and ConvNeXt has it."""
    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    (x,) = node.input
    context.remove_node(node.name)
    one = context.make_const(f"{name}_one", np.array(1.0, np.float32))
    erf = context.make_node("Erf", [x])
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=[node.output[0]], shapes=[shape], dtypes=[dtype]
    )


def _roi_align(context: Any, node: Any, name: str, args: list[Any]) -> None:
    """ONNX's operator in place of a stand-in; "output_half_pixel" is the paper's RoIAlign, without half a cell."""
    options = stand_in_config(node.inputs[3].get_tensor_value())
    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    features, boxes, image = node.input[:3]
    context.remove_node(node.name)
    nchw = context.make_node("Transpose", [features], attr={"perm": [0, 3, 1, 2]})
    order = context.make_const(f"{name}_order", np.array([1, 0, 3, 2], np.int64))
    xyxy = context.make_node("Gather", [boxes, order.output[0]], attr={"axis": 1})
    index = context.make_node("Cast", [image], attr={"to": 7})  # int64
    pooled = context.make_node(
        "RoiAlign",
        [nchw.output[0], xyxy.output[0], index.output[0]],
        attr={
            "coordinate_transformation_mode": "half_pixel" if options["aligned"] else "output_half_pixel",
            "mode": "avg",
            "output_height": options["height"],
            "output_width": options["width"],
            "sampling_ratio": options["sampling_ratio"],
            "spatial_scale": 1.0 / options["stride"],
        },
    )
    context.make_node(
        "Transpose",
        [pooled.output[0]],
        attr={"perm": [0, 2, 3, 1]},
        name=name,
        outputs=[node.output[0]],
        shapes=[shape],
        dtypes=[dtype],
    )
