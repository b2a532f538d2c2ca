"""A model as a SavedModel: raw images in, detections in their pixels out, nothing but stock TensorFlow operations."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.export import tf_serving
from mrcnn.export.base import Exporter, ExportOptions
from mrcnn.export.check import expect_axis_aligned, expect_within
from mrcnn.export.compare import ACCEPTED, ACCEPTED_IN_HALF, Difference, full_precision
from mrcnn.export.errors import ExportError, refuse_panoptic
from mrcnn.export.served import MAX_PIXELS, Limits, Masks, ServedModel
from mrcnn.export.served_check import Request, compare_served, noise_images, read_images, requests_of, to_warm_up
from mrcnn.export.versions import expect_versions, make_folder, move
from mrcnn.inference import ImageLike
from mrcnn.modeling.precision import StatedPrecision, in_precision, precision_of
from mrcnn.structures.outputs import MASKS

METADATA = "assets.extra/mrcnn.json"
"""Inside the SavedModel: class names, category ids, input config, limits, how it compared with the Python model."""
CLASS_NAMES = "assets.extra/class_names.txt"
"""Inside the SavedModel: the name of class id k in line k."""

_FOREIGN = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""Stock operations that call back into the Python process that made them."""


def export_saved_model(
    model: Any,
    path: str | os.PathLike[str],
    *,
    height: int | None = None,
    width: int | None = None,
    masks: Masks = "small",
    mask_threshold: float = 0.5,
    score_threshold: float | None = None,
    frozen: bool = True,
    precision: StatedPrecision | None = None,
    max_pixels: int | None = None,
    min_side: int = 2,
    max_batch_size: int = 16,
    max_request_pixels: int | None = None,
    images: Iterable[ImageLike] | None = None,
    max_difference: Difference | None = None,
    version: int | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Write a model as a SavedModel that needs TensorFlow alone: for TensorFlow Serving, C++, Python without `mrcnn`.

    It does what `detect` does: resize, pad, model, boxes back. Images of one padded shape go through the model
    together, and no result depends on the other images. Signatures:

    * `serving_default` takes `image` u8[B, H, W, 3], RGB images of any sizes, each in the upper left corner, and
      `shape` i32[B, 2], their true heights and widths;
    * `encoded` takes `image_bytes` string[B], JPEG or PNG files (gray, palette, with transparency, 16 bit; the
      EXIF orientation is applied);
    * `compact` takes such `image_bytes` string[B] with `score_threshold` f32[B] and `max_detections` i32[B], how many
      detections of an image are wanted at most, and answers in about a hundredth of the bytes over REST: see below.

    The first two return, per image, N entries, N being the largest number of detections of an image (0 where there are
    none), best score first; padded entries are zero and not `valid`:

    * `boxes` f32[B, N, 4], (y1, x1, y2, x2) in pixels of the image;
    * `class_ids` i32[B, N] from 1; `scores` f32[B, N]; `valid` bool[B, N]; `num_detections` i32[B];
    * with a mask head, `masks`: "small" f32[B, N, M, M], probabilities on a grid; stretched over `mask_boxes`
      f32[B, N, 4], the box before it was clipped to the image, what is at least `mask_threshold` belongs to the
      object (`paste` in assets.extra/mrcnn.json names the exact rule);
      "full" u8[B, N, H, W], 0 or 1, H and W those of the input or of the largest file; "packed" u8[B, N, H, W / 8], the
      same with eight pixels in a byte: `numpy.unpackbits(masks, axis=-1, count=W)`;
    * with a keypoint head, `keypoints` f32[B, N, J, 3], (x, y, score);
    * what further heads declare in `outputs`, [B, N, ...] under their names; masks among them as `masks`.

    `compact` returns `masks` as string[B, N], the `counts` of COCO's run lengths, whose `size` i32[B, 2] is that of the
    image; no `valid` (of N the first `num_detections` are) and no `mask_boxes`; all else as the others.

    Before it is moved into place it is loaded again and compared with `detect`. What lies there afterwards:
    PATH/1 (2, 3, ... for the next exports), a SavedModel with requests to warm up with, class names and config in
    assets.extra; models.config and batching.config for TensorFlow Serving to start from.

    Args:
        model: a `MaskRCNN`.
        path: of the folder that holds the versions; made if absent.
        height, width: fix the size of `image`; None = any.
        masks: see above.
        mask_threshold: lowest probability that belongs to the object.
        score_threshold: leave out detections scored below; None = what the model's own config let through.
        frozen: store weights as constants, which TensorFlow folds into each other: faster. A model of more than 2 GB
            cannot be.
        precision: what features are computed in, whatever machine runs it, see `mrcnn.set_precision`; None = as the
            model does now.
        max_pixels, min_side, max_batch_size, max_request_pixels: see `Limits`; max_pixels None = by the kind of masks,
            max_request_pixels None = twice max_pixels.
        images: to compare and to warm up with, the first `served_check.COMPARED`; best of the kind the model was
            trained on. None = noise and a blank image.
        max_difference: largest differences accepted; None = `compare.ACCEPTED`, of half precision `ACCEPTED_IN_HALF`.
        version: number of the folder; None = one more than the highest there.
        log: called with the comparison's result, which the metadata hold too; None = silent.

    Returns:
        the path of the version. It is written under a temporary name, then renamed.

    Raises:
        InputError: the folder holds something else than versions, or that version; an argument is out of range; an
            image is beyond the limits.
        ExportError: the detections differ by more than `max_difference`, the graph holds what not every TensorFlow
            has, or the model's boxes are rotated. Nothing is left behind.
    """
    path = Path(path)
    expect_axis_aligned(model)
    refuse_panoptic(model)
    if masks not in MAX_PIXELS:
        raise InputError(f"masks: expected one of {', '.join(MAX_PIXELS)}, got {masks!r}")
    limits = Limits(
        MAX_PIXELS[masks] if max_pixels is None else max_pixels, min_side, max_batch_size, max_request_pixels
    )
    if not limits.allow(height or min_side, width or min_side):
        raise InputError(f"height, width: {height} x {width} is beyond the limits: {limits}")
    expect_versions(path, version)
    requests = _requests(model, images, limits, height, width)
    precision = precision or precision_of(model)
    with _temporary_folder(path) as temporary, in_precision(model, precision):
        served = ServedModel(
            model,
            height=height,
            width=width,
            masks=masks,
            mask_threshold=mask_threshold,
            score_threshold=score_threshold,
            frozen=frozen,
            limits=limits,
        )
        folder = temporary / "model"
        served.save(folder)
        expect_stock_operations(folder)
        difference = _compare(model, folder, requests, masks, mask_threshold, score_threshold)
        expect_within(max_difference or (ACCEPTED if precision == "float32" else ACCEPTED_IN_HALF), difference)
        tf_serving.write_warmup(folder, tf_serving.serving_name(path), to_warm_up(requests))
        kind = {"kind": masks, "threshold": mask_threshold}
        compared = {"limits": dataclasses.asdict(limits), "compared": dataclasses.asdict(difference)}
        _write_assets(folder, model, {**_metadata(model), "masks": kind, "precision": precision, **compared})
        target = move(folder, path, version)
    tf_serving.write_config(path, limits.max_batch_size)
    if log is not None:
        log(str(difference))
    return target


def _requests(
    model: Any, images: Iterable[ImageLike] | None, limits: Limits, height: int | None, width: int | None
) -> list[Request]:
    """What to compare and to warm up with; noise where no image fits the size that is fixed."""
    pixels = [] if images is None else read_images(images, limits)
    fits = [p for p in pixels if height in (None, p.shape[0]) and width in (None, p.shape[1])]
    if not fits:
        fits = noise_images(model, limits, height, width)
        pixels += fits
    return requests_of(fits, pixels, limits)


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """A folder in `path`, which is made; where the body fails nothing is left of either."""
    created = make_folder(path)
    temporary = Path(tempfile.mkdtemp(prefix=".export.", dir=path))
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for made in created:
            with contextlib.suppress(OSError):  # someone else put something there
                made.rmdir()
        raise
    shutil.rmtree(temporary, ignore_errors=True)


def _compare(
    model: Any,
    folder: Path,
    requests: list[Request],
    masks: Masks,
    mask_threshold: float,
    score_threshold: float | None,
) -> Difference:
    """How the detections of a SavedModel differ from the model's."""
    loaded = tf.saved_model.load(str(folder))  # its variables live as long as it does
    with full_precision():
        return compare_served(model, loaded.signatures, requests, masks, mask_threshold, score_threshold)


def _write_assets(folder: Path, model: Any, metadata: dict[str, Any]) -> None:
    (folder / METADATA).write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
    (folder / CLASS_NAMES).write_text("".join(f"{name}\n" for name in model.class_names), encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class SavedModelOptions(ExportOptions):
    """Choices for a SavedModel, see `export_saved_model`."""

    height: int | None = None
    width: int | None = None
    masks: Masks = "small"
    mask_threshold: float = 0.5
    score_threshold: float | None = None
    frozen: bool = True
    precision: StatedPrecision | None = None
    max_pixels: int | None = None
    min_side: int = 2
    max_batch_size: int = 16
    max_request_pixels: int | None = None
    version: int | None = None


class SavedModelExporter(Exporter):
    """Folders that TensorFlow Serving, C++, or TensorFlow without this package run."""

    name = "savedmodel"
    summary = "a folder for TensorFlow Serving, C++, or Python without this package"
    options = SavedModelOptions

    def export(
        self,
        model: Any,
        path: str | os.PathLike[str],
        options: ExportOptions | None = None,
        *,
        images: Iterable[ImageLike] | None = None,
        max_difference: Difference | None = None,
        log: Callable[[str], None] | None = None,
    ) -> Path:
        """Write the next version, see `export_saved_model`."""
        chosen = {f.name: getattr(self.expect_options(options), f.name) for f in dataclasses.fields(self.options)}
        return export_saved_model(model, path, **chosen, images=images, max_difference=max_difference, log=log)

    def write(self, model: Any, path: Path, options: ExportOptions) -> None:
        """Not used: a version is more than one file, and is moved into a folder that others lie in."""
        raise NotImplementedError

    def load(self, path: str | os.PathLike[str]) -> Any:
        """Refused: a SavedModel resizes by itself, so that `detect` has nothing to do with it."""
        raise ExportError(
            f"{os.fspath(path)}: a SavedModel is run by TensorFlow alone, tf.saved_model.load(path).signatures;"
            " docs/serving.md has an example"
        )

    def path_in(self, folder: Path) -> Path:
        """The folder itself, which holds the versions."""
        return folder


def expect_stock_operations(folder: Path) -> None:
    """Checks every operation of a SavedModel, those of its functions included.

    Raises:
        ExportError: one is not TensorFlow's own, calls Python, or makes a resource that is no variable.
    """
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    functions = {function.signature.name for function in graph.library.function}
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    used = {node.op for node in nodes} - functions
    # raw_ops was written when TensorFlow was built: unlike the registry it does not know what was loaded since
    strange = sorted(op for op in used if op in _FOREIGN or not hasattr(tf.raw_ops, op))
    if strange:
        raise ExportError(f"not exported: not every TensorFlow has the operations {', '.join(strange)}")
    stateful = sorted(
        op
        for op in used - {"VarHandleOp"}
        if any(output.type == types_pb2.DT_RESOURCE for output in op_def_registry.get(op).output_arg)
    )
    if stateful:
        raise ExportError(
            f"not exported: the graph makes resources that no checkpoint restores ({', '.join(stateful)})"
        )


def _metadata(model: Any) -> dict[str, Any]:
    config = model.config.input
    outputs = {output.name: output for output in model.config.outputs if output.exported}
    masks = outputs.get(MASKS.name)
    return {
        "class_names": list(model.class_names),
        "category_ids": list(getattr(model, "category_ids", None) or range(1, len(model.class_names) + 1)),
        "input": {name: value for name, value in config.to_dict().items() if name != "kind"},
        "outputs": [dataclasses.asdict(output) for output in outputs.values()],
        **({"paste": masks.paste.convention} if masks is not None else {}),
    }
