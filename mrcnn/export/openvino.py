"""OpenVINO: one model in two files, for Intel's runtime. RoIAlign becomes OpenVINO's own operator, level by level.

With `int8` most layers are put into 8 bits by `openvino_int8`, on ranges measured on images.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrcnn.errors import InputError
from mrcnn.export.base import Exporter, ExportOptions
from mrcnn.export.check import expect_file
from mrcnn.export.compare import ACCEPTED, INT8_ACCEPTED, Difference
from mrcnn.export.errors import ExportError, require
from mrcnn.export.openvino_int8 import quantize
from mrcnn.export.portable import (
    DESCRIPTION,
    STAND_IN,
    PortableModel,
    describe,
    group_norm_stand_in,
    portable_graph,
    stand_in,
    stand_in_config,
)
from mrcnn.inference import ImageLike
from mrcnn.inference.prepare import prepare_image
from mrcnn.modeling.normalize import group_norm_by

Precision = Literal["float32", "bfloat16", "float16"]
"""What a device may compute in; less than float32 rounds scores, boxes and masks, docs/export.md says by how much."""

MEASURED_IMAGES = 64
"""Most images that ranges of 8 bits are measured on; of more, so many at equal distances."""

_COMPARED_IMAGES = 4  # of those measured on, where none are given to compare on
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # OpenVINO's names of them


def export_openvino(
    model: Any,
    path: str | os.PathLike[str],
    *,
    int8: bool = False,
    calibration: Iterable[ImageLike] = (),
    images: Iterable[ImageLike] | None = None,
    max_difference: Difference | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Write a model for OpenVINO: PATH.xml and PATH.bin, inputs and outputs as `mrcnn.export.portable` says.

    Before the files get their names they are loaded and compared with `detect`.

    Args:
        model: a `MaskRCNN`.
        path: the file to write, ending in .xml; replaced if it is there.
        int8: most layers in 8 bits: a quarter of the size, and faster on CPUs with VNNI; see
            `mrcnn.export.openvino_int8`.
        calibration: images with objects, as the model was trained on, to measure ranges of `int8` on; a dozen or more.
        images: to compare on; None: noise, and with `int8` the first of `calibration`.
        max_difference: largest differences accepted; None: ACCEPTED, or INT8_ACCEPTED.
        log: called with the comparison's result; None: silent.

    Returns:
        the path.

    Raises:
        ExportError: openvino is missing; the model holds what OpenVINO has no operator for, or fails in it; its
            detections differ too much; nothing is detected in `calibration`.
        InputError: the name does not end in .xml; `int8` without `calibration`, or the other way around.
    """
    options = OpenVinoOptions(int8, tuple(calibration))
    return OpenVinoExporter().export(model, path, options, images=images, max_difference=max_difference, log=log)


def load_openvino(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    device: str = "CPU",
    precision: Precision = "float32",
) -> PortableModel:
    """A model written by `export_openvino`, for `detect`.

    Args:
        path: its .xml file; the .bin file lies beside it.
        threads: cores to use; None: as OpenVINO decides, all of them.
        device: OpenVINO's name of what runs it.
        precision: what the device computes in. OpenVINO itself takes bfloat16 wherever the CPU has instructions for
            it; here the same file gives the same detections on every machine.

    Raises:
        ExportError: openvino is missing, the file cannot be read, is no such model, or the device does not compute in
            `precision`; names the file.
        ValueError: another `precision`.
    """
    openvino = require("openvino", "openvino")
    path = expect_file(path)
    expect_file(path.with_suffix(".bin"))
    options = compile_options(precision, threads)
    core = openvino.Core()
    try:
        network = core.read_model(str(path))
        described = network.get_rt_info(DESCRIPTION).astype(str) if network.has_rt_info(DESCRIPTION) else None
        compiled = core.compile_model(network, device, options)
        request = compiled.create_infer_request()
    except RuntimeError as error:
        raise ExportError(f"{path}: OpenVINO cannot load it: {_last_line(error)}") from error
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != _PRECISIONS[precision]:
        raise ExportError(f"{path}: {device} does not compute in {precision}, OpenVINO would take {used}")
    names = [output.any_name for output in compiled.outputs]

    def infer(image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        results = request.infer({"image": image, "content_shape": content_shape})
        return {name: np.array(results[i]) for i, name in enumerate(names)}

    # On one thread of its own. A request holds one image, and while it runs all cores are at work. And on threads of
    # TensorFlow, which take denormal numbers for zero, the plugin loses most detections; a thread inherits that setting
    # from the one that starts it, so it is started here.
    worker = concurrent.futures.ThreadPoolExecutor(1, "mrcnn openvino")
    worker.submit(int).result()

    def run(image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        return worker.submit(infer, image, content_shape).result()

    return PortableModel(described, run, path)


def compile_options(precision: Precision = "float32", threads: int | None = None) -> dict[str, str | int]:
    """OpenVINO's properties a model is compiled with.

    Raises:
        ValueError: another `precision`.
    """
    if precision not in _PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(_PRECISIONS)}, got {precision!r}")
    options: dict[str, str | int] = {
        "PERFORMANCE_HINT": "LATENCY",
        "EXECUTION_MODE_HINT": "ACCURACY" if precision == "float32" else "PERFORMANCE",
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


@dataclasses.dataclass(frozen=True)
class OpenVinoOptions(ExportOptions):
    """Choices for OpenVINO's files."""

    int8: bool = False  # most layers in 8 bits
    calibration: tuple[Any, ...] = ()  # images, or paths of images, to measure ranges of `int8` on

    def __post_init__(self) -> None:
        if self.int8 != bool(self.calibration):
            given, missing = ("int8", "calibration") if self.int8 else ("calibration", "int8")
            raise InputError(
                f"{given} without {missing}: 8 bits of OpenVINO need images to measure ranges on, pass both"
                " (mrcnn export --int8 --calibrate IMAGES)"
            )


class OpenVinoExporter(Exporter):
    """Files that OpenVINO runs: PATH.xml and PATH.bin."""

    name = "openvino"
    suffix = ".xml"
    summary = "two files for Intel's runtime"
    options = OpenVinoOptions

    @property
    def runtime(self) -> str:
        return f"OpenVINO {require('openvino', 'openvino').__version__}"

    def write(self, model: Any, path: Path, options: ExportOptions) -> None:
        """Write the files, see `Exporter.write`."""
        openvino = require("openvino", "openvino")
        converted = _convert(openvino, model)
        if calibration := _calibration(options):
            step = max(len(calibration) / MEASURED_IMAGES, 1.0)
            chosen = [calibration[int(i * step)] for i in range(int(len(calibration) / step))]
            quantize(converted, (_inputs(image, i, model) for i, image in enumerate(chosen)))
        for key, value in {"model_type": "Mask R-CNN", DESCRIPTION: describe(model)}.items():
            converted.set_rt_info(value, key)
        openvino.save_model(converted, str(path), compress_to_fp16=False)

    def load(self, path: str | os.PathLike[str]) -> PortableModel:
        """The model of a file, see `load_openvino`."""
        return load_openvino(path)

    def accepted(self, options: ExportOptions) -> Difference:
        """INT8_ACCEPTED in 8 bits, else ACCEPTED."""
        return INT8_ACCEPTED if _calibration(options) else ACCEPTED

    def compared_on(self, options: ExportOptions) -> Iterable[ImageLike] | None:
        """In 8 bits images they were measured on: they fit no noise."""
        return _calibration(options)[:_COMPARED_IMAGES] or None

    def files(self, path: Path) -> tuple[Path, ...]:
        """The weights, and the file that names them."""
        return path.with_suffix(".bin"), path


def _calibration(options: ExportOptions) -> tuple[Any, ...]:
    return options.calibration if isinstance(options, OpenVinoOptions) else ()


def _inputs(image: ImageLike, number: int, model: Any) -> dict[str, np.ndarray]:
    prepared = prepare_image(image, number, model.config.input)
    content = np.array([prepared.content_shape], np.int32)
    return {"image": np.asarray(prepared.image)[np.newaxis], "content_shape": content}


def _convert(openvino: Any, model: Any) -> Any:
    """The model as an `openvino.Model` with named inputs and outputs."""
    from openvino.frontend.tensorflow import ConversionExtension

    with group_norm_by(group_norm_stand_in):
        portable = portable_graph(model, stand_in)
    with tempfile.TemporaryDirectory() as folder:
        # From a file: OpenVINO's own reader of graphs knows extensions, its reader of Python objects does not.
        file = Path(folder) / "graph.pb"
        file.write_bytes(portable.function.graph.as_graph_def().SerializeToString())
        try:
            converted = openvino.convert_model(str(file), extension=[ConversionExtension(STAND_IN, _operator)])
        except Exception as error:
            raise ExportError(
                f"OpenVINO {openvino.__version__} cannot convert the model: {_last_line(error)}"
            ) from error
    wanted = {tensor: name for name, tensor in (portable.inputs | portable.outputs).items()}
    for tensor in (*converted.inputs, *converted.outputs):
        (name,) = {wanted[known] for known in tensor.names if known in wanted}
        tensor.set_names({name})
    _gather_rows(converted)
    return converted


def _last_line(error: Exception) -> str:
    """What OpenVINO found wrong; the lines before it say where in its own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _gather_rows(converted: Any) -> None:
    """Let boxes be gathered by GatherND.

    The CPU plugin's Gather of rows of four numbers (seen with 2026.4 on a CPU with AVX2 only, shapes not known
    beforehand) puts others in their place or reads past their end.
    """
    import openvino.opset15 as ops

    for node in converted.get_ordered_ops():
        if node.get_type_name() != "Gather":
            continue
        data, index, axis = (node.input_value(i) for i in range(3))
        rank, index_rank = (value.get_partial_shape().rank.get_length() for value in (data, index))
        batch_dims = node.get_attributes()["batch_dims"]
        by_rows = int(axis.get_node().data.item()) % rank == batch_dims and batch_dims < index_rank
        if by_rows and rank > batch_dims + 1 and index.get_node().get_type_name() != "Constant":
            rows = ops.gather_nd(data, ops.unsqueeze(index, ops.constant(np.array([-1]))), batch_dims)
            rows.set_friendly_name(node.get_friendly_name())
            for user in node.output(0).get_target_inputs():
                user.replace_source_output(rows.output(0))
    converted.validate_nodes_and_infer_types()


def _operator(node: Any) -> list[Any]:
    """OpenVINO's operator in place of a stand-in, whose last input says of which."""
    is_norm = node.get_input(3).get_element_type().is_real()
    return _group_norm(node) if is_norm else _roi_align(node)


def _group_norm(node: Any) -> list[Any]:
    """One operator. Of its sums and products OpenVINO knows nothing, and scales of 8 bits are moved through them."""
    import openvino.opset15 as ops

    x, gamma, beta, config = (node.get_input(i) for i in range(4))
    groups, epsilon = config.get_node().data
    nchw = ops.transpose(x, ops.constant(np.array([0, 3, 1, 2])))
    normalized = ops.group_normalization(nchw, gamma, beta, int(groups), float(epsilon))
    return ops.transpose(normalized, ops.constant(np.array([0, 2, 3, 1]))).outputs()


def _roi_align(node: Any) -> list[Any]:
    """OpenVINO's operator in place of a stand-in; its "asymmetric" is the paper's RoIAlign, without half a cell."""
    import openvino.opset15 as ops

    features, boxes, image, config = (node.get_input(i) for i in range(4))
    options = stand_in_config(config.get_node().data)
    pooled = ops.roi_align(
        ops.transpose(features, ops.constant(np.array([0, 3, 1, 2]))),
        ops.gather(boxes, ops.constant(np.array([1, 0, 3, 2])), ops.constant(np.array(1))),  # (x1, y1, x2, y2)
        image,
        options["height"],
        options["width"],
        options["sampling_ratio"],
        1.0 / options["stride"],
        "avg",
        "half_pixel" if options["aligned"] else "asymmetric",
    )
    return ops.transpose(pooled, ops.constant(np.array([0, 2, 3, 1]))).outputs()
