"""What passes between the parts of the model: batches and the NamedTuples of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = tf.Tensor
Shape: TypeAlias = tuple[int | None, ...]
"""Sizes of a tensor's axes; None where a size is open."""


def known_sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    """The sizes of axes that must not be open, as where weights are created for them.

    Raises:
        ValueError: one is open.

    Example:
        >>> known_sizes((3, 256))
        (3, 256)
    """
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) < len(shape):
        raise ValueError(f"expected known sizes, got {tuple(shape)}")
    return sizes


Batch = dict[str, tf.Tensor]
"""One batch as the model takes it; see `batch_spec` for keys, shapes and dtypes."""

GROUND_TRUTH_KEY = "gt_boxes"
"""A batch that has this key carries ground truth: the model then returns losses, otherwise detections."""


SEMANTIC_KEY = "gt_semantic"
"""Key of the semantic maps in a batch."""

SEMANTIC_LOGITS = "semantic_logits"
"""Key of what a semantic branch says in the outputs of a model: one map an image, not one value a detection."""

POOLED_FEATURES = "pooled_features"
"""Key of the features of whole images, one vector an image, where they are asked for beside the detections."""


class RPNOutput(NamedTuple):
    """What the region proposal network predicts for every anchor, levels concatenated fine to coarse."""

    logits: Tensor  # f32[B, A], objectness before the sigmoid
    deltas: Tensor  # f32[B, A, 4], (dy, dx, log dh, log dw) relative to the anchor; of rotated ones 5, the turn last
    anchors: Tensor  # f32[A, 4 or 5], pixels of the padded image
    level_sizes: Sequence[Any]  # anchors per level, int or i32[]; sums to A


class Proposals(NamedTuple):
    """Class-agnostic boxes that survived the RPN, best first; pixels of the padded image."""

    boxes: Tensor  # f32[B, P, 4 or 5], see `ops.box_geometry`
    scores: Tensor  # f32[B, P], objectness probability
    valid: Tensor  # bool[B, P]


class RoiSample(NamedTuple):
    """The RoIs the heads train on. Foreground RoIs, if any, are the first F of S."""

    boxes: Tensor  # f32[B, S, 4 or 5]
    class_ids: Tensor  # i32[B, S], 0 for background
    gt_index: Tensor  # i32[B, S], the ground-truth entry a foreground RoI was matched to
    foreground: Tensor  # bool[B, S]
    valid: Tensor  # bool[B, S]


class Detections(NamedTuple):
    """Final results in pixels of the padded image, best first; a dict of the set fields at the Keras border."""

    boxes: Tensor  # f32[B, D, 4]
    class_ids: Tensor  # i32[B, D]
    scores: Tensor  # f32[B, D]
    valid: Tensor  # bool[B, D]
    masks: Tensor | None = None  # f32[B, D, M, M], probabilities inside the box
    keypoints: Tensor | None = None  # f32[B, D, J, 3]
    rotated_boxes: Tensor | None = None  # f32[B, D, 5], (cy, cx, h, w, angle); `boxes` are then their bounds
    extra: dict[str, Tensor] = {}  # noqa: RUF012 - never changed; [B, D, ...], outputs of further heads by name

    @property
    def rois(self) -> Tensor:
        """f32[B, D, 4 or 5], what heads pool from."""
        return self.boxes if self.rotated_boxes is None else self.rotated_boxes

    def to_dict(self) -> dict[str, Tensor]:
        """The fields that are set, and the extra outputs, by name."""
        fields = {name: value for name, value in self._asdict().items() if name != "extra" and value is not None}
        return {**fields, **self.extra}

    def with_outputs(self, values: Mapping[str, Tensor]) -> Detections:
        """The detections with the outputs of a head, [B, D, ...] by name, added."""
        fields = {name: value for name, value in values.items() if name in ("masks", "keypoints")}
        extra = {name: value for name, value in values.items() if name not in fields}
        return self._replace(**fields, extra={**self.extra, **extra})

    def map(self, function: Callable[[Tensor], Tensor]) -> Detections:
        """The detections with a function of [B, D, ...] applied to every field and extra output."""
        fields = {k: function(v) for k, v in self._asdict().items() if k != "extra" and v is not None}
        return self._replace(**fields, extra={name: function(value) for name, value in self.extra.items()})


class LossTerm(NamedTuple):
    """A loss as the sum over its elements and the number it is divided by.

    Kept apart, for only sums can be added up over replicas and parts of a batch: the mean of means is another loss.
    """

    total: Tensor  # f32[]
    count: Tensor  # f32[], at least 0

    def mean(self) -> Tensor:
        """f32[], total / count. Empty: 0."""
        return self.total / tf.maximum(self.count, 1.0)


def batch_spec(
    batch_size: int | None = None,
    height: int | None = None,
    width: int | None = None,
    max_instances: int | None = None,
    mask_side: int | None = None,
    num_joints: int = 0,
    channels: int = 3,
    with_ground_truth: bool = True,
    full_masks: bool = False,
    semantic_maps: bool = False,
    rotated_boxes: bool = False,
    image_dtype: tf.DType = tf.uint8,
) -> dict[str, tf.TensorSpec]:
    """The single statement of what a batch holds; None leaves a dimension open.

    Without ground truth: `image` u8[B, H, W, channels] padded with zeros, or of another `image_dtype`, see
    `InputConfig.image_dtype`; `image_id` i64[B];
    `original_shape` i32[B, 2], (height, width) of the image as it was read; `content_shape` i32[B, 2], height and
    width of the resized image inside the padding.

    With ground truth also: `gt_boxes` f32[B, G, 4] in pixels of the padded image; `gt_class_ids` i32[B, G];
    `gt_masks` u8[B, G, K, K], each mask cropped to its box and resampled, 0 or 1; `gt_crowd` bool[B, G], regions that
    are neither object nor background; `gt_valid` bool[B, G]; `seed` i32[B, 2], the stateless seed of every random
    choice made for that image; `gt_keypoints` f32[B, G, J, 3] (x, y, visibility) when `num_joints` > 0; with
    `rotated_boxes` also `gt_rotated_boxes` f32[B, G, 5], (cy, cx, h, w, angle in degrees counter-clockwise), the
    rectangle of least area around each mask; with `semantic_maps` also
    `gt_semantic` u8[B, H, W], of each pixel of the padded image 0 (a thing), 1..S (a stuff class) or 255 (nothing is
    said, as in the padding); and with `full_masks` also `gt_full_masks` u8[B, G, H, W], the masks in
    the padded image, from which a mask head can make its targets as other programs do.
    """
    b, g, k = batch_size, max_instances, mask_side
    spec = {
        "image": tf.TensorSpec([b, height, width, channels], image_dtype, "image"),
        "image_id": tf.TensorSpec([b], tf.int64, "image_id"),
        "original_shape": tf.TensorSpec([b, 2], tf.int32, "original_shape"),
        "content_shape": tf.TensorSpec([b, 2], tf.int32, "content_shape"),
    }
    if with_ground_truth:
        spec |= {
            "gt_boxes": tf.TensorSpec([b, g, 4], tf.float32, "gt_boxes"),
            "gt_class_ids": tf.TensorSpec([b, g], tf.int32, "gt_class_ids"),
            "gt_masks": tf.TensorSpec([b, g, k, k], tf.uint8, "gt_masks"),
            "gt_crowd": tf.TensorSpec([b, g], tf.bool, "gt_crowd"),
            "gt_valid": tf.TensorSpec([b, g], tf.bool, "gt_valid"),
            "seed": tf.TensorSpec([b, 2], tf.int32, "seed"),
        }
        if full_masks:
            spec["gt_full_masks"] = tf.TensorSpec([b, g, height, width], tf.uint8, "gt_full_masks")
        if semantic_maps:
            spec[SEMANTIC_KEY] = tf.TensorSpec([b, height, width], tf.uint8, SEMANTIC_KEY)
        if rotated_boxes:
            spec["gt_rotated_boxes"] = tf.TensorSpec([b, g, 5], tf.float32, "gt_rotated_boxes")
        if num_joints:
            spec["gt_keypoints"] = tf.TensorSpec([b, g, num_joints, 3], tf.float32, "gt_keypoints")
    return spec
