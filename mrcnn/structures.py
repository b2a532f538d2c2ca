"""The nouns: shapes, conventions and types shared by every room of the package.

Conventions
    * Pictures and feature maps are NHWC.
    * Boxes are (y1, x1, y2, x2), float32, absolute pixels of the frame they live in, continuous: pixel i
      spans [i, i + 1), so a box of one pixel has side 1 and no "+ 1" appears anywhere.
    * Class 0 is background; things are 1..C.
    * Padding is marked by a boolean `valid`, never by a special value.
    * Box arithmetic and losses are float32 under any precision policy.

Alphabet
    B batch, H x W padded picture, G ground-truth slots, A anchors, P proposals, S sampled RoIs, F foreground
    slots (the first F of S), D detections, C thing classes, K side of a stored ground-truth mask, M side of a
    predicted mask, J keypoint joints.

Glossary
    proposal: a box from the RPN. RoI: a box being pooled. detection: a final result of the model.
    instance: one object in one picture, true or predicted. "mask" always means a segmentation mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Union

import numpy as np
import tensorflow as tf

Tensor = tf.Tensor
Batch = dict[str, tf.Tensor]
"""One batch as the model takes it; see `batch_spec` for keys, shapes and dtypes."""

TRUTH_KEY = "gt_boxes"
"""A batch that has this key carries ground truth: the model then returns losses, otherwise detections."""


class RPNOutput(NamedTuple):
    """What the region proposal network predicts for every anchor, levels concatenated fine to coarse."""

    logits: Tensor  # f32[B, A], objectness before the sigmoid
    deltas: Tensor  # f32[B, A, 4], (dy, dx, log dh, log dw) relative to the anchor
    anchors: Tensor  # f32[A, 4], pixels of the padded picture
    level_sizes: Sequence[Any]  # anchors per level, int or i32[]; sums to A


class Proposals(NamedTuple):
    """Class-agnostic boxes that survived the RPN, best first; pixels of the padded picture."""

    boxes: Tensor  # f32[B, P, 4]
    scores: Tensor  # f32[B, P], objectness probability
    valid: Tensor  # bool[B, P]


class RoiSample(NamedTuple):
    """The RoIs the heads train on. Foreground RoIs, if any, lie in the first F of the S slots."""

    boxes: Tensor  # f32[B, S, 4]
    class_ids: Tensor  # i32[B, S], 0 for background
    gt_index: Tensor  # i32[B, S], the ground-truth slot a foreground RoI was matched to
    foreground: Tensor  # bool[B, S]
    valid: Tensor  # bool[B, S]


class Detections(NamedTuple):
    """Final results in pixels of the padded picture, best first; a dict of the set fields at the Keras border."""

    boxes: Tensor  # f32[B, D, 4]
    class_ids: Tensor  # i32[B, D]
    scores: Tensor  # f32[B, D]
    valid: Tensor  # bool[B, D]
    masks: Tensor | None = None  # f32[B, D, M, M], probabilities inside the box
    keypoints: Tensor | None = None  # f32[B, D, J, 3]

    def to_dict(self) -> dict[str, Tensor]:
        """The fields that are set, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


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
    with_truth: bool = True,
    full_masks: bool = False,
) -> dict[str, tf.TensorSpec]:
    """The single statement of what a batch holds; None leaves a dimension open.

    Without truth: `image` u8[B, H, W, channels] padded right and below with zeros; `image_id` i64[B];
    `original_shape` i32[B, 2], (height, width) of the picture as it was read; `content_shape` i32[B, 2], height and
    width of the resized picture inside the padding.

    With truth also: `gt_boxes` f32[B, G, 4] in pixels of the padded picture; `gt_class_ids` i32[B, G];
    `gt_masks` u8[B, G, K, K], each mask cropped to its box and resampled, 0 or 1; `gt_crowd` bool[B, G], regions that
    are neither object nor background; `gt_valid` bool[B, G]; `seed` i32[B, 2], the stateless seed of every random
    choice made for that picture; `gt_keypoints` f32[B, G, J, 3] (x, y, visibility) when `num_joints` > 0; and
    with `full_masks` also `gt_full_masks` u8[B, G, H, W], the masks in the padded picture, from which a mask head can
    make its targets as other programs do.
    """
    b, g, k = batch_size, max_instances, mask_side
    spec = {
        "image": tf.TensorSpec([b, height, width, channels], tf.uint8, "image"),
        "image_id": tf.TensorSpec([b], tf.int64, "image_id"),
        "original_shape": tf.TensorSpec([b, 2], tf.int32, "original_shape"),
        "content_shape": tf.TensorSpec([b, 2], tf.int32, "content_shape"),
    }
    if with_truth:
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
        if num_joints:
            spec["gt_keypoints"] = tf.TensorSpec([b, g, num_joints, 3], tf.float32, "gt_keypoints")
    return spec


class _ByValue:
    """Equality of dataclasses that hold arrays: the same fields with the same values, in the same order."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return type(a) is type(b) and np.array_equal(a, b)
    if type(a) is type(b) and isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return a == b


Polygons = list[np.ndarray]
"""Polygons of one object: float arrays [n, 2] of (x, y) vertices in pixels of the picture."""
RLE = dict[str, Any]
"""COCO run-length encoding: {"size": [height, width], "counts": bytes | str | list[int]}."""


@dataclasses.dataclass(frozen=True, eq=False)
class Annotation(_ByValue):
    """One object of one picture as its annotation file states it; the mask is not rasterised yet.

    box is (y1, x1, y2, x2) in pixels of the picture; segmentation is polygons, RLE or None (then the box is the
    mask); keypoints is f32[J, 3] of (x, y, visibility 0 unlabelled, 1 hidden, 2 visible).
    """

    class_id: int
    box: tuple[float, float, float, float]
    segmentation: Union[Polygons, RLE, None] = None  # noqa: UP007
    keypoints: np.ndarray | None = None
    is_crowd: bool = False
    annotation_id: int | str | None = None
    area: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ImageRecord(_ByValue):
    """One picture of a data set and its annotations. `path` is None where `Dataset.load_image` makes the picture."""

    image_id: int | str
    path: str | None
    height: int | None
    width: int | None
    annotations: tuple[Annotation, ...] = ()
    source: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


class LazyMasks(Protocol):
    """Masks that become pixels when they are asked for; see `ops.masks.BoxMasks`."""

    shape: tuple[int, int, int]  # (n, height, width)

    def __getitem__(self, index: Any) -> LazyMasks: ...

    def paste(self) -> np.ndarray: ...  # bool[n, height, width]

    def windows(self) -> Iterator[tuple[int, int, np.ndarray]]: ...  # (top, left, bool[h, w]) of each, empty outside


@dataclasses.dataclass(eq=False)
class Instances(_ByValue):
    """Objects of one picture in its original pixels: one class for truth and for prediction.

    boxes f32[n, 4]; class_ids i32[n] from 1; masks bool[n, height, width] or None; keypoints f32[n, J, 3]
    (x, y, score or visibility) or None; scores f32[n] or None (truth); is_crowd bool[n] or None.
    Indexing by an integer, a slice, a boolean or an index array filters every field together. Two are equal if every
    value is.

    Masks may be given as `LazyMasks`: reading `masks` then makes the pixels, once, and keeps them; `iter_masks` makes
    one at a time and keeps none.

    Raises:
        ValueError: fields of different length or of the wrong shape; the message names the field.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    image_shape: tuple[int, int]
    scores: np.ndarray | None = None
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    is_crowd: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.image_shape = (int(self.image_shape[0]), int(self.image_shape[1]))
        self.boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4) if np.size(self.boxes) == 0 else self.boxes
        self.boxes = np.asarray(self.boxes, np.float32)
        n = len(self.boxes)
        self.class_ids = np.asarray(self.class_ids, np.int32)
        self._expect("boxes", self.boxes, (n, 4))
        self._expect("class_ids", self.class_ids, (n,))
        if self.scores is not None:
            self.scores = np.asarray(self.scores, np.float32)
            self._expect("scores", self.scores, (n,))
        if self._masks is not None:
            if not hasattr(self._masks, "paste"):
                self._masks = np.asarray(self._masks, bool)
            self._expect("masks", self._masks, (n, *self.image_shape))
        if self.keypoints is not None:
            self.keypoints = np.asarray(self.keypoints, np.float32)
            joints = self.keypoints.shape[1] if self.keypoints.ndim == 3 else -1
            self._expect("keypoints", self.keypoints, (n, joints, 3))
        if self.is_crowd is not None:
            self.is_crowd = np.asarray(self.is_crowd, bool)
            self._expect("is_crowd", self.is_crowd, (n,))

    def _fields(self) -> dict[str, Any]:
        """Every field as it is held: masks that nobody has asked for are not made."""
        return {f.name: self.__dict__["_masks" if f.name == "masks" else f.name] for f in dataclasses.fields(self)}

    def iter_masks(self) -> Iterator[np.ndarray]:
        """Each mask bool[height, width] in turn; of lazy masks one at a time is held. Without masks: nothing."""
        held = self._masks
        if held is None or isinstance(held, np.ndarray):
            yield from () if held is None else held
            return
        for i in range(len(self)):
            yield held[i : i + 1].paste()[0]

    def mask_windows(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """(top, left, bool[h, w]) of each mask in turn: the part of the picture outside which it is empty."""
        held = self._masks
        if held is None or isinstance(held, np.ndarray):
            return ((0, 0, mask) for mask in (() if held is None else held))
        return held.windows()

    @property
    def has_masks(self) -> bool:
        """Whether there are masks, without making them."""
        return self._masks is not None

    @staticmethod
    def _expect(name: str, value: Any, shape: tuple[int, ...]) -> None:
        if value.shape != shape:
            raise ValueError(f"Instances.{name}: expected shape {shape}, got {value.shape}")

    @classmethod
    def empty(cls, image_shape: tuple[int, int], with_masks: bool = True) -> Instances:
        """No instances in a picture of the given (height, width)."""
        masks = np.zeros((0, *image_shape), bool) if with_masks else None
        return cls(np.zeros((0, 4)), np.zeros(0, np.int32), image_shape, np.zeros(0), masks)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Instances:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"instance {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        fields = self._fields()
        for name, value in fields.items():
            if name != "image_shape" and value is not None:
                fields[name] = value[index]
        return Instances(**fields)

    def __iter__(self) -> Iterator[Instances]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        names = [name for name, value in self._fields().items() if value is not None]
        names.remove("image_shape")
        return f"Instances(n={len(self)}, image_shape={self.image_shape}, fields={' '.join(names)})"


def _get_masks(instances: Instances) -> np.ndarray | None:
    held = instances._masks
    if held is not None and not isinstance(held, np.ndarray):
        held = instances._masks = held.paste()
    return held


def _set_masks(instances: Instances, masks: np.ndarray | LazyMasks | None) -> None:
    instances._masks = masks


# After the decorator, which would else take the property for the field's default
Instances.masks = property(_get_masks, _set_masks)
