"""Whether a data set has anything to train on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mrcnn.data.errors import DataError
from mrcnn.data.rasterize import mask_window

if TYPE_CHECKING:
    from mrcnn.data.image_source import ImageSource


def nothing_to_train_on(dataset: ImageSource) -> str | None:
    """Why there is nothing to train on in a set, in one sentence; None where an object is usable.

    Objects are looked at until one is found that is no crowd region and whose mask has a pixel. An image that cannot be
    read might have one: None then, too, for training names the image.
    """
    num_crowd = num_empty = 0
    is_known = True
    for index in range(len(dataset)):
        try:
            for annotation in dataset.annotations(index):
                if annotation.is_crowd:
                    num_crowd += 1
                elif mask_window(annotation, *dataset.image_shape(index)).bits.any():
                    return None
                else:
                    num_empty += 1
        except DataError:
            is_known = False
    if not is_known:
        return None
    parts = [f"{num_crowd} crowd region{'s' * (num_crowd != 1)}, no object"] if num_crowd else []
    if num_empty:
        parts = [f"{num_empty} object{'s' * (num_empty != 1)}, none of whose masks has a pixel"]
    sentence = f"nothing to train on: {parts[0] if parts else f'no object in {len(dataset)} images'}"
    if num_crowd and not num_empty:
        sentence += "; regions with iscrowd 1 are ignored in training, so set it to 0 where it marks single objects"
    counts = Counter(issue.kind for issue in dataset.issues if issue.annotation_id is not None)
    if counts and not parts:
        sentence += f"; left out: {', '.join(f'{n} x {kind}' for kind, n in counts.most_common())}"
    return sentence
