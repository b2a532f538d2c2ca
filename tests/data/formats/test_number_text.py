from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.number_text import parse_numbers


def test_numbers_are_those_of_float(rng: np.random.Generator) -> None:
    by_hand = [
        "0",
        "7",
        "12.5",
        ".25",
        "5.",
        "640.123",
        "1234567.8",
        "12345678",
        "123.4567890123",
        "-3.5",
        "1e-7",
        "2E3",
    ]
    drawn = [
        repr(round(float(v), int(k)))
        for v, k in zip(rng.uniform(-9, 2000, 40_000), rng.integers(0, 12, 40_000), strict=True)
    ]
    texts = by_hand + drawn
    assert parse_numbers(" ,\n".join(texts).encode()).tolist() == [float(text) for text in texts]
    assert parse_numbers(b"1").tolist() == [1.0]


@pytest.mark.parametrize(
    "text", [b"", b"1,", b",1", b"1,,2", b"1.2.3", b".", b"-", b"1-2", b"NaN", b"1;2", b"[1]", b"e"]
)
def test_what_is_no_list_of_numbers(text: bytes) -> None:
    with pytest.raises(DataError, match="numbers: "):
        parse_numbers(text)
