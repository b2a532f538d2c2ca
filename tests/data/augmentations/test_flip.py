from __future__ import annotations

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.data import transforms
from mrcnn.data.augmentations.flip import RandomFlip
from tests.data.transforms.painted import check_agrees_with_pixels, make_sample, same


def test_probabilities(rng: np.random.Generator) -> None:
    sample, flip = make_sample(), RandomFlip(0.25, 0.5)
    views = [flip.apply(sample, rng) for _ in range(400)]
    mirrored = [transforms.flip_horizontal(sample), transforms.flip_vertical(sample)]
    across, down = (np.mean([(view["boxes"][:, i] == other["boxes"][:, i]).all() for view in views])
                    for i, other in ((1, mirrored[0]), (0, mirrored[1])))  # fmt: skip
    assert across == pytest.approx(0.25, abs=0.07)
    assert down == pytest.approx(0.5, abs=0.08)
    for view in views[:8]:
        check_agrees_with_pixels(view)
    same(RandomFlip(0.0, 0.0).apply(sample, rng), sample)


def test_left_and_right_joints_are_exchanged(rng: np.random.Generator) -> None:
    sample = make_sample()
    flipped = RandomFlip(1.0).apply(sample | {"joint_order": (1, 0)}, rng)
    np.testing.assert_array_equal(flipped["keypoints"][:, 1, 0], 60 - sample["keypoints"][:, 0, 0])
    assert not flipped["keypoints"][:, 0].any()


@pytest.mark.parametrize("field", ["horizontal", "vertical"])
def test_fields_are_checked(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"RandomFlip\.{field}: expected a probability, got 1\.5"):
        RandomFlip(**{field: 1.5})
