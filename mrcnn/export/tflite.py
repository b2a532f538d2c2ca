"""LiteRT (TFLite): one file for phones and small boards, of built-in operators only.

RoIAlign is made of gathers and sums, level by level, since LiteRT has no operator for it. With `int8` the weights are
stored in 8 bits, and convolutions and matrix products are computed so where the runtime can, with ranges measured
while it runs; everything on boxes stays float32. LiteRT's other way, ranges measured beforehand on images, would put
box coordinates on 256 places too.

A file is a LiteRT model followed by a zip archive, as LiteRT's own metadata are kept: `unzip` lists it, and runtimes do
not look at it. It holds the description, and the model's SHA-256: LiteRT checks the structure of what it is given, but
would run with damaged weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from mrcnn.export.base import Exporter, ExportOptions
from mrcnn.export.check import expect_file
from mrcnn.export.compare import ACCEPTED, INT8_ACCEPTED, Difference
from mrcnn.export.errors import ExportError, reason, refuse_panoptic, require
from mrcnn.export.messages import without_lines
from mrcnn.export.portable import DESCRIPTION, PortableModel, describe, portable_graph
from mrcnn.ops.bilinear import bilinear_taps

Tensor: TypeAlias = tf.Tensor

_DESCRIPTION_FILE = f"{DESCRIPTION}.json"
_CHECKSUM_FILE = f"{DESCRIPTION}.sha256"


def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    *,
    int8: bool = False,
    images: Iterable[Any] | None = None,
    max_difference: Difference | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Write a model as a LiteRT file, inputs and outputs as `mrcnn.export.portable` says.

    Its signature `serving_default` names them; images may have any size that is a multiple of the model's divisor.
    Before the file gets its name it is loaded and compared with `detect`.

    Args:
        model: a `MaskRCNN` whose heads take a fixed number of samples (`pool.sampling_ratio` at least 1).
        path: the file to write, ending in .tflite; replaced if it is there.
        int8: weights in 8 bits, a quarter of the size; see the head of this module. Needs no images to calibrate.
        images: to compare on; None: noise.
        max_difference: largest differences accepted; None: ACCEPTED, or INT8_ACCEPTED.
        log: called with the comparison's result; None: silent.

    Returns:
        the path.

    Raises:
        ExportError: ai-edge-litert is missing; the model holds what LiteRT has no operator for; its detections
            differ too much.
        InputError: the name does not end in .tflite.
    """
    return TFLiteExporter().export(
        model, path, TFLiteOptions(int8), images=images, max_difference=max_difference, log=log
    )


def load_tflite(path: str | os.PathLike[str], *, threads: int | None = None) -> PortableModel:
    """A model written by `export_tflite`, for `detect`, run by LiteRT on the CPU; one image at a time.

    Args:
        path: the .tflite file.
        threads: cores to use; None: all of them.

    Raises:
        ExportError: ai-edge-litert is missing, the file cannot be read or is no such model; names the file.
    """
    litert = require("ai_edge_litert.interpreter", "tflite")
    path = expect_file(path)
    content, described = _read(path)
    try:
        interpreter = litert.Interpreter(model_content=content, num_threads=threads or os.cpu_count())
        inputs, outputs = _places(interpreter)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ExportError(f"{path}: LiteRT cannot load it: {reason(error)}") from error
    lock = threading.Lock()  # an interpreter is one set of tensors
    allocated: tuple[int, ...] = ()  # shape of the image that memory is allocated for

    def run(image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal allocated
        with lock:
            if image.shape != allocated:
                allocated = ()  # in case this fails
                interpreter.resize_tensor_input(inputs["image"], image.shape)
                with without_lines("^INFO: Created TensorFlow Lite XNNPACK delegate"):
                    interpreter.allocate_tensors()
                allocated = image.shape
            interpreter.set_tensor(inputs["image"], image)
            interpreter.set_tensor(inputs["content_shape"], content_shape)
            interpreter.invoke()
            details = {detail["index"]: detail for detail in interpreter.get_output_details()}
            return {name: _value(interpreter, details[index]) for name, index in outputs.items()}

    return PortableModel(described, run, path)


@dataclasses.dataclass(frozen=True)
class TFLiteOptions(ExportOptions):
    """Choices for a LiteRT file."""

    int8: bool = False  # weights in 8 bits, a quarter of the size


class TFLiteExporter(Exporter):
    """Files that LiteRT runs."""

    name = "tflite"
    suffix = ".tflite"
    summary = "one file for phones and small boards"
    options = TFLiteOptions

    @property
    def runtime(self) -> str:
        return "LiteRT"

    def write(self, model: Any, path: Path, options: ExportOptions) -> None:
        """Write the file, see `Exporter.write`."""
        require("ai_edge_litert.interpreter", "tflite")  # before the minute that converting takes
        content = _convert(model, _is_int8(options))
        path.write_bytes(content)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_DESCRIPTION_FILE, describe(model))
            archive.writestr(_CHECKSUM_FILE, hashlib.sha256(content).hexdigest())

    def load(self, path: str | os.PathLike[str]) -> PortableModel:
        """The model of a file, see `load_tflite`."""
        return load_tflite(path)

    def accepted(self, options: ExportOptions) -> Difference:
        """INT8_ACCEPTED in 8 bits, else ACCEPTED."""
        return INT8_ACCEPTED if _is_int8(options) else ACCEPTED


def _is_int8(options: ExportOptions) -> bool:
    return isinstance(options, TFLiteOptions) and options.int8


def _read(path: Path) -> tuple[bytes, str]:
    """The model of a file, and its description.

    Raises:
        ExportError: not written by `export_tflite`, or damaged.
    """
    whole = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            described = archive.read(_DESCRIPTION_FILE).decode("utf-8")
            checksum = archive.read(_CHECKSUM_FILE).decode("ascii")
            content = whole[: min(entry.header_offset for entry in archive.infolist())]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ExportError(f"{path}: not written by mrcnn, or cut off: {reason(error)}") from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ExportError(f"{path}: damaged, its bytes are not those that were written")
    return content, described


def _places(interpreter: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Tensors of inputs and outputs by name. Nothing of the runner stays: while it lives, no tensor can be resized."""
    runner = interpreter.get_signature_runner()
    both = (runner.get_input_details(), runner.get_output_details())
    inputs, outputs = ({name: detail["index"] for name, detail in details.items()} for details in both)
    return inputs, outputs


def _value(interpreter: Any, detail: dict[str, Any]) -> np.ndarray:
    """An output after a run. The interpreter hands out no tensor without elements: there its shape is all there is."""
    if not np.prod(detail["shape"]):
        return np.zeros(detail["shape"], detail["dtype"])
    return interpreter.get_tensor(detail["index"])


# ---- conversion ----


def _convert(model: Any, int8: bool) -> bytes:
    """The model as LiteRT's flat buffer."""
    refuse_panoptic(model)
    for head in (model.config.box_head, *model.config.heads):
        if head.pool.op == "align" and head.pool.sampling_ratio == 0:
            raise ExportError(
                "a model whose RoIs have each their own number of samples (pool.sampling_ratio 0) has no LiteRT form:"
                " LiteRT has no RoIAlign, and what stands for it needs a fixed number"
            )
    portable = portable_graph(model, _align)
    graph = portable.function.graph.as_graph_def()
    for node in graph.node:
        node.attr.pop("_gradient_op_type", None)  # names a Python function, of which the converter would warn
        if node.op == "EnsureShape":  # LiteRT has no such operator, and finds the shapes itself
            node.op = "Identity"
            del node.attr["shape"]
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    inputs, outputs = (
        {name: whole.graph.get_tensor_by_name(tensor) for name, tensor in tensors.items()}
        for tensors in (portable.inputs, portable.outputs)
    )
    function = whole.prune(list(inputs.values()), outputs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    try:
        return converter.convert()
    except Exception as error:  # the converter's own, and those of everything below it
        raise ExportError(
            f"TensorFlow {tf.__version__} cannot convert the model to LiteRT: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """What the converter stumbled over, out of pages of text."""
    operators = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
    if operators:
        return f"it has no operator for {', '.join(operators)}"
    return str(error).strip().split("\n", 1)[0][:300] or type(error).__name__


def _align(
    features: Tensor,
    boxes: Tensor,
    image: Tensor,
    stride: int,
    bins: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign of one level of one image by gathers, see `native.loading.LevelAlign`; `image` is not looked at.

    As `ops.roi_align` does it by method "gather", but without the float64 that LiteRT cannot divide.
    """
    shape = tf.shape(features)
    height, width = shape[1], shape[2]
    scaled = boxes / float(stride) - (0.5 if aligned else 0.0)
    length = scaled[:, 2:] - scaled[:, :2]
    if not aligned:
        length = tf.maximum(length, 1.0)
    y, weight_y = _taps(scaled[:, 0], length[:, 0], height, bins[0], sampling_ratio)
    x, weight_x = _taps(scaled[:, 1], length[:, 1], width, bins[1], sampling_ratio)
    cell = (y * width)[:, :, tf.newaxis, :, tf.newaxis] + x[:, tf.newaxis, :, tf.newaxis, :]  # [R, h, w, T, T]
    weight = weight_y[:, :, tf.newaxis, :, tf.newaxis] * weight_x[:, tf.newaxis, :, tf.newaxis, :]
    taps = (2 * sampling_ratio) ** 2
    cell, weight = (tf.transpose(tf.reshape(value, [-1, taps])) for value in (cell, weight))  # [T * T, R * h * w]
    table = tf.reshape(features, [-1, features.shape[-1]])  # [H * W, C]

    # A loop, because LiteRT frees nothing during a run: with its 16 turns written out the model of samples/nuclei took
    # 406 MB instead of 283, in the same time.
    def add(tap: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        return tap + 1, total + tf.gather(weight, tap)[:, tf.newaxis] * tf.gather(table, tf.gather(cell, tap))

    total = tf.zeros([tf.shape(cell)[1], table.shape[1]])
    total = tf.while_loop(lambda tap, _: tap < taps, add, (0, total))[1]
    return tf.reshape(total, [-1, *bins, table.shape[1]])


def _taps(start: Tensor, length: Tensor, size: Tensor, bins: int, sampling_ratio: int) -> tuple[Tensor, Tensor]:
    """Cells that each bin of each RoI reads along one axis, and their weights.

    Args:
        start, length: f32[R], first edge and side of the RoI in cells.
        size: i32[], cells of the level along the axis.
        bins: output bins.
        sampling_ratio: samples per bin.

    Returns:
        cell i32[R, bins, T] and weight f32[R, bins, T], T = 2 * sampling_ratio.
    """
    place = (np.arange(bins)[:, None] + (np.arange(sampling_ratio) + 0.5) / sampling_ratio) / bins  # [bins, samples]
    position = start[:, tf.newaxis, tf.newaxis] + length[:, tf.newaxis, tf.newaxis] * place.astype(np.float32)
    # Up to one cell beyond the center of the border cell the border value holds; further out a sample is 0.
    inside = (position >= -1.0) & (position <= tf.cast(size, tf.float32))
    return bilinear_taps(position, inside, tf.constant(1.0 / sampling_ratio), size[tf.newaxis])
