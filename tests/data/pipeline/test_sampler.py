from __future__ import annotations

import dataclasses

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline import make_pipeline, steps_per_epoch
from mrcnn.data.pipeline.sampler import BatchSampler, repeat_factors
from mrcnn.structures.records import Annotation
from tests.data.pipeline.rectangles import CROP, INPUT, Rectangles, arrays


def test_rare_classes_are_shown_more_often() -> None:
    """One image of ten has the rare class: sqrt(0.4 / 0.1) = 2 times; the others' class is on all: once."""
    dataset = Dataset()
    dataset.add_class("x", 1, "common")
    dataset.add_class("x", 2, "rare")
    for i in range(10):
        annotations = [Annotation(1, (5.0, 5.0, 20.0, 20.0))]
        if i == 3:
            annotations.append(Annotation(2, (5.0, 30.0, 20.0, 50.0)))
        dataset.add_image("x", i, None, height=30, width=60, annotations=annotations)
    noise = np.random.default_rng(0).integers(0, 255, (30, 60, 3), dtype=np.uint8)
    dataset.load_image = lambda index: noise
    config = dataclasses.replace(CROP, repeat_threshold=0.4)
    batches = arrays(make_pipeline(dataset, INPUT, config, 11, training=True, repeat=True), 6)
    for batch in batches:
        assert np.bincount(batch["image_id"], minlength=10).tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]
        twice = np.flatnonzero(batch["image_id"] == 3)
        assert (batch["seed"][twice[0]] != batch["seed"][twice[1]]).any()


def test_repeat_factors_of_hand_numbers() -> None:
    dataset = Dataset()
    for name in ("common", "rare"):
        dataset.add_class("x", 1 + (name == "rare"), name)
    for classes in ([1], [1], [1], [1, 2], []):
        boxes = [Annotation(k, (0.0, 0.0, 5.0, 5.0)) for k in classes]
        dataset.add_image("x", len(dataset), None, height=9, width=9, annotations=boxes)
    assert repeat_factors(dataset, np.arange(5), 0.0) is None
    np.testing.assert_allclose(repeat_factors(dataset, np.arange(5), 0.8), [1, 1, 1, 2, 1])
    np.testing.assert_allclose(repeat_factors(dataset, np.array([3, 4]), 0.8), [0.8**0.5 * 2**0.5, 1])


def test_steps_per_epoch() -> None:
    assert [steps_per_epoch(Rectangles(n), 4) for n in (1, 4, 5, 8)] == [1, 1, 2, 2]


def test_the_sampler_keeps_groups_apart_and_carries_remainders_over() -> None:
    groups = np.array([0, 1, 0, 1, 0])
    sampler = BatchSampler(np.arange(5), groups, 2, seed=0, shuffle=True, start=3)
    endless = [sampler.endless(number) for number in range(10)]
    assert all(len(set(groups[batch[:, 1]])) == 1 for batch in endless)
    keys = [tuple(key) for batch in endless for key in batch.tolist()]
    assert len(keys) == len(set(keys)) == 20
    assert {epoch for epoch, _ in keys} == {3, 4, 5, 6}
    assert np.array_equal(sampler.endless(0), endless[0])
    assert [len(batch) for batch in sampler.epoch(3, drop_remainder=False)] == [2, 2, 1]
    assert sampler.num_batches(drop_remainder=True) == len(sampler.epoch(3, drop_remainder=True)) == 2
