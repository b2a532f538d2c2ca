"""What a training configuration refuses, by the name of its field."""

from __future__ import annotations

from typing import Any

import pytest

from mrcnn.base_config import ConfigError
from mrcnn.recipes.train_config import REFERENCE_BATCH, TrainConfig


def test_the_defaults_are_90000_steps_of_16() -> None:
    config = TrainConfig()
    steps = config.images / REFERENCE_BATCH
    assert steps == 90_000 and [round(part * steps) for part in config.milestones] == [60_000, 80_000]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("images", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("eval_every_epochs", 0, "at least 1"),
        ("accumulate", 0, "at least 1"),
        ("keep_checkpoints", 0, "at least 1"),
        ("warmup_images", -1, "at least 0"),
        ("weight_decay", -0.1, "at least 0"),
        ("stop_after", -1, "at least 0"),
        ("checkpoint_images", -1, "at least 0"),
        ("learning_rate", 0, "a positive number"),
        ("clip_norm", 0, "a positive number or none"),
        ("weight_average", 1.0, "a number from 0 to below 1"),
        ("weight_average", -0.1, "a number from 0 to below 1"),
    ],
)
def test_a_number_out_of_range_is_named(field: str, value: float, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"^train\.{field}: expected {expected}, got {value}$"):
        TrainConfig(**{field: value})


@pytest.mark.parametrize("unfreeze", [((0.5, "all"), (0.25, "4+")), ((1.5, "all"),), ((-0.1, "all"),)])
def test_parts_of_the_run_rise_from_0_to_1(unfreeze: Any) -> None:
    with pytest.raises(ConfigError, match=r"^train\.unfreeze: expected parts of the run from 0 to 1 in rising"):
        TrainConfig(unfreeze=unfreeze)
    assert TrainConfig(unfreeze=((0.25, "4+"), (0.25, "all"))).unfreeze[1] == (0.25, "all")
