"""A data set divided at random, each class in the same proportions, related images kept together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.structures.records import ImageRecord

Groups = Sequence[Hashable] | Callable[[ImageRecord], Hashable]


def split(
    dataset: Dataset,
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    stratify: bool = True,
    groups: Groups | None = None,
) -> dict[str, Dataset]:
    """See `Dataset.split`.

    Ref: Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011: the rarest class first,
    each image to the part that lacks most of it.
    """
    names, weights = list(fractions), np.array([float(v) for v in fractions.values()])
    if not names or not np.isfinite(weights).all() or (weights <= 0).any():
        raise DataError(f"split: expected a positive fraction for each part, got {dict(fractions)}")
    if weights.sum() > 1 + 1e-6 and not np.allclose(weights.sum(), 1):
        raise DataError(f"split: fractions add up to {weights.sum():g}, expected at most 1")
    members = _members(dataset, groups)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(members))
    members = [members[i] for i in order]
    sizes = np.array([len(indices) for indices in members])
    rest = 1 - weights.sum()
    shares = np.append(weights, rest) if rest > 1e-6 else weights / weights.sum()
    room = _whole(shares * sizes.sum())
    classes = _presence(dataset, members) if stratify else np.zeros((len(members), 0))
    part = _assign(classes, sizes, shares, room)
    result = {}
    for number, name in enumerate(names):
        indices = sorted(i for group, p in zip(members, part, strict=True) if p == number for i in group)
        result[name] = dataset.subset(np.array(indices, int))
    return result


def _members(dataset: Dataset, groups: Groups | None) -> list[list[int]]:
    """The images of each group."""
    if groups is None:
        return [[i] for i in range(len(dataset))]
    keys = [groups(dataset.record(i)) for i in range(len(dataset))] if callable(groups) else list(groups)
    if len(keys) != len(dataset):
        raise DataError(f"split: {len(keys)} groups for {len(dataset)} images")
    members: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    return list(members.values())


def _presence(dataset: Dataset, members: list[list[int]]) -> np.ndarray:
    """f64[groups, C]: in how many images of a group a class occurs."""
    counts = np.zeros((len(members), dataset.num_classes))
    for row, indices in zip(counts, members, strict=True):
        for i in indices:
            row[sorted({a.class_id - 1 for a in dataset.annotations(i)})] += 1
    return counts


def _whole(values: np.ndarray) -> np.ndarray:
    """Integers with the same sum, each next to its value; largest remainders are rounded up."""
    floor = np.floor(values + 1e-9).astype(int)
    missing = round(values.sum()) - floor.sum()
    for k in np.argsort(floor - values, kind="stable")[:missing]:
        floor[k] += 1
    return floor


def _assign(classes: np.ndarray, sizes: np.ndarray, shares: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The part of each group."""
    part = np.full(len(sizes), -1)
    room = room.astype(float)
    wanted = shares[:, None] * classes.sum(axis=0)  # [parts, C]
    totals = classes.sum(axis=0)
    by_rarity = [k for k in np.argsort(totals, kind="stable") if totals[k] > 0]
    for k in [*by_rarity, None]:
        has = np.ones(len(sizes), bool) if k is None else classes[:, k] > 0
        waiting = np.flatnonzero((part < 0) & has)
        for g in waiting[np.argsort(-sizes[waiting], kind="stable")]:
            fits = room >= sizes[g]
            fits = fits if fits.any() else room == room.max()
            lack = wanted[:, k] if k is not None else room
            best = max(np.flatnonzero(fits).tolist(), key=list(zip(lack, room, strict=True)).__getitem__)
            part[g] = best
            room[best] -= sizes[g]
            wanted[best] -= classes[g]
    return part
