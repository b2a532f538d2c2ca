"""Objects of one image on the host, ground truth or predicted. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np

from mrcnn.errors import InputError
from mrcnn.structures import conversions
from mrcnn.structures.outputs import HeadOutput
from mrcnn.structures.records import ByValue

if TYPE_CHECKING:
    from mrcnn.structures.result_format import SavedResult


class LazyMasks(Protocol):
    """Masks that become pixels when they are asked for; see `structures.masks.BoxMasks`."""

    @property
    def shape(self) -> tuple[int, int, int]: ...  # (n, height, width)

    def __getitem__(self, index: Any) -> LazyMasks: ...

    def paste(self) -> np.ndarray: ...  # bool[n, height, width]

    def windows(self) -> Iterator[tuple[int, int, np.ndarray]]: ...  # (top, left, bool[h, w]) of each, empty outside


Held = np.ndarray | LazyMasks | None


class Masks:
    """The field `Instances.masks`: takes pixels or `LazyMasks`, and gives pixels, made when they are first read."""

    @overload
    def __get__(self, instances: None, owner: type) -> None: ...  # the field's default

    @overload
    def __get__(self, instances: Instances, owner: type) -> np.ndarray | None: ...

    def __get__(self, instances: Instances | None, owner: type) -> np.ndarray | None:
        if instances is None:
            return None
        held = instances._held_masks()
        if held is not None and not isinstance(held, np.ndarray):
            held = held.paste()
            self.__set__(instances, held)
        return held

    def __set__(self, instances: Instances, masks: Held) -> None:
        instances.__dict__["masks"] = masks


@dataclasses.dataclass(eq=False)
class Instances(ByValue):
    """Objects of one image in its original pixels: one class for ground truth and for prediction.

    boxes f32[n, 4]; class_ids i32[n] from 1; masks bool[n, height, width] or None; keypoints f32[n, J, 3]
    (x, y, score or visibility) or None; scores f32[n] or None (ground truth); is_crowd bool[n] or None; extra, the
    outputs of further heads by name, arrays [n, ...] or `LazyMasks`, described one by one in `outputs`; rotated_boxes
    f32[n, 5], (cy, cx, h, w, angle in degrees counter-clockwise), or None, beside which `boxes` are their bounds.
    Indexing by an integer, a slice, a boolean or an index array filters every field together. Two are equal if every
    value is.

    Masks may be given as `LazyMasks`: reading `masks` then makes the pixels, once, and keeps them; `iter_masks` makes
    one at a time and keeps none.

    Raises:
        InputError: fields of different length or of the wrong shape; the message names the field.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    image_shape: tuple[int, int]
    scores: np.ndarray | None = None
    masks: Masks = Masks()
    keypoints: np.ndarray | None = None
    is_crowd: np.ndarray | None = None
    extra: dict[str, np.ndarray | LazyMasks] = dataclasses.field(default_factory=dict)
    outputs: tuple[HeadOutput, ...] = ()  # what the values of `extra` are; those without an entry are only held
    rotated_boxes: np.ndarray | None = None

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
        masks = self._held_masks()
        if masks is not None:
            if not hasattr(masks, "paste"):
                self.masks = masks = np.asarray(masks, bool)
            self._expect("masks", masks, (n, *self.image_shape))
        if self.keypoints is not None:
            self.keypoints = np.asarray(self.keypoints, np.float32)
            joints = self.keypoints.shape[1] if self.keypoints.ndim == 3 else -1
            self._expect("keypoints", self.keypoints, (n, joints, 3))
        if self.is_crowd is not None:
            self.is_crowd = np.asarray(self.is_crowd, bool)
            self._expect("is_crowd", self.is_crowd, (n,))
        if self.rotated_boxes is not None:
            self.rotated_boxes = np.asarray(self.rotated_boxes, np.float32)
            self._expect("rotated_boxes", self.rotated_boxes, (n, 5))
        self._check_extra()

    def _check_extra(self) -> None:
        n = len(self.boxes)
        self.extra = {name: v if hasattr(v, "paste") else np.asarray(v) for name, v in self.extra.items()}
        for name, value in self.extra.items():
            lazy = not isinstance(value, np.ndarray)
            shape = (n, *self.image_shape) if lazy else (n, *value.shape[1:])
            self._expect(f"extra[{name!r}]", value, shape)
        missing = [output.name for output in self.outputs if output.name not in self.extra]
        if missing:
            raise InputError(f"Instances.outputs: describes {missing[0]!r}, which extra does not have")

    def _fields(self) -> dict[str, Any]:
        """Every field as it is held: masks that nobody has asked for are not made."""
        return {f.name: self.__dict__[f.name] for f in dataclasses.fields(self)}

    def _held_masks(self) -> Held:
        held: Held = self.__dict__["masks"]
        return held

    def extra_array(self, name: str) -> np.ndarray:
        """The output `extra[name]` as an array [n, ...]; lazy masks are made."""
        values = self.extra[name]
        return values if isinstance(values, np.ndarray) else values.paste()

    def iter_masks(self) -> Iterator[np.ndarray]:
        """Each mask bool[height, width] in turn; of lazy masks one at a time is held. Without masks: nothing."""
        held = self._held_masks()
        if held is None or isinstance(held, np.ndarray):
            yield from () if held is None else held
            return
        for i in range(len(self)):
            yield held[i : i + 1].paste()[0]

    def mask_windows(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """(top, left, bool[h, w]) of each mask in turn: the part of the image outside which it is empty."""
        held = self._held_masks()
        return iter(()) if held is None else mask_windows(held)

    @property
    def has_masks(self) -> bool:
        """Whether there are masks, without making them."""
        return self._held_masks() is not None

    @staticmethod
    def _expect(name: str, value: Any, shape: tuple[int, ...]) -> None:
        if value.shape != shape:
            raise InputError(f"Instances.{name}: expected shape {shape}, got {value.shape}")

    @classmethod
    def empty(cls, image_shape: tuple[int, int], with_masks: bool = True) -> Instances:
        """No instances in an image of the given (height, width)."""
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
            if name == "extra":
                fields[name] = {key: held[index] for key, held in value.items()}
            elif name not in ("image_shape", "outputs") and value is not None:
                fields[name] = value[index]
        return Instances(**fields)

    def __iter__(self) -> Iterator[Instances]:
        return (self[i] for i in range(len(self)))

    # To files and to other libraries

    def save(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        image: str | os.PathLike[str] | None = None,
        image_id: int | str = 1,
        category_ids: Sequence[int] | None = None,
        strict: bool = False,
    ) -> SavedResult:
        """Write the instances of this image to a file that other programs read.

        Args:
            path: of the file; one of that name is replaced.
            format: "coco" (.json), "csv", "cvat" (.xml), "geojson", "label_studio", "labelme", "png", "yolo" (.txt), or
                one of another package; None: by the suffix of the path.
            class_names: of the classes 1..C; None: "class_1", "class_2", ...
            image: path of the image file: files name it, and GeoJSON takes its map coordinates.
            image_id: of COCO results.
            category_ids: of the classes 1..C in COCO results; None: 1..C.
            strict: refuse to write what the format cannot hold.

        Returns:
            the path, and what the format could not hold, instance by instance.

        Raises:
            InputError: no such format; a class without a name; with `strict`, something would be lost; results of COCO
                without scores; a map of instances without masks.
            FileError: the file cannot be written.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> mask = np.zeros((1, 6, 8), bool)
            >>> mask[0, 1:3, 2:7] = True
            >>> leaf = Instances([[1, 2, 3, 7]], [1], (6, 8), scores=[0.9], masks=mask)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     saved = leaf.save(Path(folder, "a.csv"), class_names=["leaf"], image="a.jpg")
            ...     print(saved.path.read_text().splitlines()[1], saved.losses)
            a.jpg,1,1,leaf,0.9,2.0,1.0,7.0,3.0,10,4.5,2.0,5.0,2.0,0.0 ()
        """
        from mrcnn.structures.result_format import ImageResult, save_result

        result = ImageResult(self, None if image is None else Path(image), image_id, class_names, category_ids)
        return save_result(result, path, format, strict=strict)

    def to_supervision(self, class_names: Sequence[str] | None = None) -> Any:
        """As `supervision.Detections`: class k is class_id k - 1; names, where given, in `data["class_name"]`.

        Keypoints, crowd flags and further outputs have no place there.

        Raises:
            DependencyError: supervision is not installed.
            InputError: a class without a name.

        Example:
            >>> boxes = instances.to_supervision(model.class_names)  # doctest: +SKIP
        """
        return conversions.to_supervision(self, class_names)

    @classmethod
    def from_supervision(cls, detections: Any, image_shape: tuple[int, int] | None = None) -> Instances:
        """From `supervision.Detections`, or any object with its fields; class_id k is class k + 1, none is class 1.

        Args:
            detections: with `xyxy`, `mask`, `confidence` and `class_id`.
            image_shape: (height, width); None: that of the masks.

        Raises:
            InputError: neither masks nor `image_shape`.
        """
        return cls(**conversions.from_supervision(detections, image_shape))

    def to_fiftyone(self, class_names: Sequence[str] | None = None) -> Any:
        """As `fiftyone.Detections`: boxes as fractions of the image, masks within their boxes, scores as confidence.

        Pixels of a mask outside its box, whose corners are rounded for this, have no place there; nor have keypoints,
        crowd flags and further outputs.

        Args:
            class_names: of the classes 1..C, which become labels; None: "class_1", ...

        Raises:
            DependencyError: fiftyone is not installed.
            InputError: a class without a name.

        Example:
            >>> sample["prediction"] = instances.to_fiftyone(model.class_names)  # doctest: +SKIP
        """
        return conversions.to_fiftyone(self, class_names)

    @classmethod
    def from_fiftyone(cls, detections: Any, image_shape: tuple[int, int], class_names: Sequence[str]) -> Instances:
        """From `fiftyone.Detections`, or any object with its fields.

        Args:
            detections: with `detections`, each with `label`, `bounding_box`, and perhaps `mask` and `confidence`.
            image_shape: (height, width).
            class_names: of the classes 1..C.

        Raises:
            InputError: a label that is no class; masks of some detections only.
        """
        return cls(**conversions.from_fiftyone(detections, image_shape, class_names))

    def __repr__(self) -> str:
        names = [name for name, value in self._fields().items() if value is not None]
        names = [name for name in names if name not in ("image_shape", "extra", "outputs")] + list(self.extra)
        return f"Instances(n={len(self)}, image_shape={self.image_shape}, fields={' '.join(names)})"


def mask_windows(masks: np.ndarray | LazyMasks) -> Iterator[tuple[int, int, np.ndarray]]:
    """(top, left, bool[h, w]) of each mask in turn: the part of the image outside which it is empty."""
    return ((0, 0, mask) for mask in masks) if isinstance(masks, np.ndarray) else masks.windows()
