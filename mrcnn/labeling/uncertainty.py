"""How much there would be to correct in a model's answers about an image, as the model itself sees it."""

from __future__ import annotations

import numpy as np

from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import BoxMasks

LOOSE, TIGHT = 0.3, 0.7
"""Probabilities at which the masks that differ most are cut."""


def expected_objects(instances: Instances) -> float:
    """The sum of scores: how many of the detections are objects if a score is the chance to be one."""
    return 0.0 if instances.scores is None else float(instances.scores.sum())


def expected_corrections(instances: Instances) -> float:
    """How many detections of an image would have to be deleted, added or reshaped, by what the model says of them.

    Who takes each detection scored s >= 0.5 errs with chance 1 - s, who leaves out one of less with chance s. The
    outline of an object is as doubtful as the mask cut at probability 0.7 differs from that at 0.3: one minus the
    ratio of their areas, times s. Both are added up over the detections.

    Args:
        instances: with scores, those below 0.5 included; masks as the model gives them count if there are any.

    Empty: 0.

    Example:
        >>> sure = Instances([[0, 0, 4, 4]], [1], (8, 8), scores=[1])
        >>> even = Instances([[0, 0, 4, 4], [4, 4, 8, 8]], [1, 1], (8, 8), scores=[0.5, 0.25])
        >>> expected_corrections(sure), expected_corrections(even)
        (0.0, 0.75)
    """
    if instances.scores is None or not len(instances):
        return 0.0
    scores = instances.scores.astype(np.float64)
    return float(np.minimum(scores, 1 - scores).sum() + (scores * (1 - outline_certainty(instances))).sum())


def outline_certainty(instances: Instances) -> np.ndarray:
    """f64[n] in [0, 1]: area of each mask at probability 0.7 over that at 0.3; 1 where no probabilities are held."""
    held = instances._held_masks()
    if not isinstance(held, BoxMasks):
        return np.ones(len(instances))
    loose, tight = ((held.probs >= level).sum((1, 2)) for level in (LOOSE, TIGHT))
    return np.where(loose > 0, tight / np.maximum(loose, 1), 0.0)
