"""Which images make which batch."""

from __future__ import annotations

import collections
import dataclasses
import math
import threading

import numpy as np

from mrcnn.data.dataset import Dataset

_COPY = 2**40  # more epochs than any run has


@dataclasses.dataclass(frozen=True)
class Share:
    """The rows of every batch that one process makes, where several devices or machines share the batches.

    A batch is cut into `of` parts of equal size. The pipeline then yields parts, not batches: `count` parts of a batch
    from part `first` on, one after the other, then those of the next batch. Put together, the parts of all processes
    are the batches one process alone would make.
    """

    of: int = 1
    first: int = 0
    count: int = 1


WHOLE = Share()


def steps_per_epoch(dataset: Dataset, batch_size: int) -> int:
    """Batches that show every image once, the last one perhaps smaller."""
    return math.ceil(len(dataset) / batch_size)


def repeat_factors(dataset: Dataset, indices: np.ndarray, threshold: float) -> np.ndarray | None:
    """How often each image is shown per epoch, so that rare classes are seen more often.

    An image is as rare as its rarest class: sqrt(threshold / share of the images with that class).

    Args:
        dataset: the images.
        indices: i64[n], those in use.
        threshold: share of the images below which a class counts as rare; 0: none does.

    Returns:
        f64[n], each at least 1; None: once each.

    Ref: LVIS, arXiv 1908.03195, appendix B.
    """
    if not threshold:
        return None
    classes = [{a.class_id for a in dataset.annotations(i) if not a.is_crowd} for i in indices.tolist()]
    counts = collections.Counter(class_id for present in classes for class_id in present)
    factors = {c: math.sqrt(threshold * len(indices) / n) for c, n in counts.items()}
    return np.array([max([1.0, *(factors[c] for c in present)]) for present in classes])


class BatchSampler:
    """Draws the images of each batch. A batch is keys i64[B, 2] of (epoch, index); safe between threads.

    Where an image is shown several times in an epoch, its epoch is that plus a multiple of `_COPY`, so that each
    showing has random choices of its own.

    Args:
        indices: i64[n], images in use.
        groups: i64[images], the group of every image; images of different groups never share a batch.
        batch_size: B.
        seed: of the order.
        shuffle: a new order every epoch.
        start: number of the first epoch.
        repeats: see `repeat_factors`.
    """

    def __init__(
        self,
        indices: np.ndarray,
        groups: np.ndarray,
        batch_size: int,
        seed: int,
        shuffle: bool,
        start: int,
        repeats: np.ndarray | None = None,
    ) -> None:
        self.indices, self.groups, self.batch_size, self.seed, self.shuffle = indices, groups, batch_size, seed, shuffle
        self.start, self.repeats = start, repeats
        self._lock = threading.Lock()
        self._epoch: tuple[tuple[int, bool], list[np.ndarray]] | None = None
        self._waiting: dict[int, list[tuple[int, int]]] = {}
        self._batches: list[np.ndarray] = []
        self._restart()

    def num_batches(self, drop_remainder: bool) -> int:
        """Of one epoch."""
        sizes = np.unique(self.groups[self.indices], return_counts=True)[1]
        return int(sum(n // self.batch_size if drop_remainder else -(-n // self.batch_size) for n in sizes))

    def epoch(self, epoch: int, drop_remainder: bool) -> list[np.ndarray]:
        """The batches of an epoch on its own; the remainder of each group makes a smaller batch at its end."""
        with self._lock:
            if self._epoch is None or self._epoch[0] != (epoch, drop_remainder):
                waiting: dict[int, list[tuple[int, int]]] = {}
                batches = self._fill(epoch, waiting)
                if not drop_remainder:
                    batches += [np.array(waiting[group], np.int64) for group in sorted(waiting) if waiting[group]]
                self._epoch = (epoch, drop_remainder), batches
            return self._epoch[1]

    def endless(self, number: int) -> np.ndarray:
        """Batch `number` of epochs that run into one another, so that all batches are full."""
        with self._lock:
            if number < self._first:
                self._restart()  # a new iteration
            while number >= self._first + len(self._batches):
                # Workers ask almost in order: what is needed of the past is never more than a few batches.
                passed = max(0, len(self._batches) - 64)
                self._first += passed
                self._batches = self._batches[passed:] + self._fill(self._next, self._waiting)
                self._next += 1
            return self._batches[number - self._first]

    def _restart(self) -> None:
        self._next = self.start
        self._waiting = {}
        self._first = 0  # number of the first batch that is kept
        self._batches = []  # those that are kept

    def _fill(self, epoch: int, waiting: dict[int, list[tuple[int, int]]]) -> list[np.ndarray]:
        """The full batches of an epoch; `waiting` holds what is left of the one before, and then of this one."""
        keys, batches = np.stack([np.full_like(self.indices, epoch), self.indices], axis=1), []
        rng = np.random.default_rng([self.seed, epoch])
        if self.repeats is not None:
            # The fraction is a probability, sampled every epoch.
            times = (self.repeats + rng.random(len(keys))).astype(np.int64)
            copies = np.concatenate([np.arange(n) for n in times])
            keys = np.repeat(keys, times, axis=0)
            keys[:, 0] += copies * _COPY
        if self.shuffle:
            keys = rng.permutation(keys)
        for key in map(tuple, keys.tolist()):
            group = waiting.setdefault(int(self.groups[key[1]]), [])
            group.append(key)
            if len(group) == self.batch_size:
                batches.append(np.array(group, np.int64))
                group.clear()
        return batches
