"""The segments of an image: every pixel belongs to one thing, to stuff, or to nothing. On the host; no TensorFlow.

Ref: Kirillov et al., "Panoptic Segmentation", arXiv 1801.00868, section 3; "Panoptic Feature Pyramid Networks",
arXiv 1901.02446, section 3 (how instances and stuff are joined).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import ByValue

IGNORED = 255
"""In a semantic map: a pixel about which nothing is said. 0 is a thing, 1..S are classes of stuff."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        id: its value in the map, from 1.
        class_id: of things 1..C; of stuff 1..S, in a numbering of its own.
        is_thing: an object that can be counted, rather than stuff.
        score: of a predicted thing, else None.
        is_crowd: a group of things as one segment; ground truth only.
    """

    id: int
    class_id: int
    is_thing: bool = True
    score: float | None = None
    is_crowd: bool = False


@dataclasses.dataclass(eq=False)
class PanopticSegments(ByValue):
    """A map of segment ids, and what they are.

    ids i32[H, W], 0 where nothing is said; segments: one entry for each id of the map, in any order.

    Raises:
        InputError: an id of the map without an entry, an entry without a pixel, or an id given twice.

    Example:
        >>> ids = np.array([[1, 1, 0], [2, 2, 2]])
        >>> PanopticSegments(ids, (Segment(1, 4), Segment(2, 1, is_thing=False))).areas()
        {1: 2, 2: 3}
    """

    ids: np.ndarray
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        self.ids = np.asarray(self.ids)
        if self.ids.ndim != 2 or not np.issubdtype(self.ids.dtype, np.integer):
            raise InputError(f"ids: expected integers[H, W], got {self.ids.dtype}{list(self.ids.shape)}")
        self.ids, self.segments = self.ids.astype(np.int32), tuple(self.segments)
        listed = [segment.id for segment in self.segments]
        if len(set(listed)) < len(listed) or 0 in listed:
            raise InputError(f"segments: expected ids from 1, each once, got {listed}")
        present = set(np.unique(self.ids).tolist()) - {0}
        if present != set(listed):
            raise InputError(
                f"segments: the map has the ids {sorted(present - set(listed))} that are not listed, and lacks "
                f"{sorted(set(listed) - present)} that are"
            )

    def areas(self) -> dict[int, int]:
        """Pixels of each segment by its id."""
        values, counts = np.unique(self.ids, return_counts=True)
        return {value: count for value, count in zip(values.tolist(), counts.tolist(), strict=True) if value}

    def mask(self, segment_id: int) -> np.ndarray:
        """bool[H, W], the pixels of a segment."""
        return self.ids == segment_id


def join_segments(
    instances: Instances,
    stuff: np.ndarray,
    *,
    min_score: float = 0.5,
    max_overlap: float = 0.5,
    min_stuff_area: int = 4096,
) -> PanopticSegments:
    """Instances and a map of stuff classes as segments that do not overlap.

    Instances are laid down from the highest score on; one of whose pixels more than `max_overlap` are taken already is
    left out, others keep the pixels that are free. Then stuff fills what is free.

    Args:
        instances: with scores and masks.
        stuff: i[H, W], the stuff class of each pixel, 1..S; 0: none, or a thing.
        min_score: of an instance.
        max_overlap: share of an instance's pixels that others may have taken.
        min_stuff_area: pixels; a stuff class with fewer is left out.

    Returns:
        the segments, numbered from 1: things in the order of their scores, then stuff in that of its classes.

    Raises:
        InputError: no scores, no masks, or a map of another size.

    Ref: Panoptic Feature Pyramid Networks, section 3 ("Panoptic inference"); its defaults are detectron2's.

    Example:
        >>> masks = np.zeros((1, 2, 3), bool)
        >>> masks[0, 0, :2] = True
        >>> one = Instances(np.zeros((1, 4), np.float32), np.array([3]), (2, 3), np.array([0.9]), masks)
        >>> join_segments(one, np.full((2, 3), 7), min_stuff_area=1).ids.tolist()
        [[1, 1, 2], [2, 2, 2]]
    """
    stuff = np.asarray(stuff)
    if instances.scores is None or instances.masks is None:
        raise InputError("instances: expected scores and masks")
    if stuff.shape != instances.image_shape:
        raise InputError(f"stuff: expected the map of an image {instances.image_shape}, got {list(stuff.shape)}")
    ids = np.zeros(stuff.shape, np.int32)
    segments: list[Segment] = []
    for index in np.argsort(-instances.scores, kind="stable").tolist():
        score = float(instances.scores[index])
        if score < min_score:
            break
        mask = instances.masks[index]
        area, free = int(mask.sum()), mask & (ids == 0)
        num_free = int(free.sum())
        if not num_free or (area - num_free) / area > max_overlap:
            continue
        segments.append(Segment(len(segments) + 1, int(instances.class_ids[index]), True, score))
        ids[free] = segments[-1].id
    for class_id in np.unique(stuff[(stuff > 0) & (ids == 0)]).tolist():
        free = (stuff == class_id) & (ids == 0)
        if int(free.sum()) < min_stuff_area:
            continue
        segments.append(Segment(len(segments) + 1, int(class_id), False))
        ids[free] = segments[-1].id
    return PanopticSegments(ids, tuple(segments))
