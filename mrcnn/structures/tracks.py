"""Which instances of successive frames are the same object, by the overlap of their boxes."""

from __future__ import annotations

import dataclasses

import numpy as np

from mrcnn.errors import InputError
from mrcnn.structures.boxes import box_iou
from mrcnn.structures.instances import Instances


@dataclasses.dataclass
class _Track:
    number: int
    class_id: int
    box: np.ndarray  # f64[4], where it was seen last
    missed: int = 0  # frames since then


class Tracker:
    """Numbers objects from frame to frame: a detection continues the track whose last box it overlaps most.

    Pairs are of one class and taken by falling IoU, one track and one detection at most once. An object that is not
    detected keeps its number for some frames.

    Args:
        min_iou: least IoU of a detection and the last box of its track, from 0 to 1.
        max_missed: frames in a row that an object may be missing.

    Raises:
        InputError: an argument out of range.

    Ref: Bochinski et al., High-Speed Tracking-by-Detection Without Using Image Information, AVSS 2017.

    Example:
        >>> tracker = Tracker()
        >>> cell = Instances([[10, 20, 40, 50]], [1], (64, 96))
        >>> moved = Instances([[0, 60, 9, 70], [12, 22, 42, 52]], [1, 1], (64, 96))
        >>> tracker.update(cell).tolist(), tracker.update(moved).tolist()
        ([1], [2, 1])
    """

    def __init__(self, min_iou: float = 0.3, max_missed: int = 5) -> None:
        if not 0 <= min_iou <= 1:
            raise InputError(f"min_iou: expected a number from 0 to 1, got {min_iou}")
        if max_missed < 0:
            raise InputError(f"max_missed: expected at least 0, got {max_missed}")
        self._min_iou, self._max_missed = min_iou, max_missed
        self._tracks: list[_Track] = []
        self.num_tracks = 0
        """Objects seen so far."""

    def update(self, instances: Instances) -> np.ndarray:
        """The numbers of a frame's instances.

        Args:
            instances: of the next frame, n of them.

        Returns:
            i64[n], from 1.
        """
        boxes = np.asarray(instances.boxes, np.float64)
        classes = instances.class_ids.tolist()
        numbers = np.zeros(len(instances), np.int64)
        continued: set[int] = set()
        for track, detection in self._pairs(boxes, classes):
            if numbers[detection] or track in continued:
                continue
            continued.add(track)
            known = self._tracks[track]
            known.box, known.missed = boxes[detection], 0
            numbers[detection] = known.number
        for place, track_ in enumerate(self._tracks):
            track_.missed += place not in continued
        self._tracks = [track_ for track_ in self._tracks if track_.missed <= self._max_missed]
        for detection in np.flatnonzero(numbers == 0).tolist():
            self.num_tracks += 1
            numbers[detection] = self.num_tracks
            self._tracks.append(_Track(self.num_tracks, classes[detection], boxes[detection]))
        return numbers

    def _pairs(self, boxes: np.ndarray, classes: list[int]) -> list[tuple[int, int]]:
        """(track, detection) of one class that overlap enough, by falling IoU."""
        if not self._tracks or not len(boxes):
            return []
        last = np.stack([track.box for track in self._tracks])
        iou = box_iou(last, boxes)
        same = np.array([track.class_id for track in self._tracks])[:, None] == np.array(classes)
        iou[~same | (iou <= 0)] = -1.0
        order = np.argsort(-iou, axis=None, kind="stable")
        enough = order[iou.ravel()[order] >= self._min_iou]
        return [(int(k) // len(boxes), int(k) % len(boxes)) for k in enough]
