"""A model as a SavedModel: raw pictures in, detections in their pixels out, nothing but stock TensorFlow operations."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from mrcnn.data.pictures import read_picture
from mrcnn.export import tf_serving
from mrcnn.export.compare import ACCEPTED, Difference, compare
from mrcnn.export.paste import paste_masks
from mrcnn.export.picture_bytes import decode_picture, picture_shape
from mrcnn.export.resize import resize_image, resized_shape
from mrcnn.inference import Picture, detect
from mrcnn.modeling.input import InputConfig
from mrcnn.ops import masks as host
from mrcnn.ops.custom import stock_ops
from mrcnn.structures import Instances

Tensor = tf.Tensor
Masks = Literal["small", "full", "packed"]

METADATA = "assets.extra/mrcnn.json"
"""Inside the SavedModel: class names, category ids, input settings, limits, how it compared with the Python model."""
CLASS_NAMES = "assets.extra/class_names.txt"
"""Inside the SavedModel: the name of class id k in line k."""

MAX_PIXELS = {"small": 50_000_000, "packed": 16_777_216, "full": 4_194_304}
"""Default of `Limits.max_pixels` by the kind of masks: 100 of them are to fit into a few hundred MB."""

_FOREIGN = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""Stock operations that call back into the Python process that made them."""


_MAX_CONSTANTS = 2_000_000_000
"""Bytes; a graph is one protobuf, which holds at most 2 GiB."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What an exported model accepts; anything else is an error, found before it costs memory or time."""

    max_pixels: int  # height x width of a picture; of a file, as its header states it, before it is decoded
    min_side: int = 2  # pixels
    max_batch_size: int = 16  # pictures in a request


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
    pictures: Iterable[Picture] | None = None,
    max_difference: Difference = ACCEPTED,
    version: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Write a model as a SavedModel that needs TensorFlow alone: for TensorFlow Serving, C++, Python without `mrcnn`.

    It does what `detect` does: resize, pad, model, boxes back. Pictures of one padded shape go through the model
    together, and no answer depends on the company. Signatures:

    * `serving_default` takes `image` u8[B, H, W, 3], RGB pictures of any sizes, each in the upper left corner, and
      `shape` i32[B, 2], their true heights and widths;
    * `encoded` takes `image_bytes` string[B], JPEG or PNG files (grey, palette, with transparency, 16 bit; a JPEG's
      EXIF orientation is applied).

    Both return, per picture, N slots, as many as the picture with most detections needs (0 where there are none),
    best score first; what is not `valid` is zero:

    * `boxes` f32[B, N, 4], (y1, x1, y2, x2) in pixels of the picture;
    * `class_ids` i32[B, N] from 1; `scores` f32[B, N]; `valid` bool[B, N]; `num_detections` i32[B];
    * with a mask head, `masks`: "small" f32[B, N, M, M], probabilities on a grid that spans the box: stretched over the
      box, it belongs to the object from `mask_threshold` (`paste` in assets.extra/mrcnn.json names the exact rule);
      "full" u8[B, N, H, W], 0 or 1, H and W those of the input or of the largest file; "packed" u8[B, N, H, W / 8], the
      same with eight pixels in a byte: `numpy.unpackbits(masks, axis=-1, count=W)`;
    * with a keypoint head, `keypoints` f32[B, N, J, 3], (x, y, score).

    Before it is moved into place it is loaded again and compared with `detect`. What lies there afterwards:
    PATH/1 (2, 3, ... for the next exports), a SavedModel with requests to warm up with, class names and settings in
    assets.extra; models.config and batching.config for TensorFlow Serving to start from.

    Args:
        model: a `MaskRCNN`.
        path: of the folder that holds the versions; made if absent.
        height, width: fix the size of `image`; None = any.
        masks: see above.
        mask_threshold: lowest probability that belongs to the object.
        score_threshold: leave out detections scored below; None = what the model's own settings let through.
        frozen: store weights as constants, which TensorFlow folds into each other: faster. A model of more than 2 GB
            cannot be.
        max_pixels, min_side, max_batch_size: see `Limits`; max_pixels None = by the kind of masks.
        pictures: to compare and to warm up with; a model is best compared on what it was trained for. None = noise.
        max_difference: bounds on how far the answers may be apart.
        version: number of the folder; None = one more than the highest there.
        say: told how the answers differ; None = not told. The metadata hold it too.

    Returns:
        the path of the version. It is written under a temporary name, then renamed.

    Raises:
        ValueError: the folder holds something else than versions, or that version; an argument is out of range.
        RuntimeError: the answers differ by more than `max_difference`, or the graph holds what not every TensorFlow
            has. Nothing is left behind.
    """
    path = Path(path)
    if masks not in MAX_PIXELS:
        raise ValueError(f"masks: expected one of {', '.join(MAX_PIXELS)}, got {masks!r}")
    limits = Limits(MAX_PIXELS[masks] if max_pixels is None else max_pixels, min_side, max_batch_size)
    for field in dataclasses.fields(limits):
        if getattr(limits, field.name) < 1:
            raise ValueError(f"{field.name}: expected at least 1, got {getattr(limits, field.name)}")
    _expect_versions(path, version)
    pixels = [_pixels(picture) for picture in (_noise(model, height, width) if pictures is None else pictures)]
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
        serve = tf.saved_model.load(str(folder)).signatures
        fits = [p for p in pixels if height in (None, p.shape[0]) and width in (None, p.shape[1])]
        requests = _requests(fits, pixels, limits, (height, width))
        difference = _compare(model, serve, requests, masks, mask_threshold, score_threshold)
        if beyond := difference.beyond(max_difference):
            raise RuntimeError(
                f"{path}: not exported, its answers differ too much from the model's: {'; '.join(beyond)}"
            )
        tf_serving.write_warmup(folder, tf_serving.serving_name(path), _inputs(requests))
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
    if say is not None:
        say(str(difference))
    return target


# ---- folders ----


def _versions(path: Path) -> list[int]:
    return [int(entry.name) for entry in path.iterdir() if entry.is_dir() and entry.name.isdecimal()]


def _expect_versions(path: Path, version: int | None) -> None:
    """Refuses a folder in which a version has no place."""
    if version is not None and version < 1:
        raise ValueError(f"version: expected at least 1, got {version}")
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"{path}: a file, expected a folder for the versions of a SavedModel")
    for entry in path.iterdir():
        ours = entry.name in tf_serving.CONFIG_FILES or entry.name.startswith(".export.")
        if not ours and not (entry.is_dir() and entry.name.isdecimal()):
            raise ValueError(
                f"{path}: holds {entry.name}, expected nothing but versions of a SavedModel (folders 1, 2, ...); "
                "choose another folder"
            )
    if version is not None and (path / str(version)).exists():
        raise ValueError(f"{path / str(version)}: exists; choose another version")


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
            raise ValueError(f"{target}: exists; choose another version")
        number += 1


# ---- what is exported ----


class ServedModel:
    """The functions of a SavedModel; see `export_saved_model` for what goes in and comes out.

    `detect_on_canvas` is the model without what depends on sizes: a source for formats that know no loops.
    """

    def __init__(
        self,
        model: Any,
        *,
        limits: Limits,
        height: int | None = None,
        width: int | None = None,
        masks: Masks = "small",
        mask_threshold: float = 0.5,
        score_threshold: float | None = None,
        frozen: bool = True,
    ) -> None:
        self._settings: InputConfig = model.config.input
        self._limits, self._masks, self._mask_threshold = limits, masks, mask_threshold
        self._paste = _pasting(model)[0]
        with stock_ops():  # whoever serves the model need not have this package's own op
            self.detect_on_canvas = canvas_function(model, score_threshold)
            self._variables = [] if frozen else [variable.value for variable in model.variables]
            if frozen:
                self.detect_on_canvas = freeze(self.detect_on_canvas)
            serving_default = tf.function(
                self._serve_pixels,
                input_signature=[
                    tf.TensorSpec([None, height, width, 3], tf.uint8, "image"),
                    tf.TensorSpec([None, 2], tf.int32, "shape"),
                ],
                autograph=False,
            )
            encoded = tf.function(
                self._serve_files,
                input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")],
                autograph=False,
            )
            self.signatures = {
                "serving_default": serving_default.get_concrete_function(),
                "encoded": encoded.get_concrete_function(),
            }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the SavedModel."""
        holder = tf.Module()
        holder.variables_of_model = self._variables  # what is tracked is saved
        # Gradients are of no use to whoever serves the model, and those of RoIAlign cannot be stored
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(holder, os.fspath(folder), self.signatures, options)

    def _serve_pixels(self, image: Tensor, shape: Tensor) -> dict[str, Tensor]:
        with tf.control_dependencies([self._expect_batch(tf.shape(image)[0])]):
            rows = tf.debugging.Assert(
                tf.equal(tf.shape(shape)[0], tf.shape(image)[0]),
                ["image and shape are of different numbers of pictures", tf.shape(image)[0], tf.shape(shape)[0]],
            )
        frame = tf.shape(image)[1:3]
        with tf.control_dependencies([rows]):
            inside = tf.reduce_all(shape <= frame)
            fits = tf.debugging.Assert(
                inside, ["shape says that a picture is larger than image", shape, frame], summarize=64
            )
        with tf.control_dependencies([fits]):
            shape = self._accepted(shape)

        def crop(index: Tensor) -> Tensor:
            return image[index, : shape[index, 0], : shape[index, 1]]

        return self._serve(crop, shape, frame)

    def _serve_files(self, image_bytes: Tensor) -> dict[str, Tensor]:
        with tf.control_dependencies([self._expect_batch(tf.shape(image_bytes)[0])]):
            image_bytes = tf.identity(image_bytes)
        spec = tf.TensorSpec([2], tf.int32)
        shape = self._accepted(tf.map_fn(picture_shape, image_bytes, fn_output_signature=spec))

        def decode(index: Tensor) -> Tensor:
            with tf.control_dependencies([shape]):  # nothing is decoded before every size was accepted
                return decode_picture(image_bytes[index])

        return self._serve(decode, shape, tf.reduce_max(shape, axis=0))

    def _expect_batch(self, num: Tensor) -> tf.Operation:
        most = self._limits.max_batch_size
        return tf.debugging.Assert(
            (num >= 1) & (num <= most), [f"expected 1 to {most} pictures in a request, got", num]
        )

    def _accepted(self, shape: Tensor) -> Tensor:
        """i32[B, 2], the same; an error that names the first picture beyond the limits."""
        limits = self._limits
        sides = tf.cast(shape, tf.int64)
        wrong = (tf.reduce_min(sides, axis=1) < limits.min_side) | (tf.reduce_prod(sides, axis=1) > limits.max_pixels)
        first = tf.argmax(tf.cast(wrong, tf.int32))
        message = tf.strings.format(
            f"picture {{}} has {{}} x {{}} pixels (height x width); expected sides of at least {limits.min_side} and "
            f"at most {limits.max_pixels} pixels in all",
            (first, sides[first, 0], sides[first, 1]),
        )
        with tf.control_dependencies([tf.debugging.Assert(~tf.reduce_any(wrong), [message])]):
            return tf.identity(shape)

    def _serve(self, pixels: Callable[[Tensor], Tensor], shape: Tensor, frame: Tensor) -> dict[str, Tensor]:
        """Detections of a batch.

        Args:
            pixels: index of a picture, i32[], to u8[h, w, 3].
            shape: i32[B, 2], accepted.
            frame: i32[2], size of full masks.
        """
        settings = self._settings
        sides = resized_shape(
            shape[:, 0],
            shape[:, 1],
            settings.short_side,
            settings.long_side,
            settings.rounding,
            settings.never_shrink_for_short,
        )
        content = tf.stack(sides, axis=1)  # [B, 2]
        padding = tf.stack([tf.stack(_padding(side, settings), axis=1) for side in sides], axis=1)  # [B, 2, 2]
        canvas = content + tf.reduce_sum(padding, axis=2)

        def prepare(index: Tensor) -> Tensor:
            resized = resize_image(pixels(index)[tf.newaxis], *tf.unstack(content[index]), settings.interpolation)[0]
            return tf.pad(resized, tf.concat([padding[index], [[0, 0]]], axis=0))

        found = self._in_groups(prepare, shape, content, canvas)
        num = tf.reduce_sum(tf.cast(found["valid"], tf.int32), axis=1)
        found = {name: value[:, : tf.reduce_max(num)] for name, value in found.items()}
        paste_boxes = found.pop("paste_boxes")
        if "masks" in found and self._masks != "small":
            found["masks"] = self._pasted(found["masks"], paste_boxes, found["valid"], frame)
        return {**found, "num_detections": num}

    def _in_groups(
        self, prepare: Callable[[Tensor], Tensor], shape: Tensor, content: Tensor, canvas: Tensor
    ) -> dict[str, Tensor]:
        """Detections of all pictures, those of one canvas at a time: what surrounds a picture changes its features."""
        kind = tf.float32 if self._settings.interpolation == "linear" else tf.uint8
        wide = tf.cast(canvas, tf.int64)
        unique, group = tf.unique(wide[:, 0] * 2**32 + wide[:, 1])
        num_groups = tf.size(unique)
        outputs = self.detect_on_canvas.structured_outputs
        names = sorted(outputs)
        arrays = [
            tf.TensorArray(
                outputs[name].dtype, num_groups, infer_shape=False, element_shape=[None, *outputs[name].shape[1:]]
            )
            for name in names
        ]
        order = tf.TensorArray(tf.int32, num_groups, infer_shape=False, element_shape=[None])

        def run(number: Tensor, order: tf.TensorArray, arrays: list[tf.TensorArray]) -> tuple[Any, ...]:
            members = tf.cast(tf.where(tf.equal(group, number))[:, 0], tf.int32)
            images = tf.map_fn(
                prepare, members, fn_output_signature=tf.TensorSpec([None, None, 3], kind), parallel_iterations=2
            )
            found = self.detect_on_canvas(images, tf.gather(shape, members), tf.gather(content, members))
            arrays = [array.write(number, found[name]) for name, array in zip(names, arrays, strict=True)]
            return number + 1, order.write(number, members), arrays

        _, order, arrays = tf.while_loop(
            lambda number, *_: number < num_groups,
            run,
            [tf.constant(0), order, arrays],
            parallel_iterations=1,  # one group's activations at a time
        )
        back = tf.argsort(order.concat())
        return {name: tf.gather(array.concat(), back) for name, array in zip(names, arrays, strict=True)}

    def _pasted(self, masks: Tensor, boxes: Tensor, valid: Tensor, frame: Tensor) -> Tensor:
        batch_size, num = tf.unstack(tf.shape(valid))
        pasted = paste_masks(
            tf.reshape(masks, [-1, *masks.shape[2:]]),
            tf.reshape(boxes, [-1, 4]),
            tf.reshape(valid, [-1]),
            frame[0],
            frame[1],
            self._mask_threshold,
            self._paste,
            packed=self._masks == "packed",
        )
        width = (frame[1] + 7) // 8 if self._masks == "packed" else frame[1]
        return tf.reshape(pasted, tf.stack([batch_size, num, frame[0], width]))


def canvas_function(model: Any, score_threshold: float | None = None) -> Any:
    """The model on pictures that were resized and padded, boxes taken back to original pixels: a concrete function.

    Takes `image` u8[B, H, W, 3] (f32 where the input's interpolation is "linear"), `original_shape` i32[B, 2] and
    `content_shape` i32[B, 2] as `structures.batch_spec` has them. Returns a dict of `boxes` f32[B, D, 4] in pixels of
    the original pictures, `class_ids`, `scores`, `valid`, `masks`, `keypoints` as the model has them, valid ones first
    and all else zero, and `paste_boxes` f32[B, D, 4], the boxes for which the masks were predicted.

    Traced as it is called: inside `ops.custom.stock_ops` it holds only TensorFlow's own operations.
    """
    settings = model.config.input
    paste_offset = _pasting(model)[1]
    end = settings.end_offset
    kind = tf.float32 if settings.interpolation == "linear" else tf.uint8

    def detect_on_canvas(image: Tensor, original_shape: Tensor, content_shape: Tensor) -> dict[str, Tensor]:
        batch = {
            "image": image,
            "image_id": tf.range(tf.cast(tf.shape(image)[0], tf.int64), dtype=tf.int64),
            "original_shape": original_shape,
            "content_shape": content_shape,
        }
        found = dict(model(batch, training=False))
        before = (tf.shape(image)[1:3] - content_shape) // 2 if settings.padding == "centre" else 0 * content_shape
        origin = tf.cast(before, tf.float32)[:, tf.newaxis]  # [B, 1, 2], (y, x)
        sides = (tf.cast(shape, tf.float64) + end for shape in (original_shape, content_shape))
        original, content = sides
        scale = tf.cast(original / tf.maximum(content, 1.0), tf.float32)[:, tf.newaxis]
        whole = (found["boxes"] - tf.tile(origin, [1, 1, 2])) * tf.tile(scale, [1, 1, 2])
        whole -= tf.constant([0.0, 0.0, end, end])
        if settings.whole_pixels:
            whole = tf.round(whole)
        frame = tf.tile(tf.cast(original_shape, tf.float32), [1, 2])[:, tf.newaxis]  # [B, 1, 4]
        boxes = tf.clip_by_value(whole, 0.0, frame)
        valid = found["valid"] & (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        if score_threshold is not None:
            valid &= found["scores"] >= score_threshold
        found |= {"boxes": boxes, "paste_boxes": whole + tf.constant([0.0, 0.0, paste_offset, paste_offset])}
        if "keypoints" in found:
            points = (found["keypoints"][..., :2] - origin[:, :, tf.newaxis, ::-1]) * scale[:, :, tf.newaxis, ::-1]
            found["keypoints"] = tf.concat([points, found["keypoints"][..., 2:]], axis=-1)
        del found["valid"]
        first = tf.argsort(tf.cast(valid, tf.int32), direction="DESCENDING", stable=True)  # [B, D]
        valid = tf.gather(valid, first, batch_dims=1)
        ordered = {"valid": valid}
        for name, value in found.items():
            there = tf.reshape(valid, tf.concat([tf.shape(valid), tf.ones(len(value.shape) - 2, tf.int32)], axis=0))
            ordered[name] = tf.where(there, tf.gather(value, first, batch_dims=1), tf.zeros([], value.dtype))
        return ordered

    return tf.function(
        detect_on_canvas,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], kind, "image"),
            tf.TensorSpec([None, 2], tf.int32, "original_shape"),
            tf.TensorSpec([None, 2], tf.int32, "content_shape"),
        ],
    ).get_concrete_function()


def freeze(function: Any) -> Any:
    """A concrete function that returns a dict of tensors, with its variables as constants.

    Raises:
        ValueError: the variables are too large.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    size = sum(variable.shape.num_elements() * variable.dtype.size for variable in function.variables)
    if size > _MAX_CONSTANTS:
        raise ValueError(f"a model of {size / 1e9:.1f} GB cannot be constants of a graph: export with frozen=False")
    constant = convert_variables_to_constants_v2(function, lower_control_flow=False)
    signature = function.structured_input_signature
    specs = [*signature[0], *signature[1].values()]
    names = sorted(function.structured_outputs)  # the order in which a dict is flattened

    def named(*tensors: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, constant(*tensors), strict=True))

    return tf.function(named, input_signature=specs, autograph=False).get_concrete_function()


def _padding(side: Tensor, settings: InputConfig) -> tuple[Tensor, Tensor]:
    """Pixels (as `side`) before and after the picture along one axis of the canvas; see `InputConfig.canvas_size`."""
    wanted = tf.maximum(side, settings.long_side) if settings.canvas == "square" else side
    total = wanted + -wanted % settings.divisor - side
    before = total // 2 if settings.padding == "centre" else tf.zeros_like(side)
    return before, total - before


def _pasting(model: Any) -> tuple[host.Paste, float]:
    """How the model's masks are pasted, and what is added to y2 and x2 of their boxes for that."""
    for head in getattr(model.config, "heads", ()):
        if hasattr(head, "paste"):
            return head.paste, head.pool.end_offset if head.paste == "padded_integer" else 0.0
    return "exact", 0.0


def expect_stock_operations(folder: Path) -> None:
    """Checks every operation of a SavedModel, those of its functions included.

    Raises:
        RuntimeError: one is not TensorFlow's own, calls Python, or makes a resource that is no variable.
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
        raise RuntimeError(f"not exported: not every TensorFlow has the operations {', '.join(strange)}")
    stateful = sorted(
        op
        for op in used - {"VarHandleOp"}
        if any(output.type == types_pb2.DT_RESOURCE for output in op_def_registry.get(op).output_arg)
    )
    if stateful:
        raise RuntimeError(
            f"not exported: the graph makes resources that no checkpoint restores ({', '.join(stateful)})"
        )


def _metadata(model: Any) -> dict[str, Any]:
    settings = model.config.input
    paste = [head.paste for head in getattr(model.config, "heads", ()) if hasattr(head, "paste")]
    return {
        "class_names": list(model.class_names),
        "category_ids": list(getattr(model, "category_ids", None) or range(1, len(model.class_names) + 1)),
        "input": {name: value for name, value in settings.to_dict().items() if name != "kind"},
        **({"paste": paste[0]} if paste else {}),
    }


# ---- the comparison ----


def _pixels(picture: Picture) -> np.ndarray:
    """u8[h, w, 3] of what `detect` takes."""
    pixels = read_picture(picture) if isinstance(picture, (str, os.PathLike)) else np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(f"pictures: expected uint8 of shape (height, width, 3), got {pixels.dtype} of {pixels.shape}")
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]


def _noise(model: Any, height: int | None, width: int | None) -> list[np.ndarray]:
    """Two pictures of coarse coloured noise, of other shapes, near the size the model resizes to."""
    rng = np.random.default_rng(0)
    side = model.config.input.short_side
    pictures = []
    for shape in ((side, side * 5 // 4), (side * 3 // 4 + 1, side // 2 + 1)):
        h, w = height or shape[0], width or shape[1]
        coarse = rng.integers(0, 256, (h // 12 + 1, w // 12 + 1, 3)).astype(np.uint8)
        pictures.append(np.repeat(np.repeat(coarse, 12, 0), 12, 1)[:h, :w])
    return pictures


Request = tuple[str, dict[str, np.ndarray], list[np.ndarray]]
"""Signature, inputs, and the pictures they were made of."""


def _requests(
    fits: Sequence[np.ndarray], pictures: Sequence[np.ndarray], limits: Limits, size: tuple[int | None, int | None]
) -> list[Request]:
    """Every picture through both signatures: alone where they take one, and some together."""
    requests: list[Request] = []
    for picture in fits:
        requests.append(("serving_default", pixel_inputs([picture]), [picture]))
    together = min(limits.max_batch_size, 4)
    for start in range(0, len(pictures), together):
        batch = list(pictures[start : start + together])
        requests.append(("encoded", {"image_bytes": np.array([encode_png(p) for p in batch], object)}, batch))
    if size == (None, None) and len(fits) > 1:
        batch = list(fits[:together])
        requests.append(("serving_default", pixel_inputs(batch), batch))
    return requests


def pixel_inputs(pictures: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of `serving_default` for pictures u8[h, w, 3] of any sizes."""
    shape = np.array([picture.shape[:2] for picture in pictures], np.int32)
    image = np.zeros((len(pictures), *shape.max(axis=0), 3), np.uint8)
    for canvas, picture in zip(image, pictures, strict=True):
        canvas[: picture.shape[0], : picture.shape[1]] = picture
    return {"image": image, "shape": shape}


def encode_png(picture: np.ndarray) -> bytes:
    """A PNG file of u8[h, w, 3]."""
    return tf.io.encode_png(picture).numpy()


def _inputs(requests: Sequence[Request], most: int = 8) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Requests to warm up with: the first and the last few, so that both signatures are among them."""
    chosen = requests if len(requests) <= most else [*requests[: most // 2], *requests[-(most // 2) :]]
    return [(signature, inputs) for signature, inputs, _ in chosen]


def served_instances(
    outputs: Mapping[str, np.ndarray],
    shapes: Sequence[tuple[int, int]],
    masks: Masks = "small",
    mask_threshold: float = 0.5,
    paste: host.Paste = "exact",
) -> list[Instances]:
    """The answer of an exported model as `detect` would give it, one `Instances` a picture.

    Args:
        outputs: of either signature, as arrays.
        shapes: (height, width) of each picture.
        masks, mask_threshold: what was exported.
        paste: how small masks are pasted.
    """
    found = []
    for i, (height, width) in enumerate(shapes):
        num = int(outputs["num_detections"][i])
        kept = {name: value[i, :num] for name, value in outputs.items() if name != "num_detections"}
        full = kept.get("masks")
        if full is not None:
            if masks == "packed":
                full = np.unpackbits(full, axis=-1)
            if masks == "small":
                full = host.paste_masks(full, kept["boxes"], height, width, mask_threshold, paste)
            full = full[:, :height, :width].astype(bool)
        found.append(
            Instances(kept["boxes"], kept["class_ids"], (height, width), kept["scores"], full, kept.get("keypoints"))
        )
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
    for signature, inputs, pictures in requests:
        outputs = signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        outputs = {name: value.numpy() for name, value in outputs.items()}
        shapes = [picture.shape[:2] for picture in pictures]
        there += served_instances(outputs, shapes, masks, mask_threshold, _pasting(model)[0])
        for picture in pictures:
            if id(picture) not in expected:
                (expected[id(picture)],) = detect(
                    model, picture, score_threshold=score_threshold, mask_threshold=mask_threshold
                )
            here.append(expected[id(picture)])
    return compare(here, there)
