"""LiteRT (TFLite): one file for phones and small boards, of built-in operators only.

RoIAlign is made of gathers and sums, level by level, since LiteRT has no operator for it. In 8 bits weights are stored
so, and the sums of convolutions and matrix products are formed so, with ranges measured while it runs; everything on
boxes stays float32. LiteRT's other way, ranges measured beforehand, would put box coordinates on 256 places too.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.export.compare import ACCEPTED, Difference
from mrcnn.export.portable import (
    DESCRIPTION,
    INT8_ACCEPTED,
    ExportError,
    PortableModel,
    check_answers,
    describe,
    expect_suffix,
    portable_graph,
    require,
)
from mrcnn.files import whole_file
from mrcnn.ops.roi_align import roi_align

_DESCRIPTION_FILE = f"{DESCRIPTION}.json"


def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    *,
    int8: bool = False,
    pictures: Iterable[Any] | None = None,
    max_difference: Difference | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Write a model as a LiteRT file, inputs and outputs as `mrcnn.export.portable` says.

    The signature `serving_default` names them. The description is an associated file, as LiteRT's metadata keep
    them: the model is a zip archive too. Before the file gets its name it is loaded and compared with `detect`.

    Args:
        model: a `MaskRCNN` whose heads take a fixed number of samples (`pool.sampling_ratio` at least 1).
        path: the file to write, ending in .tflite; replaced if it is there.
        int8: weights in 8 bits, a quarter of the size; see the head of this module. Needs no calibration.
        pictures: to compare on; None: noise.
        max_difference: bounds on how far the answers may be apart; None: by `int8`.
        say: told how the answers differ; None: not told.

    Returns:
        the path.

    Raises:
        ExportError: ai-edge-litert is missing; the model holds what LiteRT has no operator for; its answers differ
            too much.
        ValueError: the name does not end in .tflite.
    """
    path = expect_suffix(path, ".tflite")
    content = _convert(model, int8)
    with whole_file(path) as file:
        file.write_bytes(content)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(_DESCRIPTION_FILE, describe(model, int8=int8))
        bounds = max_difference or (INT8_ACCEPTED if int8 else ACCEPTED)
        difference = check_answers(model, load_tflite(file), pictures, bounds)
    if say is not None:
        say(str(difference))
    return path


def load_tflite(path: str | os.PathLike[str], *, threads: int | None = None) -> PortableModel:
    """A model written by `export_tflite`, for `detect`.

    Args:
        path: the .tflite file.
        threads: cores to use; None: all of them.

    Raises:
        ExportError: ai-edge-litert is missing, the file cannot be read or is no such model; names the file.
    """
    litert = require("ai_edge_litert.interpreter", "tflite")
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: no such file")
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            described = archive.read(_DESCRIPTION_FILE).decode("utf-8")
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ExportError(f"{path}: not written by mrcnn, its description is missing or damaged") from error
    try:
        interpreter = litert.Interpreter(model_content=content, num_threads=threads or os.cpu_count())
        runner = interpreter.get_signature_runner("serving_default")
    except (ValueError, RuntimeError, KeyError) as error:
        raise ExportError(f"{path}: LiteRT cannot load it: {error}") from error
    lock = threading.Lock()

    def run(image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        with lock:
            return {name: np.array(value) for name, value in runner(image=image, content_shape=content_shape).items()}

    return PortableModel(described, run, path)


def _align(
    features: tf.Tensor,
    boxes: tf.Tensor,
    picture: tf.Tensor,
    stride: int,
    bins: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> tf.Tensor:
    """RoIAlign of one level of one picture by gathers, see `ops.custom.LevelAlign`."""
    return roi_align(features, boxes[tf.newaxis], stride, bins, sampling_ratio, aligned, method="gather")[0]


def _convert(model: Any, int8: bool) -> bytes:
    for head in (model.config.box_head, *model.config.heads):
        if head.pool.sampling_ratio == 0:
            raise ExportError(
                "a model whose RoIs have each their own number of samples (pool.sampling_ratio 0) has no LiteRT form:"
                " LiteRT has no RoIAlign, and what stands for it needs a fixed number"
            )
    portable = portable_graph(model, _align)

    graph = portable.function.graph.as_graph_def()
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        if node.op == "EnsureShape":  # LiteRT has no such operator, and infers the shapes itself
            node.op = "Identity"
            del node.attr["shape"]
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    pruned = whole.prune(*(list(map(whole.graph.get_tensor_by_name, d.values())) for d in portable[1:]))
    specs = [tf.TensorSpec(t.shape, t.dtype, name) for name, t in zip(portable.inputs, pruned.inputs, strict=True)]

    @tf.function(input_signature=specs)
    def serve(image: tf.Tensor, content_shape: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(portable.outputs, pruned(image, content_shape), strict=True))

    with tempfile.TemporaryDirectory() as folder:
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(tf.Module(), folder, {"serving_default": serve}, options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        return _converted(converter, int8)


def _converted(converter: Any, int8: bool) -> bytes:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    try:
        return converter.convert()
    except Exception as error:
        raise ExportError(f"TensorFlow {tf.__version__} cannot convert the model to LiteRT: {error}") from error
