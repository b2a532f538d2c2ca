"""Whether what a model is given is a batch, and one with the ground truth that its losses need."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mrcnn.errors import InputError


def expect_batch(batch: Any) -> None:
    """Refuse what is no batch.

    Raises:
        InputError: names what a model takes, and the function that takes images.
    """
    if not isinstance(batch, Mapping):
        refuse_images(batch)
        raise InputError(f"the model takes batches, see structures.batch_spec; got {type(batch).__name__}")


def refuse_images(x: Any) -> None:
    """Refuse what holds images and no batches: an array, a tensor, a path, a PIL image, or several of these.

    Raises:
        InputError: names the function to call.
    """
    if isinstance(x, (str, os.PathLike, list, tuple)) or (hasattr(x, "shape") and hasattr(x, "dtype")):
        raise InputError(
            "the model takes batches of padded images; call mrcnn.detect(model, images), which takes arrays, paths and"
            " folders and gives boxes in their pixels"
        )


def expect_keys(head: str, losses: Mapping[str, Sequence[str]], batch: Mapping[str, Any]) -> None:
    """Refuse a batch without what the losses of a head are computed from.

    Args:
        head: its name.
        losses: name of each loss -> keys of the batch it needs.
        batch: with ground truth.

    Raises:
        InputError: names the head, the loss and the key.

    Example:
        >>> expect_keys("keypoint_head", {"roi_keypoint": ("gt_keypoints",)}, {"gt_boxes": 0})
        Traceback (most recent call last):
        mrcnn.errors.InputError: keypoint_head: its loss 'roi_keypoint' needs gt_keypoints, but the batch has none
    """
    for loss, keys in losses.items():
        for key in keys:
            if key not in batch:
                raise InputError(f"{head}: its loss {loss!r} needs {key}, but the batch has none")
