"""Images and their objects as samples, decoded once while they fit into a cache."""

from __future__ import annotations

import numpy as np

from mrcnn.data import transforms
from mrcnn.data.cache import ByteCache
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.ground_truth import stack_keypoints
from mrcnn.data.rasterize import mask_window
from mrcnn.data.semantic import checked_semantic
from mrcnn.data.transforms import Sample
from mrcnn.structures.records import Annotation


class SampleReader:
    """Reads the images of a data set as samples; safe between threads.

    Args:
        dataset: the images.
        num_joints: J, of the keypoints to read; 0: none.
        with_ground_truth: read objects too.
        cache_bytes: decoded images and masks kept in memory, those used last.
        semantic_maps: with the objects, read the semantic map.
    """

    def __init__(
        self, dataset: Dataset, num_joints: int, with_ground_truth: bool, cache_bytes: int, semantic_maps: bool = False
    ) -> None:
        self.dataset, self.num_joints, self.with_ground_truth = dataset, num_joints, with_ground_truth
        self.semantic_maps = semantic_maps and with_ground_truth
        self._cache = ByteCache(cache_bytes)
        self._joint_order = transforms.mirrored_joints(dataset.keypoint_names) if dataset.keypoint_names else None

    @property
    def reads_files(self) -> bool:
        """Whether images come from files; those that a subclass makes are neither cached nor reduced."""
        return self.dataset._reads_reduced

    def read(self, index: int, least_shape: tuple[int, int] | None = None) -> tuple[Sample, tuple[int, int]]:
        """An image and its objects, and (height, width) of its file.

        Args:
            index: number of the image.
            least_shape: (height, width) that is enough; see `read_image`. Always the same for an image.
        """
        image = self._cache.get(("image", index))
        if image is None:
            image = self.dataset._get_image(index, least_shape)
            if self.reads_files:
                self._cache.put(("image", index), image, image.nbytes)
        shape = self.dataset.image_shape(index) if self.reads_files else image.shape[:2]
        objects = self._cache.get(("objects", index))
        if objects is None:
            objects = self._read_objects(index, *shape)
            size = sum(bits.nbytes + 120 for bits in objects["masks"]) + 200
            if self.semantic_maps:
                objects["semantic"] = checked_semantic(self.dataset, index)
                size += objects["semantic"].nbytes
            self._cache.put(("objects", index), objects, size)
        sample = objects | {"image": image, "source": self.dataset._records[index].source}
        if self._joint_order is not None:
            sample["joint_order"] = self._joint_order
        return (sample if image.shape[:2] == shape else transforms.follow(sample, image, shape)), shape

    def _read_objects(self, index: int, height: int, width: int) -> Sample:
        annotations = self.dataset.annotations(index) if self.with_ground_truth else ()
        masks, windows = [], np.zeros((len(annotations), 4), np.float32)
        for i, annotation in enumerate(annotations):
            try:
                mask = mask_window(annotation, height, width)
            except DataError as error:
                raise DataError(f"{self._where(index, annotation)}: {error}") from error
            masks.append(mask.bits * np.uint8(255))
            windows[i] = mask.window
        boxes = np.array([a.box for a in annotations], np.float32).reshape(-1, 4)
        for annotation, box in zip(annotations, boxes, strict=True):
            self._check(index, annotation, box)
        objects = {
            "boxes": np.clip(boxes, 0, np.array([height, width, height, width], np.float32)),
            "class_ids": np.array([a.class_id for a in annotations], np.int32),
            "is_crowd": np.array([a.is_crowd for a in annotations], bool),
            "masks": masks,
            "windows": windows,
        }
        if self.num_joints:
            objects["keypoints"] = stack_keypoints(annotations, self.num_joints)
        return objects

    def _check(self, index: int, annotation: Annotation, box: np.ndarray) -> None:
        classes = self.dataset.num_classes
        if not np.isfinite(box).all():
            raise DataError(f"{self._where(index, annotation)}: box {annotation.box} is not finite")
        if not 1 <= annotation.class_id <= classes:
            wrong = f"class id {annotation.class_id}, expected 1..{classes}"
            raise DataError(f"{self._where(index, annotation)}: {wrong}")

    def _where(self, index: int, annotation: Annotation) -> str:
        image = f"{self.dataset.path or 'data set'}: image {self.dataset.image_ids[index]!r}"
        return f"{image}, annotation {annotation.annotation_id}"
