"""Batches as arrays: the views of several images on one canvas, with padded ground truth."""

from __future__ import annotations

import cv2
import numpy as np
import tensorflow as tf

from mrcnn.data import transforms
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline.mapper import SampleMapper
from mrcnn.data.pipeline.progress import in_work
from mrcnn.data.transforms import Sample
from mrcnn.errors import MrcnnError
from mrcnn.ops.resize import padded_shape
from mrcnn.preprocessing import preprocess
from mrcnn.structures.panoptic import IGNORED
from mrcnn.structures.tensors import SEMANTIC_KEY, batch_spec

# The workers are threads already; OpenCV's own would compete with them for the same cores.
cv2.setNumThreads(0)


class BatchMaker:
    """Makes batches as lists of arrays in the order of `spec`; called from worker threads.

    Args:
        mapper: makes the view of an image.
        with_ground_truth: add the `gt_*` keys and `seed`.

    Attributes:
        groups: i64[images]; images of different groups never share a batch.
    """

    def __init__(self, mapper: SampleMapper, with_ground_truth: bool) -> None:
        self.mapper, self.with_ground_truth = mapper, with_ground_truth
        self.dataset, self.config, self.model_input = mapper.dataset, mapper.config, mapper.model_input
        self._ids = self.dataset.batch_ids
        self.groups, self._canvases = self._group()
        sizes = np.unique(self._canvases, axis=0)
        self._static_size = tuple(sizes[0].tolist()) if len(sizes) == 1 else (None, None)

    def _group(self) -> tuple[np.ndarray, np.ndarray]:
        """Group of each image, i64[images], and (height, width) of the canvas it needs, i64[images, 2]."""
        config, number = self.config, len(self.dataset)
        if self.mapper.training and config.crop is not None:
            canvas = padded_shape(*config.crop, self.model_input.divisor)
            return np.zeros(number, np.int64), np.tile(np.array(canvas, np.int64), (number, 1))
        shapes = [self.dataset.image_shape(i) for i in range(number)]
        groups = np.array([int(h > w) if config.aspect_grouping else 0 for h, w in shapes], np.int64)
        contents = [self.mapper.largest_content(*shape) for shape in shapes]
        canvases = np.array([self.model_input.canvas_size(*c) for c in contents], np.int64).reshape(number, 2)
        if not (self.mapper.as_inference and config.aspect_grouping):
            for group in np.unique(groups):  # few shapes: one for each group
                canvases[groups == group] = canvases[groups == group].max(axis=0)
        return groups, canvases

    def spec(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        """Of the batches; height and width are open where images need canvases of different sizes."""
        config = self.config
        height, width = self._static_size
        return batch_spec(
            batch_size,
            height,
            width,
            config.max_instances,
            config.mask_side,
            config.num_joints,
            with_ground_truth=self.with_ground_truth,
            channels=self.dataset.channels,
            full_masks=config.full_masks,
            semantic_maps=config.semantic_maps,
            rotated_boxes=config.rotated_boxes,
            image_dtype=self.model_input.image_dtype,
        )

    def __call__(self, keys: np.ndarray, rows: slice = slice(None)) -> list[np.ndarray]:
        """Some rows of the batch of keys i64[B, 2] of (epoch, index).

        Raises:
            DataError: an image or its objects cannot be used; names the image and its file.
        """
        canvas = tuple(self._canvases[keys[:, 1]].max(axis=0).tolist())
        keys = keys[rows]
        batch = {}
        for name, tensor in self.spec(len(keys)).items():
            shape = tuple(tensor.shape)
            if name == "image":
                shape = (shape[0], *canvas, shape[3])
            elif name == "gt_full_masks":
                shape = (*shape[:2], *canvas)
            elif name == SEMANTIC_KEY:
                shape = (shape[0], *canvas)
            batch[name] = np.full(shape, IGNORED if name == SEMANTIC_KEY else 0, tensor.dtype.as_numpy_dtype)
        for row, (epoch, index) in enumerate(keys.tolist()):
            record = self.dataset._records[index]
            name = f"image {record.image_id!r} ({record.path})"
            with in_work(name):
                try:
                    self._write({key: array[row, ...] for key, array in batch.items()}, epoch, index)
                except DataError:
                    raise
                except MrcnnError as error:
                    raise DataError(f"{name}: {error}") from error
                except Exception as error:
                    raise DataError(f"{name}: {type(error).__name__}: {error}") from error
        return list(batch.values())

    def _write(self, row: dict[str, np.ndarray], epoch: int, index: int) -> None:
        """One image into its row of the batch."""
        view = self.mapper(epoch, index, row["image"].shape[:2])
        image = view.sample["image"]
        _, content_shape, origin = preprocess(image, self.model_input, image.shape[:2], out=row["image"])
        row["image_id"][...] = self._ids[index]
        row["original_shape"][:] = view.original_shape
        row["content_shape"][:] = content_shape
        if self.with_ground_truth:
            row["seed"][:] = view.seed
            self._write_ground_truth(row, view.sample, origin)

    def _write_ground_truth(self, row: dict[str, np.ndarray], sample: Sample, origin: tuple[int, int]) -> None:
        """The objects into their row of the batch, in pixels of the canvas."""
        n, (y, x) = len(sample["boxes"]), origin
        row["gt_boxes"][:n] = sample["boxes"] + np.array([y, x, y, x], np.float32)
        row["gt_class_ids"][:n] = sample["class_ids"]
        row["gt_masks"][:n] = transforms.crop_masks_to_boxes(sample, self.config.mask_side)
        row["gt_crowd"][:n] = sample["is_crowd"]
        row["gt_valid"][:n] = True
        if self.config.full_masks:
            height, width = sample["image"].shape[:2]
            row["gt_full_masks"][:n, y : y + height, x : x + width] = transforms.full_frame_masks(sample)
        if self.config.rotated_boxes:
            row["gt_rotated_boxes"][:n] = transforms.rotated_boxes(sample) + np.array([y, x, 0, 0, 0], np.float32)
        if self.config.semantic_maps:
            height, width = sample["semantic"].shape
            row[SEMANTIC_KEY][y : y + height, x : x + width] = sample["semantic"]
        if self.config.num_joints:
            labeled = sample["keypoints"][..., 2:] > 0
            row["gt_keypoints"][:n] = sample["keypoints"] + labeled * np.array([x, y, 0], np.float32)
