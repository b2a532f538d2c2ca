"""Which images to label next: those a model is unsure of, and unlike those that are labeled or chosen already.

Ref: Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018,
algorithm 1 (greedy k-center), to whose distances the expected number of corrections is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.data.read_options import ReadOptions
from mrcnn.errors import InputError
from mrcnn.inference import MAX_PIXELS
from mrcnn.inference.features import detect_with_features
from mrcnn.inference.read_ahead import OnError
from mrcnn.labeling.uncertainty import expected_corrections, expected_objects

DIVERSITY = 0.5


@dataclasses.dataclass(frozen=True)
class ImageChoice:
    """One image that was chosen.

    Attributes:
        image: its place among the images, from 0.
        uncertainty: expected corrections over the square root of the expected objects.
        distance: to the nearest image that was labeled or chosen before it; the largest at the start is 1.
        num_objects: that the model expects, the sum of its scores.
    """

    image: int
    uncertainty: float
    distance: float
    num_objects: float


@dataclasses.dataclass(frozen=True)
class ImageSelection:
    """What `select_images` chose, and as many images drawn at random to hold it against.

    Attributes:
        chosen: the image to label first comes first.
        random: distance as for `chosen`.
        chosen_radius, random_radius: largest distance of any image to the nearest one labeled or chosen; the smaller,
            the better what is chosen stands for all.
    """

    chosen: tuple[ImageChoice, ...]
    random: tuple[ImageChoice, ...]
    chosen_radius: float
    random_radius: float

    def __str__(self) -> str:
        sides = (self.chosen, self.chosen_radius), (self.random, self.random_radius)
        columns = [
            (
                str(len(choices)),
                f"{sum(one.uncertainty for one in choices) / max(len(choices), 1):.2f}",
                f"{sum(one.num_objects for one in choices):.2f}",
                f"{radius:.2f}",
            )
            for choices, radius in sides
        ]
        names = ("images", "mean uncertainty", "expected objects", "farthest image")
        rows = [("", "proposed", "random"), *zip(names, *columns, strict=True)]
        return "\n".join(f"{name:<16}  {a:>8}  {b:>8}" for name, a, b in rows)


def select_images(
    model: Any,
    images: Any,
    budget: int,
    *,
    labeled: Any = (),
    diversity: float = DIVERSITY,
    batch_size: int = 1,
    seed: int = 0,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
    on_error: OnError = "raise",
    progress: bool = False,
) -> ImageSelection:
    """Choose the images whose labels would improve a model most.

    Each image gets the number of corrections that the model expects in its own answers (`labeling.uncertainty`),
    divided by the square root of the number of objects, for a crowded image is more work; and the distance of its
    features, pooled from the pyramid and scaled to one variance, to the nearest image that is labeled or chosen. Images
    are taken one by one, by the sum of both, each over the largest there is.

    Args:
        model: a `MaskRCNN`, or what `fold_batch_norm` made of one.
        images: to choose from; as for `mrcnn.detect`.
        budget: how many to choose; all, if there are fewer.
        labeled: images that are labeled already; as for `mrcnn.detect`.
        diversity: weight of the distance, from 0, uncertainty alone, to 1, distance alone.
        batch_size, max_pixels, read_options, on_error, progress: as for `mrcnn.detect`.
        seed: of the random choice.

    Returns:
        the choice, and a random one of the same size.

    Raises:
        InputError: a budget below 1, a diversity outside [0, 1], no image that can be used; else as `mrcnn.detect`.
        DataError: as `mrcnn.detect`.

    Ref: Sener and Savarese, ICLR 2018, algorithm 1.

    Example:
        >>> selection = mrcnn.select_images(model, "unlabeled", 50)  # doctest: +SKIP
        >>> [choice.image for choice in selection.chosen][:3]  # doctest: +SKIP
        [17, 4, 112]
    """
    if budget < 1:
        raise InputError(f"budget {budget}: expected at least 1")
    if not 0 <= diversity <= 1:
        raise InputError(f"diversity {diversity}: expected 0..1")

    def look(some: Any) -> list[tuple[int, float, float, np.ndarray]]:
        results = detect_with_features(
            model,
            some,
            batch_size,
            max_pixels=max_pixels,
            read_options=read_options,
            on_error=on_error,
            progress=progress,
        )
        seen = []
        for place, result in enumerate(results):
            if result is not None:
                instances, features = result
                objects = expected_objects(instances)
                seen.append((place, expected_corrections(instances) / max(objects, 1.0) ** 0.5, objects, features))
        return seen

    candidates = look(images)
    if not candidates:
        raise InputError("select_images: no image that can be used")
    known = look(labeled) if not isinstance(labeled, Sequence) or len(labeled) else []
    features = standardize(np.stack([features for *_, features in [*candidates, *known]]))
    free, centers = features[: len(candidates)], features[len(candidates) :]
    uncertainty = np.array([value for _, value, _, _ in candidates])
    number = min(budget, len(candidates))
    order = choose_in_turn(free, uncertainty, number, centers, diversity)
    drawn = np.random.default_rng(seed).permutation(len(candidates))[:number].tolist()

    def choices(places: Sequence[int]) -> tuple[tuple[ImageChoice, ...], float]:
        distances, radius = distances_in_turn(free, places, centers)
        return tuple(
            ImageChoice(candidates[k][0], float(uncertainty[k]), distance, candidates[k][2])
            for k, distance in zip(places, distances, strict=True)
        ), radius

    chosen, chosen_radius = choices(order)
    random, random_radius = choices(drawn)
    return ImageSelection(chosen, random, chosen_radius, random_radius)


def standardize(features: np.ndarray) -> np.ndarray:
    """f64[N, F]: each column with mean 0 and variance 1; a constant one is 0.

    Example:
        >>> standardize(np.array([[1.0, 7.0], [3.0, 7.0]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    features = np.asarray(features, np.float64)
    deviation = features.std(0)
    return (features - features.mean(0)) / np.where(deviation > 1e-12, deviation, np.inf)


def choose_in_turn(
    features: np.ndarray, uncertainty: np.ndarray, number: int, centers: np.ndarray, diversity: float = DIVERSITY
) -> list[int]:
    """Places of images, one by one the best by weighted sum of uncertainty and distance, each over its largest value.

    Args:
        features: f[N, F].
        uncertainty: f[N], not negative.
        number: of images to choose, N at most.
        centers: f[L, F], features of labeled images; without any, the first image is chosen by its uncertainty, or
            the first of all where `diversity` is 1.
        diversity: weight of the distance.

    Example:
        >>> line = np.array([[0.0], [1.0], [9.0], [10.0]])
        >>> choose_in_turn(line, np.array([0.0, 0.1, 0.1, 0.0]), 3, line[:1], 0.9)
        [2, 1, 3]
    """
    doubt = uncertainty / max(uncertainty.max(initial=0.0), 1e-12)
    distance = _start(features, centers)
    scale = distance.max(initial=0.0) if len(centers) else _spread(features)
    left = np.ones(len(features), bool)
    order: list[int] = []
    for _ in range(number):
        away = np.minimum(distance / max(scale, 1e-12), 1.0) if np.isfinite(distance).all() else np.ones(len(features))
        value = np.where(left, (1 - diversity) * doubt + diversity * away, -1.0)
        best = int(value.argmax())
        order.append(best)
        left[best] = False
        distance = np.minimum(distance, _to(features, features[best]))
    return order


def distances_in_turn(features: np.ndarray, order: Sequence[int], centers: np.ndarray) -> tuple[list[float], float]:
    """Distance of each image to those before it and to the centers, and the largest that is left at the end.

    In units of the largest distance to a center, or without centers of that to the mean; the first image of all then
    has distance 1.

    Example:
        >>> distances_in_turn(np.array([[0.0], [4.0], [8.0]]), [2, 1], np.array([[0.0]]))
        ([1.0, 0.5], 0.0)
    """
    distance = _start(features, centers)
    scale = max(distance.max(initial=0.0) if len(centers) else _spread(features), 1e-12)
    values = []
    for place in order:
        values.append(float(distance[place] / scale) if np.isfinite(distance[place]) else 1.0)
        distance = np.minimum(distance, _to(features, features[place]))
    return values, float(distance.max(initial=0.0) / scale)


def _start(features: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """f64[N], distance to the nearest center; infinite without any."""
    distance = np.full(len(features), np.inf)
    for center in centers:
        distance = np.minimum(distance, _to(features, center))
    return distance


def _spread(features: np.ndarray) -> float:
    return float(_to(features, features.mean(0)).max(initial=0.0))


def _to(features: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(features - point).sum(1))
