"""Batches as arrays: the keys of a batch become images on their canvas, with padded ground truth."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf

from mrcnn.data import transforms
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline.augment import augment, checked
from mrcnn.data.pipeline.config import DataConfig
from mrcnn.data.pipeline.progress import in_work
from mrcnn.data.pipeline.reader import SampleReader
from mrcnn.data.transforms import Sample
from mrcnn.errors import MrcnnError
from mrcnn.ops.resize import padded_shape
from mrcnn.preprocessing import InputConfig, preprocess
from mrcnn.structures.tensors import batch_spec

logger = logging.getLogger("mrcnn")

_MAX_SEED = 2**31 - 1

# The workers are threads already; OpenCV's own would compete with them for the same cores.
cv2.setNumThreads(0)


class BatchMaker:
    """Makes batches as lists of arrays in the order of `spec`; called from worker threads.

    Args:
        dataset: images and objects.
        model_input: how images are resized and padded.
        config: how they are augmented.
        training: augment.
        seed: of the augmentations.
        with_ground_truth: add the `gt_*` keys and `seed`.
        cache_bytes: decoded images and masks kept in memory.
        augmentation: applied to training samples after those of `config`.
    """

    def __init__(
        self,
        dataset: Dataset,
        model_input: InputConfig,
        config: DataConfig,
        *,
        training: bool,
        seed: int,
        with_ground_truth: bool,
        cache_bytes: int,
        augmentation: Callable[[Sample, np.random.Generator], Sample] | None = None,
    ) -> None:
        self.dataset, self.model_input, self.config = dataset, model_input, config
        self.training, self.seed, self.augmentation = training, seed, augmentation
        self.with_ground_truth = with_ground_truth
        self._reader = SampleReader(dataset, config.num_joints, with_ground_truth, cache_bytes)
        integer_ids = all(isinstance(i, (int, np.integer)) for i in dataset.image_ids)
        self._ids = dataset.image_ids if integer_ids else tuple(range(len(dataset)))
        self._warned = False
        self.groups, self._canvases = self._group()

    def _group(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Group of each image, and (height, width) of each group's canvas."""
        config, number = self.config, len(self.dataset)
        if self.training and config.crop is not None:
            return np.zeros(number, np.int64), [padded_shape(*config.crop, self.model_input.divisor)]
        shapes = [self.dataset.image_shape(i) for i in range(number)]
        groups = np.array([int(h > w) if config.aspect_grouping else 0 for h, w in shapes], np.int64)
        canvases = []
        for group in range(2):
            contents = [self._largest_content(*shapes[i]) for i in np.flatnonzero(groups == group)]
            canvases.append(self.model_input.canvas_size(*np.max([(1, 1), *contents], axis=0).tolist()))
        return groups, canvases

    def _largest_content(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which an image is resized at most."""
        if not self.training:
            return self.model_input.content_size(height, width)
        short = max(self.config.short_sides, default=None)
        highest = self.config.scale_jitter[1] if self.config.scale_jitter else 1.0
        return self.model_input.content_size(height, width, short, highest)

    def spec(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        """Of the batches; height and width are open where the groups differ in them."""
        config = self.config
        used = [self._canvases[g] for g in sorted(set(self.groups.tolist()))] or self._canvases[:1]
        height, width = used[0] if len(set(used)) == 1 else (None, None)
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
            image_dtype=self.model_input.image_dtype,
        )

    def __call__(self, keys: np.ndarray) -> list[np.ndarray]:
        """The batch of keys i64[B, 2] of (epoch, index).

        Raises:
            DataError: an image or its objects cannot be used; names the image and its file.
        """
        canvas = self._canvases[int(self.groups[keys[0, 1]])]
        batch = {}
        for name, tensor in self.spec(len(keys)).items():
            shape = tuple(tensor.shape)
            if name == "image":
                shape = (shape[0], *canvas, shape[3])
            elif name == "gt_full_masks":
                shape = (*shape[:2], *canvas)
            batch[name] = np.zeros(shape, tensor.dtype.as_numpy_dtype)
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
        rng = np.random.default_rng([self.seed, epoch if self.training else 0, index])
        seed = rng.integers(0, _MAX_SEED, 2)
        sample, original_shape = self._view(index, rng, row["image"].shape[:2])
        image = sample["image"]
        _, content_shape, origin = preprocess(image, self.model_input, image.shape[:2], out=row["image"])
        row["image_id"][...] = self._ids[index]
        row["original_shape"][:] = original_shape
        row["content_shape"][:] = content_shape
        if self.with_ground_truth:
            row["seed"][:] = seed
            self._write_ground_truth(row, self._limit(sample, index), origin)

    def _view(self, index: int, rng: np.random.Generator, canvas: tuple[int, int]) -> tuple[Sample, tuple[int, int]]:
        """The sample at the size at which it goes onto the canvas, and (height, width) of the image's file."""
        sample, shape = self._reader.read(index, self._enough(index))
        if not self.training:
            content = self.model_input.content_size(*shape)
            return transforms.resize(sample, *content, self.model_input.interpolation), shape
        sample = augment(sample, self.config, self.model_input, rng, canvas, shape)
        if self.augmentation is not None:
            name = getattr(self.augmentation, "__name__", type(self.augmentation).__name__)
            sample = checked(self.augmentation(sample, rng), sample["image"], canvas, name)
        if self.config.copy_paste and rng.random() < self.config.copy_paste:
            sample = self._paste_another(sample, rng, canvas)
        return sample, shape

    def _paste_another(self, sample: Sample, rng: np.random.Generator, canvas: tuple[int, int]) -> Sample:
        """Some objects of an image drawn from the whole set, on top of a view that is ready."""
        other = int(rng.integers(len(self.dataset)))
        source, shape = self._reader.read(other, self._enough(other))
        source = augment(source, self.config, self.model_input, rng, canvas, shape)
        chosen = transforms.draw_subset(rng, np.flatnonzero(~source["is_crowd"]))
        return transforms.paste(sample, transforms.select(source, chosen), self.config.min_visible)

    def _enough(self, index: int) -> tuple[int, int] | None:
        """(height, width) at which it is enough to decode an image; None: at its own.

        A JPEG much larger than training can make it is decoded at a part of its size, which is much faster. Not where
        the view is to equal that of inference, nor where the resize is not antialiased: it would make other pixels.
        """
        exact = not self.training or not self.config.is_random or self.model_input.interpolation != "antialias_u8"
        if exact or not self._reader.reads_files:
            return None
        height, width = self.dataset.image_shape(index)
        short = max(self.config.short_sides, default=None)
        highest = max(1.0, self.config.scale_jitter[1]) if self.config.scale_jitter else 1.0
        return tuple(math.ceil(side * highest) for side in self.model_input.content_size(height, width, short))

    def _limit(self, sample: Sample, index: int) -> Sample:
        """Without boxes of no area, and at most `max_instances` objects: crowd regions go first, then the smallest."""
        boxes = sample["boxes"]
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = np.flatnonzero((sides > 0).all(axis=1))
        most = self.config.max_instances
        if len(keep) > most:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "image %r has %d objects, the %d largest are kept (data.max_instances); logged once",
                    self.dataset.image_ids[index],
                    len(keep),
                    most,
                )
            keep = keep[np.lexsort([-sides[keep].prod(axis=1), sample["is_crowd"][keep]])[:most]]
        return sample if len(keep) == len(boxes) else transforms.select(sample, keep)

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
        if self.config.num_joints:
            labeled = sample["keypoints"][..., 2:] > 0
            row["gt_keypoints"][:n] = sample["keypoints"] + labeled * np.array([x, y, 0], np.float32)
