"""`ImageSource`: where a data set's images and objects come from, which is what subclasses override."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np

from mrcnn.data.catalog import Catalog
from mrcnn.data.derived import annotations_of_masks
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.ground_truth import to_instances
from mrcnn.data.images import image_shape, read_image
from mrcnn.data.rasterize import annotation_mask
from mrcnn.data.read_options import ReadOptions
from mrcnn.data.semantic import ground_truth_segments, read_semantic
from mrcnn.data.unchanged import UnchangedImages
from mrcnn.structures.instances import Instances
from mrcnn.structures.panoptic import PanopticSegments
from mrcnn.structures.records import Annotation, ImageRecord


class ImageSource(Catalog):
    """Images and objects by their number, read from files or given by a subclass; `Dataset` is the one to subclass.

    Attributes and the rules for `load_image` and `load_mask` are those of `Dataset`.
    """

    channels: int = 3

    def __init__(self) -> None:
        super().__init__()
        self.read_options = ReadOptions()
        self.issues: list[DatasetIssue] = []
        self.keypoint_names: tuple[str, ...] = ()
        self.stuff_names: tuple[str, ...] = ()
        self.stuff_category_ids: tuple[int, ...] = ()
        self.path: str | None = None
        self._derived: dict[int, tuple[Annotation, ...]] = {}
        self._shapes: dict[int, tuple[int, int]] = {}
        self._unchanged = UnchangedImages()
        self._lock = threading.Lock()

    def load_image(self, index: int) -> np.ndarray:
        """Image number `index` as u8[h, w, 3], RGB; the same pixels at every call.

        Raises:
            DataError: the file is missing, damaged or of another size than recorded; names file and image id.
        """
        return self._read(index)

    def _read(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        record = self._records[index]
        if record.path is None:
            raise DataError(f"image {record.image_id!r} has no path; override load_image or give one to add_image")
        height, width = record.height, record.width
        stated = (height, width) if height is not None and width is not None else None
        options = {f.name: getattr(self.read_options, f.name) for f in dataclasses.fields(self.read_options)}
        try:
            return read_image(record.path, stated, least_shape, **options)
        except DataError as error:
            raise DataError(f"{error} [image id {record.image_id!r}]") from error

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The objects of image number `index`; called once an image where it is overridden.

        Returns:
            masks bool[h, w, n] and class ids i32[n], 1..C. Empty: bool[h, w, 0] and i32[0].
        """
        height, width = self.image_shape(index)
        annotations = self._records[index].annotations
        masks = np.zeros((height, width, len(annotations)), bool)
        for i, annotation in enumerate(annotations):
            masks[:, :, i] = annotation_mask(annotation, height, width)
        return masks, np.array([a.class_id for a in annotations], np.int32)

    def load_semantic(self, index: int) -> np.ndarray:
        """The semantic map of image number `index`, u8[h, w]: 0 a thing, 1..S a class of `stuff_names`, 255 unknown.

        Raises:
            DataError: the image has none.
        """
        return read_semantic(self._records[index])

    @property
    def _reads_files(self) -> bool:
        """Whether images come from their files, not from a `load_image` of a subclass or of this object."""
        return type(self).load_image is ImageSource.load_image and "load_image" not in vars(self)

    @property
    def _reads_reduced(self) -> bool:
        """Whether images come from encoded files, wherever these are; `_read` may decode them reduced."""
        return self._reads_files

    @property
    def _derives_annotations(self) -> bool:
        """Whether annotations come from a `load_mask` of a subclass."""
        return type(self).load_mask is not ImageSource.load_mask

    def _get_image(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        """`load_image`, checked, for a subclass may return anything; or, where a smaller one will do, perhaps that.

        All of the package that trains or validates gets images here. See `read_image` for `least_shape`.
        """
        if least_shape is not None and self._reads_reduced:
            return self._read(index, least_shape)
        image = np.asarray(self.load_image(index))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels or 0 in image.shape:
            raise DataError(
                f"image {self._records[index].image_id!r}: load_image gave {image.dtype}{list(image.shape)}, "
                f"expected uint8[height, width, {self.channels}]"
            )
        self._shapes[index] = image.shape[:2]
        if self._derives_annotations and not self._reads_files:
            self._unchanged.check(index, image, f"image {self._records[index].image_id!r}")
        return image

    def image_shape(self, index: int) -> tuple[int, int]:
        """(height, width) of an image: from its record, else from the file's header, else by loading it."""
        record = self._records[index]
        if record.height is not None and record.width is not None:
            return int(record.height), int(record.width)
        if index not in self._shapes:
            if record.path is not None and self._reads_files:
                self._shapes[index] = image_shape(record.path, self.read_options.page)
            else:
                self._get_image(index)
        return self._shapes[index]

    def record(self, index: int) -> ImageRecord:
        """Image number `index` with its annotations, derived ones included."""
        record = self._records[index]
        if not self._derives_annotations:
            return record
        height, width = self.image_shape(index)
        return dataclasses.replace(record, annotations=self.annotations(index), height=height, width=width)

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """The objects of image number `index`, masks not rasterized.

        Raises:
            DataError: an overridden `load_mask` gave arrays that do not fit the image or the classes.
        """
        if not self._derives_annotations:
            return self._records[index].annotations
        with self._lock:
            annotations = self._derived.get(index)
        if annotations is None:
            annotations = annotations_of_masks(self, index)
            with self._lock:
                self._derived[index] = annotations
        return annotations

    def panoptic(self, index: int) -> PanopticSegments:
        """The things and the stuff of image number `index`; see `data.semantic.ground_truth_segments`."""
        return ground_truth_segments(self, index)

    def instances(self, index: int) -> Instances:
        """The ground truth of image number `index` with masks, as drawing and evaluation take it."""
        return to_instances(self.annotations(index), self.image_shape(index), len(self.keypoint_names))
