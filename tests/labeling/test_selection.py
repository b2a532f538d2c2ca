from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcnn.errors import InputError
from mrcnn.labeling.selection import choose_in_turn, distances_in_turn, select_images, standardize
from tests.blob_finder import BlobFinder
from tests.tiny_model import blank_image, noise_images, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def slow_greedy(features, centers, number):
    """Greedy k-center, word by word: take the point farthest from all centers, make it one."""
    centers = [tuple(c) for c in centers]
    order = []
    for _ in range(number):
        left = [i for i in range(len(features)) if i not in order]
        best = max(left, key=lambda i: (min(np.linalg.norm(features[i] - np.array(c)) for c in centers), -i))
        order.append(best)
        centers.append(tuple(features[best]))
    return order


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_distance_alone_is_greedy_k_center(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    features, centers = rng.normal(size=(8, 3)), rng.normal(size=(2, 3))
    order = choose_in_turn(features, rng.random(8), number, centers, diversity=1)
    assert order == slow_greedy(features, centers, number)
    distances, radius = distances_in_turn(features, order, centers)
    assert distances[0] == pytest.approx(1)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(distances))
    assert radius <= distances[-1] + 1e-12


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=8, unique=True))
def test_uncertainty_alone_is_a_ranking(values: list[float]) -> None:
    order = choose_in_turn(np.zeros((len(values), 2)), np.array(values), len(values), np.zeros((0, 2)), diversity=0)
    ranked = [values[i] / max(max(values), 1e-12) for i in order]
    assert ranked == sorted(ranked, reverse=True) and sorted(order) == list(range(len(values)))


def test_an_image_twice_is_chosen_once() -> None:
    features = np.array([[0.0, 0], [0, 0], [5, 0], [0, 1]])
    assert choose_in_turn(features, np.array([1.0, 1, 0.4, 0.4]), 3, np.zeros((0, 2))) == [0, 2, 1]


def test_standardized_features_are_distances_of_equal_weight() -> None:
    features = standardize(np.random.default_rng(0).normal([0, 5], [1, 100], (50, 2)))
    assert features.mean(0) == pytest.approx([0, 0], abs=1e-9) and features.std(0) == pytest.approx([1, 1])


def test_images_of_a_model(model) -> None:
    images = [blank_image(96, 96), *noise_images(3), blank_image(96, 128)]
    selection = select_images(model, images, 2, labeled=[blank_image(96, 96)], seed=1)
    assert len(selection.chosen) == len(selection.random) == 2
    assert all(choice.image in (1, 2, 3) and choice.uncertainty > 0 for choice in selection.chosen)
    assert selection.chosen[0].distance > 0 and "proposed" in str(selection)
    assert select_images(model, images, 2, labeled=[blank_image(96, 96)], seed=1) == selection
    every = select_images(model, images, 9)
    assert sorted(choice.image for choice in every.chosen) == list(range(5)) and every.chosen_radius == 0


def test_an_image_that_cannot_be_read_is_left_out(model, tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    skipped: dict[int, Exception] = {}
    selection = select_images(
        model, [tmp_path / "a.png", blank_image(96, 96)], 2, on_error=lambda i, e: skipped.setdefault(i, e)
    )
    assert [choice.image for choice in selection.chosen] == [1] and list(skipped) == [0]


def test_arguments(model) -> None:
    with pytest.raises(InputError, match="budget 0"):
        select_images(model, [], 0)
    with pytest.raises(InputError, match="diversity 2"):
        select_images(model, [], 1, diversity=2)
    with pytest.raises(InputError, match="no image"):
        select_images(model, [], 1)
    with pytest.raises(InputError, match="BlobFinder: hands out no features"):
        select_images(BlobFinder(), [blank_image(8, 8)], 1)
