"""OpenVINO: the fast way on an ordinary CPU, in float32 or with convolutions in 8 bits.

The graph keeps its shape: RoIAlign becomes OpenVINO's own operator, level by level. In 8 bits boxes are still decoded,
suppressed and pooled by in float32, and the layers that predict them stay in float32: a box that may lie on 256 places
of an 800 pixel picture is no box.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.pictures import read_picture
from mrcnn.export.compare import ACCEPTED, Difference
from mrcnn.export.portable import (
    DESCRIPTION,
    INT8_ACCEPTED,
    STAND_IN,
    ExportError,
    PortableModel,
    canvas_of,
    check_answers,
    describe,
    expect_suffix,
    portable_graph,
    require,
    stand_in,
    stand_in_settings,
)

MAX_CALIBRATION = 128
"""Pictures that ranges are measured on; more change little."""

_FLOAT_LAYERS = (r".*/objectness.*", r".*/deltas.*", r".*/class_logits.*", r".*/mask_logits.*")
"""Layers that predict, small and last: they stay in float32 in an 8 bit model."""

_QUANTIZED = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul", "Add", "Relu", "Clamp", "MaxPool"}
"""Kinds of operations that may work on 8 bits; arithmetic on boxes and normalisations stay in float32."""


def export_openvino(
    model: Any,
    path: str | os.PathLike[str],
    *,
    int8: bool = False,
    calibration: Iterable[Any] | None = None,
    pictures: Iterable[Any] | None = None,
    max_difference: Difference | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Write a model for OpenVINO: PATH.xml and PATH.bin, inputs and outputs as `mrcnn.export.portable` says.

    Before the files get their names they are loaded and compared with `detect`.

    Args:
        model: a `MaskRCNN`.
        path: the file to write, ending in .xml; replaced if it is there.
        int8: convolutions and matrix products in 8 bits. Needs `calibration`.
        calibration: pictures as the model will see, arrays or paths, from some dozens; at most MAX_CALIBRATION are
            looked at.
        pictures: to compare on; None: some of `calibration`, or noise.
        max_difference: bounds on how far the answers may be apart; None: by `int8`.
        say: told how the answers differ; None: not told.

    Returns:
        the path.

    Raises:
        ExportError: openvino or, for int8, nncf is missing; the model holds what OpenVINO has no operator for; its
            answers differ too much.
        ValueError: the name does not end in .xml; int8 without calibration, or the reverse.
    """
    path = expect_suffix(path, ".xml")
    if int8 and calibration is None:
        raise ValueError("int8: expected calibration, pictures as the model will see them")
    if calibration is not None and not int8:
        raise ValueError("calibration: only an int8 model is calibrated")
    openvino = require("openvino", "openvino")
    seen = [] if calibration is None else _first(calibration, MAX_CALIBRATION)
    if int8 and not seen:
        raise ValueError("calibration: no pictures")
    converted = _convert(openvino, model)
    if int8:
        converted = _quantize(model, converted, seen)
    for key, value in {"model_type": "Mask R-CNN", DESCRIPTION: describe(model, int8=int8)}.items():
        converted.set_rt_info(value, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    try:
        file = temporary / path.name
        openvino.save_model(converted, str(file), compress_to_fp16=False)
        if pictures is None and seen:
            pictures = seen[:4]
        bounds = max_difference or (INT8_ACCEPTED if int8 else ACCEPTED)
        difference = check_answers(model, load_openvino(file), pictures, bounds)
        os.replace(file.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(file, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if say is not None:
        say(str(difference))
    return path


def load_openvino(path: str | os.PathLike[str], *, threads: int | None = None, device: str = "CPU") -> PortableModel:
    """A model written by `export_openvino`, for `detect`.

    Args:
        path: its .xml file; the .bin file lies beside it.
        threads: cores to use; None: as OpenVINO decides, all of them.
        device: OpenVINO's name of what runs it.

    Raises:
        ExportError: openvino is missing, the file cannot be read or is no such model; names the file.
    """
    openvino = require("openvino", "openvino")
    path = Path(path)
    for file in (path, path.with_suffix(".bin")):
        if not file.is_file():
            raise ExportError(f"{file}: no such file")
    core = openvino.Core()
    try:
        network = core.read_model(str(path))
        described = network.get_rt_info(DESCRIPTION).astype(str) if network.has_rt_info(DESCRIPTION) else None
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(network, device, options)
        request = compiled.create_infer_request()
    except RuntimeError as error:
        raise ExportError(f"{path}: OpenVINO cannot load it: {str(error).strip().splitlines()[-1]}") from error
    names = [output.any_name for output in compiled.outputs]
    lock = threading.Lock()  # a request holds one picture; others wait, as all cores are at work

    def run(image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        with lock:
            results = request.infer({"image": image, "content_shape": content_shape})
            return {name: np.array(results[i]) for i, name in enumerate(names)}

    return PortableModel(described, run, path)


def _convert(openvino: Any, model: Any) -> Any:
    """The model as an `openvino.Model` with named inputs and outputs."""
    from openvino.frontend.tensorflow import ConversionExtension

    portable = portable_graph(model, stand_in)
    with tempfile.TemporaryDirectory() as folder:
        # From a file: OpenVINO's own reader of graphs knows extensions, its reader of Python objects does not.
        file = Path(folder) / "graph.pb"
        file.write_bytes(portable.function.graph.as_graph_def().SerializeToString())
        try:
            converted = openvino.convert_model(str(file), extension=[ConversionExtension(STAND_IN, _roi_align)])
        except Exception as error:
            raise ExportError(f"OpenVINO {openvino.__version__} cannot convert the model: {error}") from error
    wanted = {tensor: name for name, tensor in (portable.inputs | portable.outputs).items()}
    for tensor in (*converted.inputs, *converted.outputs):
        (name,) = {wanted[known] for known in tensor.names if known in wanted}
        tensor.set_names({name})
    return converted


def _roi_align(node: Any) -> list[Any]:
    """OpenVINO's operator in place of a stand-in; its "asymmetric" is the paper's RoIAlign, without half a cell."""
    import openvino.opset15 as ops

    features, boxes, picture, settings = (node.get_input(i) for i in range(4))
    options = stand_in_settings(settings.get_node().data)
    pooled = ops.roi_align(
        ops.transpose(features, ops.constant(np.array([0, 3, 1, 2]))),
        ops.gather(boxes, ops.constant(np.array([1, 0, 3, 2])), ops.constant(np.array(1))),  # (x1, y1, x2, y2)
        picture,
        options["height"],
        options["width"],
        options["sampling_ratio"],
        1.0 / options["stride"],
        "avg",
        "half_pixel" if options["aligned"] else "asymmetric",
    )
    return ops.transpose(pooled, ops.constant(np.array([0, 2, 3, 1]))).outputs()


def _first(pictures: Iterable[Any], num: int) -> list[np.ndarray]:
    taken = []
    for picture in pictures:
        if len(taken) == num:
            break
        taken.append(picture if isinstance(picture, np.ndarray) else read_picture(picture))
    return taken


def _quantize(model: Any, converted: Any, pictures: list[np.ndarray]) -> Any:
    """The converted model with 8 bit arithmetic where that costs little accuracy."""
    nncf = require("nncf", "openvino")
    kinds = {operation.get_type_name() for operation in converted.get_ops()}
    ignored = nncf.IgnoredScope(types=sorted(kinds - _QUANTIZED), patterns=list(_FLOAT_LAYERS), validate=False)

    def inputs(picture: np.ndarray) -> dict[str, np.ndarray]:
        image, content_shape = canvas_of(picture, model.config.input)
        return {"image": image, "content_shape": content_shape}

    return nncf.quantize(
        converted,
        nncf.Dataset(pictures, inputs),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(pictures),
        ignored_scope=ignored,
    )
