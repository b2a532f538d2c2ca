"""What exports to other runtimes share: the graph they are converted from, and the loaded model that `detect` takes.

The converted graph is the model on one image that lies ready on its canvas; resizing before and pasting after stay
with the host, where they are the same code for every format. Whatever the format, a file takes

    image           u8[1, H, W, 3], the resized image, padded as `InputConfig` says (f32 where the model's
                    interpolation is "linear"); any H and W that are multiples of its `divisor`
    content_shape   i32[1, 2], height and width of the resized image inside the padding

and gives, best score first, N rows, none for an image without objects:

    boxes f32[N, 4], (y1, x1, y2, x2) in pixels of `image`; class_ids i32[N] from 1; scores f32[N]; and the outputs that
    the model's heads declare, such as masks f32[N, M, M], probabilities inside the box; keypoints f32[N, J, 3],
    (x, y, score)

It carries a description of itself, JSON under the key `mrcnn`: the model's config and the names of its classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.export.check import expect_axis_aligned
from mrcnn.export.errors import ExportError, reason, refuse_panoptic
from mrcnn.migrations import migrate_model
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.native.loading import LevelAlign, replaced_by
from mrcnn.preprocessing import InputConfig

Tensor: TypeAlias = tf.Tensor
Run = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]

DESCRIPTION = "mrcnn"
"""Key of the description in a file's own metadata."""

STAND_IN = "PyFuncStateless"
"""Operation that stands for another in a graph of `portable_graph`; converters put their own in its place.

Its fourth input says which: i32[5] of RoIAlign (`stand_in`), f32[2] of group norm (`group_norm_stand_in`).
"""


class PortableGraph(NamedTuple):
    """The model on one image."""

    function: Any  # a frozen `tf.ConcreteFunction`
    inputs: dict[str, str]  # name of the tensor in its graph, by what it is
    outputs: dict[str, str]


# ---- the graph ----


def portable_graph(model: Any, align: LevelAlign, *, keep_loops: bool = False) -> PortableGraph:
    """The model on one image as a graph of stock operations, weights folded in.

    Args:
        model: a `MaskRCNN`.
        align: what RoIAlign of a level becomes, such as `stand_in`.
        keep_loops: loops stay functions (`While`); else they become switches and merges, as TensorFlow 1 had them.

    Raises:
        ExportError: the model pools RoIs otherwise than by RoIAlign, or has rotated boxes or a semantic branch.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    expect_axis_aligned(model)
    refuse_panoptic(model)
    for head in (model.config.box_head, *model.config.heads):
        if head.pool.op != "align":
            raise ExportError(
                f'a model that pools RoIs by "{head.pool.op}" can be exported as a SavedModel only: TensorFlow alone'
                ' can run what it is made of; other formats have an operator for "align"'
            )
    dtype = model.config.input.image_dtype

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, None, None, 3], dtype, "image"),
            tf.TensorSpec([1, 2], tf.int32, "content_shape"),
        ]
    )
    def run(image: Tensor, content_shape: Tensor) -> dict[str, Tensor]:
        detections = dict(model({"image": image, "content_shape": content_shape}, training=False))
        for output in model.config.outputs:
            if not output.exported:
                del detections[output.name]
        count = tf.reduce_sum(tf.cast(detections.pop("valid")[0], tf.int32))
        return {name: value[0, :count] for name, value in detections.items()}

    with replaced_by(align):
        traced = run.get_concrete_function()
    frozen = convert_variables_to_constants_v2(
        traced, lower_control_flow=not keep_loops, aggressive_inlining=keep_loops
    )
    names = [tensor.name for tensor in frozen.outputs]
    return PortableGraph(
        frozen,
        {tensor.op.name: tensor.name for tensor in frozen.inputs},
        dict(zip(sorted(traced.structured_outputs), names, strict=True)),
    )


def stand_in(
    features: Tensor,
    boxes: Tensor,
    image: Tensor,
    stride: int,
    bins: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """One operation of type STAND_IN with inputs features, boxes, image and i32[5], see `stand_in_config`.

    It cannot be run. A function of Python serves, since TensorFlow knows its operation and passes any inputs to it.
    """
    config = tf.constant([stride, *bins, sampling_ratio, int(aligned)], tf.int32)
    pooled = tf.numpy_function(_never, [features, boxes, image, config], tf.float32, stateful=False)
    return tf.ensure_shape(pooled, [None, *bins, features.shape[-1]])


def _never(*_: Any) -> np.ndarray:
    raise RuntimeError("stands for an operation in a graph to be converted; it cannot be run")


def stand_in_config(values: Iterable[Any]) -> dict[str, Any]:
    """The fourth input of a stand-in by name: stride, height, width, sampling_ratio, aligned."""
    names = ("stride", "height", "width", "sampling_ratio", "aligned")
    config: dict[str, Any] = dict(zip(names, (int(value) for value in values), strict=True))
    config["aligned"] = bool(config["aligned"])
    return config


def group_norm_stand_in(x: Tensor, gamma: Tensor, beta: Tensor, groups: int, epsilon: float) -> Tensor:
    """One operation of type STAND_IN with inputs x, gamma, beta and f32[2], groups and epsilon; see `GroupNormOp`."""
    config = tf.constant([groups, epsilon], tf.float32)
    normalized = tf.numpy_function(_never, [x, gamma, beta, config], tf.float32, stateful=False)
    return tf.ensure_shape(normalized, x.shape)


def describe(model: Any) -> str:
    """The description to store in a file, JSON."""
    return json.dumps(
        {
            "config": model.config.to_dict(),
            "class_names": list(model.class_names),
            "category_ids": list(model.category_ids),
        }
    )


class Description(NamedTuple):
    """What a file says of its model."""

    config: MaskRCNNConfig
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]


def read_description(text: str | None, source: str | os.PathLike[str]) -> Description:
    """The description in a file, as `describe` made it, of an earlier version too.

    Args:
        text: None or "": the file has none.
        source: the file, for errors.

    Raises:
        ExportError: there is none, or it cannot be used; says why.
    """
    if not text:
        raise ExportError(f"{source}: not written by mrcnn, it holds no description of its model")
    try:
        stored = json.loads(text)
        config = stored["config"]
        if isinstance(config, dict):
            config = migrate_model(config)
        return Description(
            MaskRCNNConfig.from_dict(config),
            tuple(map(str, stored["class_names"])),
            tuple(map(int, stored["category_ids"])),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ExportError(f"{source}: the description of its model cannot be used: {reason(error)}") from error


# ---- the loaded model ----


class PortableModel:
    """A model that another runtime runs: `detect`, `detect_dataset` and `evaluate` take it in place of a `MaskRCNN`.

    Images of a batch run one after the other; runtimes use all cores for one.

    Args:
        description: what `describe` made; checked.
        run: (image, content_shape) -> outputs by name, see the head of this module. Called from any thread.
        source: the file, for errors.

    Raises:
        ExportError: the description is not one.
    """

    def __init__(self, description: str | None, run: Run, source: str | os.PathLike[str]) -> None:
        self.config, self.class_names, self.category_ids = read_description(description, source)
        self._run = run
        self.source = Path(source)

    def run(self, image: np.ndarray, content_shape: np.ndarray) -> dict[str, np.ndarray]:
        """One image on its canvas.

        Args:
            image, content_shape: see the head of this module.

        Returns:
            The outputs by name.

        Raises:
            InputError: an input of another type or shape, or a content that does not fit into the image.
        """
        config: InputConfig = self.config.input
        dtype = config.image_dtype.as_numpy_dtype
        image, content = np.asarray(image), np.asarray(content_shape)
        if image.dtype != dtype or image.ndim != 4 or image.shape[0] != 1 or image.shape[3] != 3:
            raise InputError(
                f"image: expected {np.dtype(dtype)} of shape (1, height, width, 3), got {image.dtype} of shape"
                f" {image.shape}"
            )
        height, width = image.shape[1:3]
        if not height or not width or height % config.divisor or width % config.divisor:
            raise InputError(f"image: expected sides that are multiples of {config.divisor}, got {height} x {width}")
        if content.shape != (1, 2) or not np.issubdtype(content.dtype, np.integer):
            raise InputError(f"content_shape: expected integers of shape (1, 2), got {content.dtype} {content.shape}")
        if (content < 1).any() or (content > (height, width)).any():
            raise InputError(f"content_shape: expected 1 to {height} and 1 to {width}, got {content[0].tolist()}")
        return self._run(np.ascontiguousarray(image), content.astype(np.int32))

    def __call__(self, batch: Mapping[str, Tensor], training: bool | None = False) -> dict[str, Tensor]:
        """Detections of a batch as a `MaskRCNN` gives them, padded to the largest number of detections of an image."""
        if training:
            raise InputError(f"{self.source}: an exported model cannot be trained")
        rows = self._rows()
        types = [*(tf.as_dtype(dtype) for _, dtype in rows.values()), tf.bool]
        values = tf.numpy_function(self._run_batch, [batch["image"], batch["content_shape"]], types)
        shapes = [*(shape for shape, _ in rows.values()), ()]
        size = batch["image"].shape[0]
        return {
            name: tf.ensure_shape(value, [size, None, *shape])
            for name, value, shape in zip([*rows, "valid"], values, shapes, strict=True)
        }

    def _rows(self) -> dict[str, tuple[tuple[int | None, ...], str]]:
        """Shape and dtype of one detection's value by output name."""
        rows: dict[str, tuple[tuple[int | None, ...], str]] = {
            "boxes": ((4,), "float32"),
            "class_ids": ((), "int32"),
            "scores": ((), "float32"),
        }
        return rows | {o.name: (o.shape, o.dtype) for o in self.config.outputs if o.exported}

    def _run_batch(self, image: np.ndarray, content_shape: np.ndarray) -> list[np.ndarray]:
        results = [self.run(image[i : i + 1], content_shape[i : i + 1]) for i in range(len(image))]
        most = max((len(one["boxes"]) for one in results), default=0)
        types = {name: dtype for name, (_, dtype) in self._rows().items()}

        def padded(name: str) -> np.ndarray:
            rows = [
                np.pad(one[name], [(0, most - len(one[name])), *[(0, 0)] * (one[name].ndim - 1)]) for one in results
            ]
            return np.stack(rows).astype(types[name])

        valid = np.stack([np.arange(most) < len(one["boxes"]) for one in results])
        return [*(padded(name) for name in types), valid]
