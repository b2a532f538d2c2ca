"""One random training view of a sample."""

from __future__ import annotations

import math

import numpy as np

from mrcnn.data import transforms
from mrcnn.data.pipeline.config import DataConfig
from mrcnn.data.transforms import Sample
from mrcnn.errors import InputError
from mrcnn.preprocessing import InputConfig

_CROP_TRIES = 4  # windows drawn until one holds an object, if the image has any


def augment(
    sample: Sample,
    config: DataConfig,
    model_input: InputConfig,
    rng: np.random.Generator,
    canvas: tuple[int, int],
    shape: tuple[int, int] | None = None,
) -> Sample:
    """A random view of a sample at the model's input size, at most as large as the canvas.

    Order: choose the scale; cut the window (before resizing, so that only what is kept is resized); resize; flip and
    turn; color; `config.augmentations`. With every augmentation off only the resize remains.

    Args:
        sample: see `transforms`.
        config: how to augment.
        model_input: how to resize.
        rng: of all random choices.
        canvas: (height, width).
        shape: (height, width) of the image's file, where the sample holds it smaller; None: as the sample.
    """
    height, width = shape or sample["image"].shape[:2]
    short = int(rng.choice(config.short_sides)) if config.short_sides else None
    factor = 1.0
    if config.scale_jitter is not None:
        low, high = config.scale_jitter
        if config.scale_distribution == "uniform":
            factor = float(rng.uniform(low, high))
        else:
            factor = math.exp(rng.uniform(math.log(low), math.log(high)))
    turns = int(rng.integers(1, 4)) if rng.random() < config.rotate90 else 0
    if config.crop is not None:
        h, w = model_input.content_size(height, width, short)
        h, w = max(1, round(h * factor)), max(1, round(w * factor))
        window = config.crop[::-1] if turns % 2 else config.crop
        sample = _random_window(sample, h, w, window, config.min_visible, rng)
        h, w = min(h, window[0]), min(w, window[1])
    else:
        h, w = model_input.content_size(height, width, short, factor)
        if turns % 2 and (w > canvas[0] or h > canvas[1]):
            turns = 2
    sample = transforms.resize(sample, h, w, model_input.interpolation)
    sample = config.flip.apply(sample, rng)
    sample = transforms.rotate90(sample, turns)
    sample = config.color.apply(sample, rng)
    for augmentation in config.augmentations:
        sample = checked(augmentation.apply(sample, rng), sample["image"], canvas, type(augmentation).__name__)
    return sample


def checked(sample: Sample, before: np.ndarray, canvas: tuple[int, int], name: str) -> Sample:
    """The sample an augmentation returned.

    Args:
        sample: what was returned.
        before: [h, w, c], the image that was given.
        canvas: (height, width) that the image must fit.
        name: of the augmentation.

    Raises:
        InputError: the image has another dtype or number of channels, or does not fit, or the fields of the objects
            have different lengths.
    """
    image = sample["image"]
    if image.dtype != before.dtype or image.ndim != 3 or image.shape[2] != before.shape[2]:
        raise InputError(
            f"augmentation {name}: returned an image of {image.dtype}{list(image.shape)}, expected {before.dtype} of"
            f" shape (height, width, {before.shape[2]})"
        )
    if image.shape[0] > canvas[0] or image.shape[1] > canvas[1]:
        raise InputError(
            f"augmentation {name}: returned an image of {image.shape[0]} x {image.shape[1]}, which does not fit the"
            f" canvas of {canvas[0]} x {canvas[1]}; images may become smaller, not larger"
        )
    names = ("boxes", "class_ids", "is_crowd", "windows", "masks", "keypoints")
    lengths = {field: len(sample[field]) for field in names if field in sample}
    if len(set(lengths.values())) > 1:
        raise InputError(f"augmentation {name}: returned fields of different numbers of objects: {lengths}")
    if "semantic" in sample and sample["semantic"].shape != image.shape[:2]:
        raise InputError(
            f"augmentation {name}: returned a semantic map of shape {sample['semantic'].shape} beside an image of"
            f" {image.shape[:2]}; it has to move with the image"
        )
    return sample


def _random_window(
    sample: Sample, height: int, width: int, window: tuple[int, int], min_visible: float, rng: np.random.Generator
) -> Sample:
    """Cuts from the image as read what will be `window` once it is resized by (height, width) / its size."""
    h, w = sample["image"].shape[:2]
    wanted_h = min(h, max(1, round(window[0] * h / height)))
    wanted_w = min(w, max(1, round(window[1] * w / width)))
    if (wanted_h, wanted_w) == (h, w):
        return sample
    boxes = sample["boxes"]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    y = x = 0
    for _ in range(_CROP_TRIES):
        y, x = int(rng.integers(0, h - wanted_h + 1)), int(rng.integers(0, w - wanted_w + 1))
        inside = (centers >= (y, x)) & (centers < (y + wanted_h, x + wanted_w))
        if not len(boxes) or inside.all(axis=1).any():
            break
    return transforms.crop(sample, y, x, wanted_h, wanted_w, min_visible)
