"""Which images of a data set are meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Union

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.structures.records import ImageRecord

if TYPE_CHECKING:
    from mrcnn.data.image_source import ImageSource

Selection = Union[Sequence[int], np.ndarray, slice, Callable[[ImageRecord], bool]]  # noqa: UP007 - read at run time


def selected_images(dataset: ImageSource, select: Selection) -> list[int]:
    """The numbers of the images that a selection names; see `Dataset.subset`.

    Raises:
        DataError: a number is out of range or given twice, or an array is of another shape or type.
    """
    if callable(select):
        indices = [i for i in range(len(dataset)) if select(dataset.record(i))]
    elif isinstance(select, slice):
        indices = list(range(len(dataset)))[select]
    else:
        chosen = np.asarray(select)
        if chosen.dtype == bool:
            if chosen.shape != (len(dataset),):
                raise DataError(f"subset: expected {len(dataset)} booleans, got an array of shape {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        if chosen.size and not (np.issubdtype(chosen.dtype, np.integer) and chosen.ndim == 1):
            raise DataError(f"subset: expected numbers of images, got {chosen.dtype} of shape {chosen.shape}")
        indices = [int(i) for i in chosen]
    wrong = [i for i in indices if not 0 <= i < len(dataset)]
    if wrong:
        raise DataError(f"subset: no image {wrong[0]}; there are {len(dataset)}, counted from 0")
    if len(set(indices)) < len(indices):
        raise DataError("subset: an image is given twice")
    return indices
