"""What every metric offers: fed image by image, asked once at the end."""

from __future__ import annotations

from typing import Protocol, Union, runtime_checkable

from mrcnn.structures.instances import Instances
from mrcnn.structures.records import ImageRecord

Truth = Union[Instances, ImageRecord]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
"""The ground truth of one image: instances, or the record of its annotations.

A record keeps what the annotation file states and `Instances` cannot carry (the `area` COCO sorts objects into small,
medium and large by, polygons that were never rasterized), so numbers agree with the file's to the last digit.
"""


@runtime_checkable
class Metric(Protocol):
    """A measure of predictions against ground truth, accumulated over images. Nothing but `Instances` goes in."""

    def reset(self) -> None:
        """Forget all images."""

    def update(self, image_id: int | str, ground_truth: Truth, prediction: Instances) -> None:
        """Take in one image; both sides in its original pixels. Empty: either side may hold no instance."""

    def compute(self) -> dict[str, float]:
        """The numbers over all images seen since the last `reset`, by name."""
