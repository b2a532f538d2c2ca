from __future__ import annotations

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.data.augmentations.color import ColorJitter
from tests.data.transforms.painted import make_sample


def test_only_the_image_changes_and_stays_in_range(rng: np.random.Generator) -> None:
    sample = make_sample() | {"image": rng.integers(0, 256, (40, 60, 3)).astype(np.uint8)}
    jitter = ColorJitter(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    for dtype in (np.uint8, np.float32):
        before = sample | {"image": sample["image"].astype(dtype)}
        after = jitter.apply(before, rng)
        assert after["image"].dtype == dtype and (after["image"] != before["image"]).any()
        assert after["image"].min() >= 0 and after["image"].max() <= 255
        assert all(after[name] is before[name] for name in before.keys() - {"image"})


def test_without_amounts_nothing_is_drawn(rng: np.random.Generator) -> None:
    sample, state = make_sample(), rng.bit_generator.state
    assert ColorJitter().apply(sample, rng) is sample
    assert rng.bit_generator.state == state


@pytest.mark.parametrize("field", ["brightness", "contrast", "saturation", "hue"])
def test_fields_are_checked(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"ColorJitter\.{field}: expected at least 0, got -1"):
        ColorJitter(**{field: -1})
