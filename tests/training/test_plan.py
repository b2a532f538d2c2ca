"""Steps of a run, by hand."""

from __future__ import annotations

import pytest

from mrcnn.recipes import TrainConfig
from mrcnn.training.plan import make_plan


@pytest.mark.parametrize(
    "images, batch, accumulate, num_images, replicas, expected",
    [
        (40, 2, 1, 7, 1, (2, 6, 4)),  # 40 / 7 is 6 epochs; 20 steps are 4 in each, rounded up
        (8, 2, 1, 4, 1, (2, 2, 2)),
        (1, 2, 1, 4, 1, (2, 1, 1)),  # one step at least
        (32, 2, 2, 4, 2, (8, 8, 1)),
        (1_440_000, 2, 1, 118_287, 8, (16, 12, 7500)),  # the 1x of COCO
    ],
)
def test_images_become_steps(images, batch, accumulate, num_images, replicas, expected) -> None:
    config = TrainConfig(images=images, batch_size=batch, accumulate=accumulate)
    plan = make_plan(config, num_images, replicas)
    assert (plan.batch_size, plan.epochs, plan.steps_per_epoch) == expected
    assert plan.total_steps == expected[1] * expected[2]


def test_phases_begin_where_their_part_of_the_run_does() -> None:
    config = TrainConfig(images=40, batch_size=2, train_layers="heads", unfreeze=((0.25, "4+"), (0.5, "all")))
    plan = make_plan(config, 8, 1)
    assert plan.phases == ((0, "heads"), (5, "4+"), (10, "all"))
    assert [plan.layers_at(step) for step in (0, 4, 5, 9, 10, 19)] == ["heads", "heads", "4+", "4+", "all", "all"]
