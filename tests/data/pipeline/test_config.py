from __future__ import annotations

import dataclasses

import pytest

from mrcnn.base_config import ConfigError
from mrcnn.data.augmentations.color import ColorJitter
from mrcnn.data.pipeline import DataConfig
from tests.data.pipeline.rectangles import CROP, SMALL


@pytest.mark.parametrize(
    "changes",
    [
        {"crop": (0, 5)},
        {"scale_jitter": (0.0, 1.0)},
        {"scale_jitter": (2.0, 1.0)},
        {"flip_horizontal": 1.5},
        {"brightness": -0.1},
        {"short_sides": (0,)},
        {"copy_paste": 2.0},
    ],
)
def test_fields_are_checked(changes: dict) -> None:
    with pytest.raises(ConfigError, match="data"):
        dataclasses.replace(SMALL, **changes)
    assert DataConfig.from_dict(CROP.to_dict()) == CROP


@pytest.mark.parametrize(
    "changes, is_random",
    [
        ({}, False),
        ({"min_visible": 0.5, "max_instances": 9, "repeat_threshold": 0.1}, False),
        ({"flip_vertical": 0.1}, True),
        ({"rotate90": 0.1}, True),
        ({"hue": 0.1}, True),
        ({"crop": (8, 8)}, True),
        ({"short_sides": (8,)}, True),
        ({"scale_jitter": (1.0, 2.0)}, True),
        ({"copy_paste": 0.1}, True),
        ({"augmentations": (ColorJitter(),)}, True),
    ],
)
def test_is_random(changes: dict, is_random: bool) -> None:
    assert dataclasses.replace(SMALL, **changes).is_random == is_random


def test_size_range() -> None:
    assert SMALL.size_range(800) == (800, 800)
    several = dataclasses.replace(SMALL, short_sides=(640, 800), scale_jitter=(0.5, 2.0))
    assert several.size_range(512) == (320, 1600)


def test_sizes_of_earlier_versions_belong_to_the_model() -> None:
    with pytest.raises(ConfigError, match="DataConfig has no field 'long_side'"):
        DataConfig.from_dict({"long_side": 1333})
