"""What a SavedModel holds: the model with everything from a file's bytes to boxes in the image's own pixels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.export.canvas import canvas_function, freeze
from mrcnn.export.compact import compact, keep_best
from mrcnn.export.image_bytes import decode_image, image_shape
from mrcnn.export.paste import paste_masks
from mrcnn.export.resize import canvas_padding, resize_image, resized_shape
from mrcnn.files import atomic_write
from mrcnn.native.loading import stock_ops
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.masks import Paste

Tensor: TypeAlias = tf.Tensor
Masks = Literal["small", "full", "packed"]

MAX_PIXELS = {"small": 50_000_000, "packed": 16_777_216, "full": 4_194_304}
"""Default of `Limits.max_pixels` by the kind of masks: 100 of them are to fit into a few hundred MB."""

MAX_MASK_BYTES = 1 << 30
"""Of all "full" or "packed" masks of a request."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What an exported model accepts; anything else is an error, detections before it costs memory or time."""

    max_pixels: int  # height x width of an image; of a file, as its header states it, before it is decoded
    min_side: int = 2  # pixels
    max_batch_size: int = 16  # images in a request
    max_request_pixels: int | None = None  # of all images of a request together; None: twice `max_pixels`

    def __post_init__(self) -> None:
        if self.max_request_pixels is None:
            object.__setattr__(self, "max_request_pixels", 2 * self.max_pixels)
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise InputError(f"{field.name}: expected at least 1, got {getattr(self, field.name)}")
        if self.request_pixels < self.max_pixels:
            raise InputError(
                f"max_request_pixels: expected at least max_pixels, {self.max_pixels}, got {self.request_pixels}"
            )
        if self.min_side**2 > self.max_pixels:
            raise InputError(f"max_pixels: expected at least {self.min_side} x {self.min_side}, got {self.max_pixels}")

    @property
    def request_pixels(self) -> int:
        """`max_request_pixels` as a number."""
        return self.max_request_pixels or 2 * self.max_pixels

    def allow(self, height: int, width: int) -> bool:
        """Whether an image of that size is accepted."""
        return min(height, width) >= self.min_side and height * width <= self.max_pixels


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
        self._config: InputConfig = model.config.input
        self._limits, self._masks, self._mask_threshold = limits, masks, mask_threshold
        self._pasted_outputs = [output for output in model.config.outputs if output.exported and output.paste]
        with stock_ops():  # a server does not have this package's own op
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
            few_bytes = tf.function(
                self._serve_compact,
                input_signature=[
                    tf.TensorSpec([None], tf.string, "image_bytes"),
                    tf.TensorSpec([None], tf.float32, "score_threshold"),
                    tf.TensorSpec([None], tf.int32, "max_detections"),
                ],
                autograph=False,
            )
            self.signatures = {
                "serving_default": serving_default.get_concrete_function(),
                "encoded": encoded.get_concrete_function(),
                "compact": few_bytes.get_concrete_function(),
            }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the SavedModel."""
        holder = tf.Module()
        holder.variables_of_model = self._variables  # what is tracked is saved
        # A server needs no gradients, and those of RoIAlign cannot be stored
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(holder, os.fspath(folder), self.signatures, options)
        _forget_gradients(Path(folder))

    def _serve_pixels(self, image: Tensor, shape: Tensor) -> dict[str, Tensor]:
        with tf.control_dependencies([self._expect_batch(tf.shape(image)[0])]):
            rows = tf.debugging.Assert(
                tf.equal(tf.shape(shape)[0], tf.shape(image)[0]),
                ["image and shape are of different numbers of images", tf.shape(image)[0], tf.shape(shape)[0]],
            )
        frame = tf.shape(image)[1:3]
        with tf.control_dependencies([rows]):
            inside = tf.reduce_all(shape <= frame)
            fits = tf.debugging.Assert(
                inside, ["shape says that an image is larger than image", shape, frame], summarize=64
            )
        with tf.control_dependencies([fits]):
            shape = self._accepted(shape)

        def crop(index: Tensor) -> Tensor:
            return image[index, : shape[index, 0], : shape[index, 1]]

        return self._serve(crop, shape, frame)

    def _serve_files(self, image_bytes: Tensor) -> dict[str, Tensor]:
        decode, shape = self._opened(image_bytes)
        return self._serve(decode, shape, tf.reduce_max(shape, axis=0))

    def _serve_compact(self, image_bytes: Tensor, score_threshold: Tensor, max_detections: Tensor) -> dict[str, Tensor]:
        stated = tf.stack([tf.size(image_bytes), tf.size(score_threshold), tf.size(max_detections)])
        same = tf.debugging.Assert(
            tf.reduce_all(tf.equal(stated, stated[0])),
            ["image_bytes, score_threshold and max_detections are of different numbers of images", stated],
        )
        with tf.control_dependencies([same]):
            decode, shape = self._opened(image_bytes)
        best = keep_best(self._detections(decode, shape), score_threshold, max_detections)
        return compact(best, shape, self._pasted_outputs, self._mask_threshold)

    def _opened(self, image_bytes: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """What decodes an image by its index, and the shapes of all, i32[B, 2], which were accepted."""
        with tf.control_dependencies([self._expect_batch(tf.shape(image_bytes)[0])]):
            image_bytes = tf.identity(image_bytes)
        spec = tf.TensorSpec([2], tf.int32)
        shape = self._accepted(tf.map_fn(image_shape, image_bytes, fn_output_signature=spec))

        def decode(index: Tensor) -> Tensor:
            with tf.control_dependencies([shape]):  # nothing is decoded before every size was accepted
                return decode_image(image_bytes[index])

        return decode, shape

    def _expect_batch(self, num: Tensor) -> tf.Operation:
        most = self._limits.max_batch_size
        return tf.debugging.Assert((num >= 1) & (num <= most), [f"expected 1 to {most} images in a request, got", num])

    def _accepted(self, shape: Tensor) -> Tensor:
        """i32[B, 2], the same; an error that names the first image beyond the limits, or what all are together."""
        limits = self._limits
        sides = tf.cast(shape, tf.int64)
        wrong = (tf.reduce_min(sides, axis=1) < limits.min_side) | (tf.reduce_prod(sides, axis=1) > limits.max_pixels)
        first = tf.argmax(tf.cast(wrong, tf.int32))
        message = tf.strings.format(
            f"image {{}} has {{}} x {{}} pixels (height x width); expected sides of at least {limits.min_side} and "
            f"at most {limits.max_pixels} pixels in all",
            (first, sides[first, 0], sides[first, 1]),
        )
        with tf.control_dependencies([tf.debugging.Assert(~tf.reduce_any(wrong), [message])]):
            total = tf.reduce_sum(tf.reduce_prod(sides, axis=1))
        message = tf.strings.format(
            "the images of this request have {} pixels together; "
            f"at most {limits.request_pixels} are accepted: send fewer images",
            total,
        )
        with tf.control_dependencies([tf.debugging.Assert(total <= limits.request_pixels, [message])]):
            return tf.identity(shape)

    def _serve(self, pixels: Callable[[Tensor], Tensor], shape: Tensor, frame: Tensor) -> dict[str, Tensor]:
        """What a signature gives.

        Args:
            pixels: index of an image, i32[], to u8[h, w, 3].
            shape: i32[B, 2], accepted.
            frame: i32[2], size of full masks.
        """
        detections = self._detections(pixels, shape)
        num = tf.reduce_sum(tf.cast(detections["valid"], tf.int32), axis=1)
        detections = {name: value[:, : tf.reduce_max(num)] for name, value in detections.items()}
        if self._masks != "small":
            for output in self._pasted_outputs:
                boxes, convention = detections.pop(output.boxes_name), output.paste.convention
                detections[output.name] = self._pasted(
                    detections[output.name], boxes, detections["valid"], frame, convention
                )
        return {**detections, "num_detections": num}

    def _detections(self, pixels: Callable[[Tensor], Tensor], shape: Tensor) -> dict[str, Tensor]:
        """Detections of a batch, [B, D, ...], masks on their grids; arguments as for `_serve`."""
        config = self._config
        sides = resized_shape(
            shape[:, 0],
            shape[:, 1],
            config.short_side,
            config.long_side,
            config.rounding,
            config.never_shrink_for_short,
        )
        content = tf.stack(sides, axis=1)  # [B, 2]
        padding = tf.stack([tf.stack(canvas_padding(side, config), axis=1) for side in sides], axis=1)  # [B, 2, 2]
        canvas = content + tf.reduce_sum(padding, axis=2)

        def prepare(index: Tensor) -> Tensor:
            height, width = tf.unstack(content[index])
            resized = resize_image(pixels(index)[tf.newaxis], height, width, config.interpolation)[0]
            return tf.pad(resized, tf.concat([padding[index], [[0, 0]]], axis=0))

        return self._in_groups(prepare, shape, content, canvas)

    def _in_groups(
        self, prepare: Callable[[Tensor], Tensor], shape: Tensor, content: Tensor, canvas: Tensor
    ) -> dict[str, Tensor]:
        """Detections of all images, those of one canvas at a time: what surrounds an image changes its features."""
        kind = self._config.image_dtype
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
            detections = self.detect_on_canvas(images, tf.gather(shape, members), tf.gather(content, members))
            arrays = [array.write(number, detections[name]) for name, array in zip(names, arrays, strict=True)]
            return number + 1, order.write(number, members), arrays

        _, order, arrays = tf.while_loop(
            lambda number, *_: number < num_groups,
            run,
            [tf.constant(0), order, arrays],
            parallel_iterations=1,  # one group's activations at a time
        )
        back = tf.argsort(order.concat())
        return {name: tf.gather(array.concat(), back) for name, array in zip(names, arrays, strict=True)}

    def _pasted(self, masks: Tensor, boxes: Tensor, valid: Tensor, frame: Tensor, convention: Paste) -> Tensor:
        batch_size, num = tf.unstack(tf.shape(valid))
        width = (frame[1] + 7) // 8 if self._masks == "packed" else frame[1]
        size = tf.reduce_prod(tf.cast([batch_size, num, frame[0], width], tf.int64))
        bounded = tf.debugging.Assert(
            size <= MAX_MASK_BYTES,
            ["the masks of this request take", size, f"bytes; at most {MAX_MASK_BYTES} are given: send fewer images"],
        )
        with tf.control_dependencies([bounded]):
            masks = tf.identity(masks)
        pasted = paste_masks(
            tf.reshape(masks, [-1, *masks.shape[2:]]),
            tf.reshape(boxes, [-1, 4]),
            tf.reshape(valid, [-1]),
            frame[0],
            frame[1],
            self._mask_threshold,
            convention,
            packed=self._masks == "packed",
        )
        return tf.reshape(pasted, tf.stack([batch_size, num, frame[0], width]))


def _forget_gradients(folder: Path) -> None:
    """Removes the names of custom gradients from a SavedModel that does not hold them.

    TensorFlow would warn on loading it, for each function, that gradients are missing.
    """
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model import fingerprinting_utils

    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    graph = saved.meta_graphs[0].graph_def
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            node.attr.pop("_gradient_op_type", None)
    with atomic_write(file) as part:
        part.write_bytes(saved.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    fingerprinting_utils.write_fingerprint(str(folder))
