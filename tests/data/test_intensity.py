from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.intensity import parse_in_range, to_8_bit


def test_16_bits_are_rounded_onto_the_full_range() -> None:
    values = np.arange(65536, dtype=np.uint16)
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)  # no value lies half way: 257 is odd
    np.testing.assert_array_equal(to_8_bit(values, name="x"), expected)
    np.testing.assert_array_equal(to_8_bit(values.astype(np.int32), name="x"), expected)
    np.testing.assert_array_equal(to_8_bit(values.astype(">u2"), name="x"), expected)


@pytest.mark.parametrize(
    "in_range, expected",
    [
        ("dtype", [0, 1, 4]),
        ("image", [0, 57, 255]),
        ("bits", [25, 75, 250]),
        (10, [25, 75, 250]),
        (12, [6, 19, 62]),
        ((100, 300), [0, 255, 255]),
        ((300.5, 300.75), [0, 0, 255]),
    ],
)
def test_ranges(in_range, expected: list[int]) -> None:
    values = np.array([100, 300, 1001], np.uint16)
    # 10 bits: 100 / 1023 * 255 = 24.9; image: 200 / 901 * 255 = 56.6

    assert to_8_bit(values, in_range, name="x").tolist() == expected
    assert to_8_bit(values.astype(np.float32), (100, 300), name="x").tolist() == [0, 255, 255]


def test_8_bit_values_and_booleans_stay() -> None:
    values = np.array([[0, 7, 255]], np.uint8)
    for in_range in ("dtype", "image", "bits", 12, (0, 4095)):
        np.testing.assert_array_equal(to_8_bit(values, in_range, name="x"), values)
    assert to_8_bit(np.array([True, False]), name="x").tolist() == [255, 0]


def test_the_depth_that_a_file_states() -> None:
    assert to_8_bit(np.array([1023], np.uint16), "bits", name="x").tolist() == [255]
    assert to_8_bit(np.array([1023], np.uint16), "bits", name="x", bits=12).tolist() == [64]


def test_flat_empty_and_extreme_images() -> None:
    assert to_8_bit(np.full((2, 2), 700, np.uint16), "image", name="x").tolist() == [[0, 0], [0, 0]]
    assert to_8_bit(np.zeros((0, 3), np.uint16), name="x").shape == (0, 3)
    assert to_8_bit(np.full(3, np.nan, np.float32), "image", name="x").tolist() == [0, 0, 0]
    huge = np.array([-(2**31), 2**31 - 1], np.int32)
    assert to_8_bit(huge, "image", name="x").tolist() == [0, 255]
    with pytest.raises(DataError, match=r"x: values from -2147483648 to 2147483647; expected 0 to 65535"):
        to_8_bit(huge, name="x")
    with pytest.raises(DataError, match="x: pixels of type complex128"):
        to_8_bit(np.zeros(2, complex), name="x")


def test_ranges_from_text() -> None:
    assert [parse_in_range(t) for t in ("dtype", "image", "bits", "12", "0:4095", "-1:1.5")] == [
        "dtype", "image", "bits", 12, (0.0, 4095.0), (-1.0, 1.5),
    ]  # fmt: skip
    for text in ("", "full", "0", "99", "5:5", "9:1", "nan:1", "0:inf", "1e999:2"):
        with pytest.raises(DataError, match="in_range"):
            parse_in_range(text)
