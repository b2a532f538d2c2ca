from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.errors import InputError
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.ops.resize import resize_image
from mrcnn.preprocessing import InputConfig, input_config, preprocess
from mrcnn.recipes import Recipe

CENTER = InputConfig(short_side=20, long_side=40, divisor=16, padding="center")


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize("name", ["short_side", "long_side", "divisor", "square_side"])
def test_sides_must_be_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"input\.{name}: expected at least 1, got 0"):
        InputConfig(**{name: 0})


@pytest.mark.parametrize(
    "config, expected",
    [
        # The corner's image is cut at its own size; the odd pixel of a centered one lies below and right.
        (InputConfig(20, 40, 16), ((32, 32), (20, 30), (0, 0))),
        (CENTER, ((32, 32), (20, 30), (6, 1))),
        (dataclasses.replace(CENTER, canvas="square"), ((48, 48), (20, 30), (14, 9))),
        (dataclasses.replace(CENTER, canvas="square", square_side=60), ((64, 64), (20, 30), (22, 17))),
        (dataclasses.replace(CENTER, square_side=60), ((32, 32), (20, 30), (6, 1))),
        (dataclasses.replace(CENTER, canvas="square", square_side=16), ((32, 32), (20, 30), (6, 1))),
        (InputConfig(20, 27, 1, rounding="floor"), ((18, 27), (18, 27), (0, 0))),
        (InputConfig(5, 40, 8, never_shrink_for_short=True), ((16, 16), (10, 15), (0, 0))),
    ],
)
@pytest.mark.parametrize("interpolation", ["antialias_u8", "linear", "linear_u8", "linear_black_u8"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_canvas_of_hand_numbers(config: InputConfig, expected: tuple, interpolation: str, channels: int) -> None:
    config, image = dataclasses.replace(config, interpolation=interpolation), noise(10, 15, channels)
    shape, content, origin = expected
    result = preprocess(image, config)
    assert (result.image.shape, result.content_shape, result.origin) == ((*shape, channels), content, origin)
    assert result.image.dtype == (np.float32 if interpolation == "linear" else np.uint8)
    inside = result.image[origin[0] : origin[0] + content[0], origin[1] : origin[1] + content[1]]
    np.testing.assert_array_equal(inside, resize_image(image, content, interpolation))
    assert np.count_nonzero(result.image) == np.count_nonzero(inside)


def test_a_canvas_that_is_given_is_written_to() -> None:
    """As in a batch, where it may be larger than the image's own."""
    out = np.zeros((48, 64, 3), np.uint8)
    result = preprocess(noise(10, 15), CENTER, out=out)
    assert result.image is out
    assert result.origin == (14, 17)
    np.testing.assert_array_equal(out[14:34, 17:47], resize_image(noise(10, 15), (20, 30)))
    other = preprocess(noise(10, 15), CENTER, (10, 15), np.zeros((16, 16, 3), np.uint8))
    np.testing.assert_array_equal(other.image[3:13, :15], noise(10, 15))
    with pytest.raises(InputError, match="20 x 30 does not fit a canvas of 16 x 32"):
        preprocess(noise(10, 15), CENTER, out=np.zeros((16, 32, 3), np.uint8))
    with pytest.raises(InputError, match="float32"):
        preprocess(noise(10, 15), CENTER, out=np.zeros((32, 32, 3), np.float32))


def test_float_images_only_where_nothing_is_left_to_resize() -> None:
    image, linear = noise(20, 30).astype(np.float32) + 0.25, dataclasses.replace(CENTER, interpolation="linear")
    np.testing.assert_array_equal(preprocess(image, linear).image[6:26, 1:31], image)
    for config, content in ((CENTER, None), (linear, (10, 15))):
        with pytest.raises(InputError, match="expected a uint8 image, got float32"):
            preprocess(image, config, content)


@pytest.mark.parametrize(
    "short_side, factor, expected",
    [
        (None, 1.0, (20, 30)),
        (10, 1.0, (10, 15)),
        (10, 2.0, (20, 30)),
        (30, 1.0, (30, 45)),  # a larger scale has a larger limit, here 60
        (40, 1.5, (53, 80)),  # a factor stays within it
        (None, 2.0, (27, 40)),
    ],
)
def test_sizes_of_other_scales(short_side: int | None, factor: float, expected: tuple[int, int]) -> None:
    assert CENTER.content_size(10, 15, short_side, factor) == expected


def test_a_factor_also_shrinks_where_the_short_side_does_not() -> None:
    config = dataclasses.replace(CENTER, never_shrink_for_short=True, long_side=1000)
    assert config.content_size(100, 200) == (100, 200)
    assert config.content_size(100, 200, factor=0.5) == (50, 100)
    assert config.content_size(10, 20, factor=0.5) == (10, 20)


def test_input_config_of_its_owners() -> None:
    config = MaskRCNNConfig(input=CENTER)
    for owner in (CENTER, types.SimpleNamespace(config=config), Recipe(model=config)):
        assert input_config(owner) is CENTER
    for other in (None, config, {"input": CENTER}):
        with pytest.raises(InputError, match="expected a model, a recipe or an InputConfig"):
            input_config(other)
