"""Test-time augmentation: one image at several sizes and mirrored, the answers combined.

Ref: Mask R-CNN, appendix A; Detectron's published code for how the three kinds of answer are combined.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.data.read_options import ReadOptions
from mrcnn.data.transforms import mirrored_joints
from mrcnn.errors import InputError
from mrcnn.inference.graph import refuse_rotated
from mrcnn.inference.prepare import (
    MAX_PIXELS,
    SCORE_THRESHOLD,
    ImageLike,
    Prepared,
    image_spec,
    load_image,
    make_batch,
    prepare_image,
)
from mrcnn.inference.results import make_instances, pasted, scale_of, to_canvas, to_instances, to_original
from mrcnn.ops.nms import nms
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.instances import Instances
from mrcnn.structures.outputs import HeadOutput
from mrcnn.structures.tensors import Detections

PAPER_SIDES = tuple(range(400, 1201, 100))
"""Shorter sides of the paper's test-time augmentation, pixels."""

COCO_JOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
)
"""Names of the 17 joints of COCO's people."""

_graphs: weakref.WeakKeyDictionary[Any, tuple[Callable[..., Any], Callable[..., Any]]] = weakref.WeakKeyDictionary()
_graphs_lock = threading.Lock()


def detect_augmented(
    model: Any,
    image: ImageLike,
    short_sides: Sequence[int] | None = None,
    flip: bool = True,
    *,
    score_threshold: float | None = SCORE_THRESHOLD,
    mask_threshold: float = 0.5,
    joint_order: Sequence[int] | None = None,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
) -> Instances:
    """Find the instances of one image at several sizes, each also mirrored.

    The boxes found at all sizes go through one NMS. For those that remain the heads run at every size again; what they
    declare in `averaged` (probabilities of masks, keypoint maps before their softmax) is averaged. Sizes are worked on
    one after the other, so memory is that of the largest.

    Args:
        model: a `MaskRCNN`.
        image: see `detect`.
        short_sides: the shorter sides the image is resized to; the longer side's bound grows in proportion. None:
            half, the same and one and a half times what the model's config say. The paper's are `PAPER_SIDES`.
        flip: also look at the mirrored image.
        score_threshold, mask_threshold, max_pixels, read_options: see `detect`.
        joint_order: the joint each joint becomes in a mirror; None: COCO's people if there are 17, else themselves.

    Returns:
        best score first, at most as many as the model gives for one image; boxes and masks in original pixels.

    Raises:
        InputError, DataError: see `detect`; no size, or one below 1; a model of rotated boxes.
    """
    refuse_rotated(model, "detect_augmented")
    config = model.config.input
    if short_sides is None:
        short_sides = [round(config.short_side * factor) for factor in (0.5, 1.0, 1.5)]
    if not len(short_sides) or min(short_sides) < 1:
        raise InputError(f"short_sides {list(short_sides)}: expected one or more sides of at least 1 pixel")
    views = _Views(model, load_image(image, 0, max_pixels, read_options), short_sides, flip)
    boxes, class_ids, scores = views.find_boxes(score_threshold)
    if not model.heads:
        return Instances(boxes, class_ids, views.shape, scores=scores)
    means = views.average_heads(boxes, class_ids, joint_order)
    held = Detections(boxes[np.newaxis], class_ids[np.newaxis], scores[np.newaxis], np.ones((1, len(boxes)), bool))
    values = _from_averages(model, means, held)
    for output in model.config.outputs:
        if output.paste is not None:
            values[output.name] = pasted(output, values[output.name], boxes, views.shape, mask_threshold)
        elif output.dtype == "int32":
            values[output.name] = np.round(values[output.name]).astype(np.int32)
    return make_instances(boxes, class_ids, views.shape, scores, values, model.config.outputs)


class _Views:
    """An image at several sizes, each also mirrored, and what a model says of all of them.

    Args:
        model: a `MaskRCNN`.
        pixels: the image, [h, w, channels].
        short_sides: see `detect_augmented`.
        flip: also mirrored.
    """

    def __init__(self, model: Any, pixels: np.ndarray, short_sides: Sequence[int], flip: bool) -> None:
        self.model, self.pixels = model, pixels
        self.shape: tuple[int, int] = pixels.shape[:2]
        self._views = [(side, mirrored) for side in short_sides for mirrored in ((False, True) if flip else (False,))]
        self._find_boxes, self._predict = _graphs_of(model)

    def _prepare(self, side: int, mirrored: bool) -> tuple[InputConfig, Prepared]:
        """A view as the model's input, with the config it was made by."""
        config: InputConfig = self.model.config.input
        long_side = max(side, round(config.long_side * side / config.short_side))
        sized = dataclasses.replace(config, short_side=side, long_side=long_side)
        return sized, prepare_image(self.pixels[:, ::-1] if mirrored else self.pixels, 0, sized, None)

    def find_boxes(self, score_threshold: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes f32[n, 4] in pixels of the image, class ids i32[n] and scores f32[n] of all views, after one NMS."""
        of_all: list[Instances] = []
        for side, mirrored in self._views:
            sized, item = self._prepare(side, mirrored)
            output = {name: value.numpy()[0] for name, value in self._find_boxes(make_batch([item])).items()}
            instances = to_instances(
                output, item.content_shape, item.original_shape, score_threshold, origin=item.origin, config=sized
            )
            if mirrored:
                instances.boxes = _mirror(instances.boxes, self.shape[1])
            of_all.append(instances)
        return _merge(of_all, self.model.config.box_head)

    def average_heads(
        self, boxes: np.ndarray, class_ids: np.ndarray, joint_order: Sequence[int] | None
    ) -> dict[str, np.ndarray]:
        """The mean over the views of what the heads say of given boxes, by name, in the frame of the image."""
        # Without a box the heads still say what shape their outputs have.
        asked = boxes if len(boxes) else np.zeros((1, 4), np.float32)
        ids = class_ids if len(boxes) else np.ones(1, np.int32)
        width = self.shape[1]
        sums: dict[str, np.ndarray] = {}
        for side, mirrored in self._views:
            sized, item = self._prepare(side, mirrored)
            own = to_canvas(_mirror(asked, width) if mirrored else asked, item, sized)
            valid = np.full((1, len(own)), bool(len(boxes)))
            answers = self._predict(make_batch([item]), own[np.newaxis], ids[np.newaxis], valid)
            shift, scale = np.array(item.origin, np.float32), scale_of(item.content_shape, item.original_shape, sized)
            for head in self.model.heads:
                for output in head.config.averaged:
                    name = head.config.full_name(output.name)
                    value = to_original(output, answers[name].numpy()[0], shift, scale)
                    if mirrored:
                        value = _mirror_output(output, value, width, joint_order)
                    sums[name] = sums.get(name, 0.0) + value / len(self._views)
        return {name: value[: len(boxes)] for name, value in sums.items()}


def _from_averages(model: Any, means: dict[str, np.ndarray], held: Detections) -> dict[str, Any]:
    """The declared outputs of all heads, [n, *shape] by name, made of the averages over views."""
    values: dict[str, Any] = {}
    for head in model.heads:
        full_name = head.config.full_name
        own = {output.name: means[full_name(output.name)][np.newaxis] for output in head.config.averaged}
        values |= {full_name(name): np.asarray(value)[0] for name, value in head.from_average(own, held).items()}
    return values


def _graphs_of(model: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Boxes of a batch; and what the heads say of given boxes. Traced once, kept as long as the model lives."""
    with _graphs_lock:
        if model not in _graphs:
            alive = weakref.ref(model)  # the functions must not keep their own key alive
            spec = image_spec(model.config.input)

            def find_boxes(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
                own: Any = alive()
                return own.find_boxes(own.extract_features(batch, False), batch, False).to_dict()

            def predict(
                batch: dict[str, tf.Tensor], boxes: tf.Tensor, class_ids: tf.Tensor, valid: tf.Tensor
            ) -> dict[str, tf.Tensor]:
                own: Any = alive()
                features = own.extract_features(batch, False)
                held = Detections(boxes, class_ids, tf.zeros_like(boxes[..., 0]), valid)
                answers: dict[str, tf.Tensor] = {}
                for head in own.heads:
                    window = own.detection_window(batch)
                    pred = head(features, boxes, valid, window, training=False, class_ids=class_ids)
                    values = head.to_average(pred, held)
                    answers |= {head.config.full_name(name): value for name, value in values.items()}
                return answers

            _graphs[model] = (
                tf.function(find_boxes, input_signature=[spec]),
                tf.function(
                    predict,
                    input_signature=[
                        spec,
                        tf.TensorSpec([None, None, 4], tf.float32),
                        tf.TensorSpec([None, None], tf.int32),
                        tf.TensorSpec([None, None], tf.bool),
                    ],
                ),
            )
        return _graphs[model]


def _mirror(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes in the mirrored image."""
    return np.stack([boxes[:, 0], width - boxes[:, 3], boxes[:, 2], width - boxes[:, 1]], axis=1)


def _mirror_output(output: HeadOutput, value: np.ndarray, width: int, joint_order: Sequence[int] | None) -> np.ndarray:
    """What a head says of the mirrored image, [n, *shape], as it would say it of the image itself."""
    if output.frame == "image":
        return np.concatenate([width - value[..., :1], value[..., 1:]], axis=-1)
    if output.mirror == "none":
        return value
    value = value[:, :, ::-1]
    return value[..., list(_joint_order(joint_order, value.shape[-1]))] if output.mirror == "joints" else value


def _merge(at_all_sizes: Sequence[Instances], config: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes f32[n, 4], class ids i32[n] and scores f32[n] of what is left of several answers, best first."""
    boxes = np.concatenate([f.boxes for f in at_all_sizes])
    class_ids = np.concatenate([f.class_ids for f in at_all_sizes])
    scores = np.concatenate([f.scores for f in at_all_sizes])
    index, keep = nms(boxes, scores, class_ids, config.nms_iou, config.max_detections)
    kept = np.asarray(index)[np.asarray(keep)]
    return boxes[kept], class_ids[kept], scores[kept]


def _joint_order(given: Sequence[int] | None, num_joints: int) -> Sequence[int]:
    if given is not None:
        if sorted(given) != list(range(num_joints)):
            raise InputError(f"joint_order: expected each of 0 to {num_joints - 1} once, got {list(given)}")
        return given
    return mirrored_joints(COCO_JOINTS) if num_joints == len(COCO_JOINTS) else range(num_joints)
