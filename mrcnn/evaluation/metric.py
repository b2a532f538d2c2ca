"""`Metric`: the base class of everything that measures predictions against ground truth, image by image.

A metric is one file: a subclass of `Metric` in this package, in an installed package that declares it in the entry
points `mrcnn.components`, or in any module that has been imported. Nothing lists them.
"""

from __future__ import annotations

import abc
from typing import ClassVar, Union

from mrcnn import components
from mrcnn.data.ground_truth import to_instances
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import ImageRecord

GroundTruth = Union[Instances, ImageRecord]  # noqa: UP007 - a runtime alias, read by Python 3.10 too
"""The ground truth of one image: instances, or the record of its annotations.

A record keeps what the annotation file states and `Instances` cannot carry (the `area` COCO sorts objects into small,
medium and large by, polygons that were never rasterized), so numbers agree with the file's to the last digit.
`as_instances` makes instances of either.
"""


class Metric(abc.ABC):
    """A measure of predictions against ground truth, accumulated over images.

    `mrcnn.evaluate(model, data, metrics=[...])` resets a metric, feeds it every image and shows its numbers as
    "name/key". To evaluate on several machines a metric also has `get_state()`, which returns what can be pickled, and
    `merge(state)`, which takes in what another machine has seen.

    Class attributes:
        name: shown before the keys of `compute`; unique among the metrics of an evaluation.
    """

    abstract: ClassVar[bool] = True
    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.abstract = "abstract" in vars(cls) and cls.abstract

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget all images."""

    @abc.abstractmethod
    def update(self, image_id: int | str, ground_truth: GroundTruth, prediction: Instances) -> None:
        """Take in one image.

        Args:
            image_id: of the data set; not seen since the last `reset`.
            ground_truth: in the image's original pixels, crowd regions included. Empty: allowed.
            prediction: with scores, in the same pixels. Empty: allowed.
        """

    @abc.abstractmethod
    def compute(self) -> dict[str, float]:
        """The numbers over all images seen since the last `reset`, by key."""


def as_instances(ground_truth: GroundTruth, image_shape: tuple[int, int] | None = None) -> Instances:
    """Ground truth as instances, masks included.

    Args:
        ground_truth: instances, which are returned as they are, or a record.
        image_shape: (height, width), for a record that does not state it.

    Raises:
        InputError: neither the record nor the caller states the shape.
        DataError: a mask that cannot be rasterized.

    Example:
        >>> from mrcnn.structures.records import Annotation
        >>> record = ImageRecord(1, None, 8, 9, (Annotation(1, (1, 2, 5, 6)),))
        >>> int(as_instances(record).masks.sum())
        16
    """
    if isinstance(ground_truth, Instances):
        return ground_truth
    height, width = ground_truth.height, ground_truth.width
    if height is not None and width is not None:
        image_shape = height, width
    if image_shape is None:
        raise InputError(f"image {ground_truth.image_id!r}: its record states no size; give image_shape")
    joints = max((len(a.keypoints) for a in ground_truth.annotations if a.keypoints is not None), default=0)
    return to_instances(ground_truth.annotations, image_shape, joints)


def metrics() -> dict[str, type[Metric]]:
    """Every known metric by its name, or by that of its class where it has none.

    Example:
        >>> metrics()["coco"].__name__
        'CocoMetric'
    """
    known = components.subclasses_of(Metric, __package__)  # type: ignore[type-abstract]
    return {cls.name or qualified: cls for qualified, cls in known.items()}


def find_metric(name: str) -> type[Metric]:
    """The metric of a name, or of "module:Class".

    Raises:
        ComponentError: there is none; lists those there are.
    """
    known = metrics()
    if name in known:
        return known[name]
    return components.find_class(name, Metric, __package__, "metric")  # type: ignore[type-abstract]
