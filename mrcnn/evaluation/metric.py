"""What every metric offers: fed picture by picture, asked once at the end."""

from __future__ import annotations

from typing import Protocol, Union, runtime_checkable

from mrcnn.structures import ImageRecord, Instances

Truth = Union[Instances, ImageRecord]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
"""The truth of one picture: instances, or the record of its annotations.

A record keeps what the annotation file states and `Instances` cannot carry (the `area` COCO sorts objects into small,
medium and large by, polygons that were never rasterised), so numbers agree with the file's to the last digit.
"""


@runtime_checkable
class Metric(Protocol):
    """A measure of predictions against truth, accumulated over pictures. Nothing but `Instances` goes in."""

    def reset(self) -> None:
        """Forget all pictures."""

    def update(self, image_id: int | str, truth: Truth, prediction: Instances) -> None:
        """Take in one picture; both sides in its original pixels. Empty: either side may hold no instance."""

    def compute(self) -> dict[str, float]:
        """The numbers over all pictures seen since the last `reset`, by name."""
