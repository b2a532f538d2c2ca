"""A model as a SavedModel: raw images in, detections in their pixels out, nothing but stock TensorFlow operations."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.export import tf_serving
from mrcnn.export.base import Exporter, ExportOptions
from mrcnn.export.check import expect_within, noise
from mrcnn.export.compare import ACCEPTED, Difference, compare, full_precision
from mrcnn.export.errors import ExportError
from mrcnn.export.served import MAX_PIXELS, Limits, Masks, ServedModel
from mrcnn.inference import ImageLike, detect, load_image, make_instances
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import paste_masks
from mrcnn.structures.outputs import MASKS, STANDARD, HeadOutput

METADATA = "assets.extra/mrcnn.json"
"""Inside the SavedModel: class names, category ids, input config, limits, how it compared with the Python model."""
CLASS_NAMES = "assets.extra/class_names.txt"
"""Inside the SavedModel: the name of class id k in line k."""

COMPARED = 8
"""Images that an export is compared on, at most: each runs four times."""

_WARM_UP = 4, 32_000_000
"""Requests of each signature to warm up with, and their bytes, unless there is only one; the smallest are taken."""

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
    max_pixels: int | None = None,
    min_side: int = 2,
    max_batch_size: int = 16,
    max_request_pixels: int | None = None,
    images: Iterable[ImageLike] | None = None,
    max_difference: Difference = ACCEPTED,
    version: int | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Write a model as a SavedModel that needs TensorFlow alone: for TensorFlow Serving, C++, Python without `mrcnn`.

    It does what `detect` does: resize, pad, model, boxes back. Images of one padded shape go through the model
    together, and no answer depends on the company. Signatures:

    * `serving_default` takes `image` u8[B, H, W, 3], RGB images of any sizes, each in the upper left corner, and
      `shape` i32[B, 2], their true heights and widths;
    * `encoded` takes `image_bytes` string[B], JPEG or PNG files (gray, palette, with transparency, 16 bit; a JPEG's
      EXIF orientation is applied).

    Both return, per image, N slots, as many as the image with most detections needs (0 where there are none),
    best score first; what is not `valid` is zero:

    * `boxes` f32[B, N, 4], (y1, x1, y2, x2) in pixels of the image;
    * `class_ids` i32[B, N] from 1; `scores` f32[B, N]; `valid` bool[B, N]; `num_detections` i32[B];
    * with a mask head, `masks`: "small" f32[B, N, M, M], probabilities on a grid; stretched over `mask_boxes`
      f32[B, N, 4], the box before it was clipped to the image, what is at least `mask_threshold` belongs to the
      object (`paste` in assets.extra/mrcnn.json names the exact rule);
      "full" u8[B, N, H, W], 0 or 1, H and W those of the input or of the largest file; "packed" u8[B, N, H, W / 8], the
      same with eight pixels in a byte: `numpy.unpackbits(masks, axis=-1, count=W)`;
    * with a keypoint head, `keypoints` f32[B, N, J, 3], (x, y, score);
    * what further heads declare in `outputs`, [B, N, ...] under their names; masks among them as `masks`.

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
        max_pixels, min_side, max_batch_size, max_request_pixels: see `Limits`; max_pixels None = by the kind of masks,
            max_request_pixels None = twice max_pixels.
        images: to compare and to warm up with, the first `COMPARED` of them; a model is best compared on what it was
            trained for. None = noise and a blank image.
        max_difference: bounds on how far the answers may be apart.
        version: number of the folder; None = one more than the highest there.
        log: called with the comparison's result, which the metadata hold too; None = silent.

    Returns:
        the path of the version. It is written under a temporary name, then renamed.

    Raises:
        InputError: the folder holds something else than versions, or that version; an argument is out of range; an
            image is beyond the limits.
        ExportError: the answers differ by more than `max_difference`, or the graph holds what not every TensorFlow
            has. Nothing is left behind.
    """
    path = Path(path)
    if masks not in MAX_PIXELS:
        raise InputError(f"masks: expected one of {', '.join(MAX_PIXELS)}, got {masks!r}")
    limits = Limits(
        MAX_PIXELS[masks] if max_pixels is None else max_pixels, min_side, max_batch_size, max_request_pixels
    )
    if not limits.allow(height or min_side, width or min_side):
        raise InputError(f"height, width: {height} x {width} is beyond the limits: {limits}")
    _expect_versions(path, version)
    pixels = [] if images is None else _read(images, limits)
    fits = [p for p in pixels if height in (None, p.shape[0]) and width in (None, p.shape[1])]
    if not fits:
        fits = _noise(model, limits, height, width)
        pixels += fits
    created = _make_folder(path)
    temporary = Path(tempfile.mkdtemp(prefix=".export.", dir=path))
    try:
        folder = temporary / "model"
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
        served.save(folder)
        expect_stock_operations(folder)
        loaded = tf.saved_model.load(str(folder))  # its variables live as long as it does
        requests = _requests(fits, pixels, limits)
        with full_precision():
            difference = _compare(model, loaded.signatures, requests, masks, mask_threshold, score_threshold)
        expect_within(max_difference, difference)
        tf_serving.write_warmup(folder, tf_serving.serving_name(path), _to_warm_up(requests))
        metadata = {
            **_metadata(model),
            "masks": {"kind": masks, "threshold": mask_threshold},
            "limits": dataclasses.asdict(limits),
            "compared": dataclasses.asdict(difference),
        }
        (folder / METADATA).write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
        (folder / CLASS_NAMES).write_text("".join(f"{name}\n" for name in model.class_names), encoding="utf-8")
        target = _move(folder, path, version)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for made in created:
            with contextlib.suppress(OSError):  # someone else put something there
                made.rmdir()
        raise
    shutil.rmtree(temporary, ignore_errors=True)
    tf_serving.write_config(path, limits.max_batch_size)
    if log is not None:
        log(str(difference))
    return target


@dataclasses.dataclass(frozen=True)
class SavedModelOptions(ExportOptions):
    """Choices for a SavedModel, see `export_saved_model`."""

    height: int | None = None
    width: int | None = None
    masks: Masks = "small"
    mask_threshold: float = 0.5
    score_threshold: float | None = None
    frozen: bool = True
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
        bounds = max_difference or ACCEPTED
        return export_saved_model(model, path, **chosen, images=images, max_difference=bounds, log=log)

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


# ---- folders ----


def _versions(path: Path) -> list[int]:
    return [int(entry.name) for entry in path.iterdir() if entry.is_dir() and entry.name.isdecimal()]


def _expect_versions(path: Path, version: int | None) -> None:
    """Refuses a folder in which a version has no place."""
    if version is not None and version < 1:
        raise InputError(f"version: expected at least 1, got {version}")
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path}: a file, expected a folder for the versions of a SavedModel")
    for entry in path.iterdir():
        ours = entry.name in tf_serving.CONFIG_FILES or entry.name.startswith(".export.")
        if not ours and not (entry.is_dir() and entry.name.isdecimal()):
            raise InputError(
                f"{path}: holds {entry.name}, expected nothing but versions of a SavedModel (folders 1, 2, ...); "
                "choose another folder"
            )
    if version is not None and (path / str(version)).exists():
        raise InputError(f"{path / str(version)}: exists; choose another version")


def _make_folder(path: Path) -> list[Path]:
    """Makes a folder and those above it; returns what was made, the innermost first."""
    made: list[Path] = []
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.insert(0, folder)
    return made


def _move(folder: Path, base: Path, version: int | None) -> Path:
    """Renames the folder to its version; another export that took the number meanwhile keeps it."""
    number = version or max(_versions(base), default=0) + 1
    while True:
        target = base / str(number)
        if not target.exists():
            try:
                os.rename(folder, target)
                return target
            except OSError:
                if not target.exists():
                    raise
        if version is not None:
            raise InputError(f"{target}: exists; choose another version")
        number += 1


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


# ---- the comparison ----


def _read(images: Iterable[ImageLike], limits: Limits) -> list[np.ndarray]:
    """u8[h, w, 3] of the first few of what `detect` takes."""
    found = []
    for number, image in enumerate(itertools.islice(images, COMPARED)):
        name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"image {number}"
        pixels = load_image(image, number)
        if not limits.allow(*pixels.shape[:2]):
            raise InputError(f"{name}: {pixels.shape[0]} x {pixels.shape[1]} pixels are beyond the limits: {limits}")
        found.append(pixels)
    return found


def _noise(model: Any, limits: Limits, height: int | None, width: int | None) -> list[np.ndarray]:
    """Noise of two shapes, near the size the model resizes to and within the limits, and a blank image."""
    side = model.config.input.short_side

    def fit(h: int, w: int) -> tuple[int, int]:
        """The sides that were fixed, and such others as the limits allow."""
        h, w = height or max(h, limits.min_side), width or max(w, limits.min_side)
        shrink = min(1.0, math.sqrt(limits.max_pixels / (h * w)))
        most = limits.max_pixels // (width or limits.min_side)
        h = height or min(max(int(h * shrink), limits.min_side), most)
        return h, width or min(max(int(w * shrink), limits.min_side), limits.max_pixels // h)

    wide, high = fit(side, side * 5 // 4), fit(side * 3 // 4 + 1, side // 2 + 1)
    return [*noise(model.config.input, 1, wide), *noise(model.config.input, 1, high)[:1]]


Request = tuple[str, dict[str, np.ndarray], list[np.ndarray]]
"""Signature, inputs, and the images they were made of."""


def _requests(fits: Sequence[np.ndarray], images: Sequence[np.ndarray], limits: Limits) -> list[Request]:
    """Every image through both signatures, and where `serving_default` takes it, alone and with others."""
    requests: list[Request] = [("serving_default", pixel_inputs([image]), [image]) for image in fits]
    for batch in _batches(images, limits):
        requests.append(("encoded", {"image_bytes": np.array([encode_png(p) for p in batch], object)}, batch))
    together = next(iter(_batches(fits, limits)), [])
    if len(together) > 1:
        requests.append(("serving_default", pixel_inputs(together), together))
    return requests


def _batches(images: Sequence[np.ndarray], limits: Limits) -> list[list[np.ndarray]]:
    """Neighbors, up to four that a request may hold."""
    batches: list[list[np.ndarray]] = []
    room = 0
    for image in images:
        pixels = image.shape[0] * image.shape[1]
        if pixels > room or len(batches[-1]) == min(limits.max_batch_size, 4):
            batches.append([])
            room = limits.request_pixels
        batches[-1].append(image)
        room -= pixels
    return batches


def pixel_inputs(images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of `serving_default` for images u8[h, w, 3] of any sizes."""
    shape = np.array([image.shape[:2] for image in images], np.int32)
    canvases = np.zeros((len(images), *shape.max(axis=0), 3), np.uint8)
    for canvas, image in zip(canvases, images, strict=True):
        canvas[: image.shape[0], : image.shape[1]] = image
    return {"image": canvases, "shape": shape}


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file of u8[h, w, 3]."""
    return tf.io.encode_png(image).numpy()


def _to_warm_up(requests: Sequence[Request]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Requests of both signatures, for a file that should not grow large: signatures and inputs."""
    most, most_bytes = _WARM_UP

    def size(request: Request) -> int:
        return sum(image.nbytes for image in request[2])

    chosen: list[Request] = []
    for signature in ("serving_default", "encoded"):
        smallest = sorted((request for request in requests if request[0] == signature), key=size)[:most]
        total = itertools.accumulate(map(size, smallest))
        chosen += [
            request
            for i, (request, sum_) in enumerate(zip(smallest, total, strict=True))
            if not i or sum_ <= most_bytes
        ]
    return [(signature, inputs) for signature, inputs, _ in chosen]


def served_instances(
    outputs: Mapping[str, np.ndarray],
    shapes: Sequence[tuple[int, int]],
    masks: Masks = "small",
    mask_threshold: float = 0.5,
    declared: Sequence[HeadOutput] = STANDARD,
) -> list[Instances]:
    """The answer of an exported model as `detect` would give it, one `Instances` an image.

    Args:
        outputs: of either signature, as arrays.
        shapes: (height, width) of each image.
        masks, mask_threshold: what was exported.
        declared: what the outputs of the heads are (`MaskRCNNConfig.outputs`); those absent are left out.
    """
    found = []
    for i, (height, width) in enumerate(shapes):
        num = int(outputs["num_detections"][i])
        kept = {name: value[i, :num] for name, value in outputs.items() if name != "num_detections"}
        values, present = {}, [output for output in declared if output.name in kept]
        for output in present:
            values[output.name] = value = kept[output.name]
            if output.paste is None:
                continue
            if masks == "packed":
                value = np.unpackbits(value, axis=-1)
            if masks == "small":
                boxes = kept[output.boxes_name]
                value = paste_masks(value, boxes, height, width, mask_threshold, output.paste.convention)
            values[output.name] = value[:, :height, :width].astype(bool)
        found.append(make_instances(kept["boxes"], kept["class_ids"], (height, width), kept["scores"], values, present))
    return found


def _compare(
    model: Any,
    signatures: Mapping[str, Any],
    requests: Sequence[Request],
    masks: Masks,
    mask_threshold: float,
    score_threshold: float | None,
) -> Difference:
    expected: dict[int, Instances] = {}
    here, there = [], []
    for signature, inputs, images in requests:
        outputs = signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        outputs = {name: value.numpy() for name, value in outputs.items()}
        shapes = [image.shape[:2] for image in images]
        found = served_instances(outputs, shapes, masks, mask_threshold, model.config.outputs)
        for image, instances in zip(images, found, strict=True):
            if not np.ptp(image, axis=(0, 1)).any():  # every place is like every other: rounding chooses among them
                continue
            there.append(instances)
            if id(image) not in expected:
                (expected[id(image)],) = detect(
                    model, image, score_threshold=score_threshold, mask_threshold=mask_threshold
                )
            here.append(expected[id(image)])
    return compare(here, there)
