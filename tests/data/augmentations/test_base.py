from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.components import subclasses_of
from mrcnn.data.augmentations.base import AugmentationConfig
from mrcnn.data.pipeline import DataConfig
from mrcnn.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Invert(AugmentationConfig):
    """A component of another package, as far as this one knows."""

    level: int = 255

    def apply(self, sample, rng):
        return sample | {"image": np.uint8(self.level) - sample["image"]}


def test_built_in_ones_are_found_where_they_lie() -> None:
    names = subclasses_of(AugmentationConfig, AugmentationConfig.components)
    assert {"ColorJitter", "RandomFlip"} <= names.keys()
    assert "AugmentationConfig" not in names


def test_one_of_another_module_is_named_with_it() -> None:
    kind = f"{__name__}:Invert"
    config = DataConfig(augmentations=(Invert(200),))
    assert config.to_dict()["augmentations"] == [{"kind": kind, "level": 200}]
    assert DataConfig.from_dict(config.to_dict()) == config
    changed = Recipe().override({"data.augmentations": [{"kind": kind, "level": 9}]})
    assert changed.override({"data.augmentations.0.level": 8}).data.augmentations == (Invert(8),)
    with pytest.raises(ConfigError, match="the module 'absent' is not imported"):
        Recipe().override({"data.augmentations": [{"kind": "absent:Invert"}]})


def test_apply_must_be_given() -> None:
    with pytest.raises(NotImplementedError):
        AugmentationConfig().apply({}, np.random.default_rng(0))
