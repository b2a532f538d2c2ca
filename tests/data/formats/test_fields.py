from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import as_flag, as_id, as_number, as_numbers, parse_entries, parse_json, read_text, short

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "value, identity, number, flag",
    [
        (0, 0, 0.0, False), (1, 1, 1.0, True), (7, 7, 7.0, None), (7.0, 7, 7.0, None), (7.5, None, 7.5, None),
        (True, None, None, True), (None, None, None, False), ("7", "7", None, None), ("1", "1", None, True),
        (10**400, 10**400, None, None), (2**70, 2**70, float(2**70), None), (INF, None, None, None),
        (NAN, None, None, None), ([], None, None, None), ({}, None, None, None), ("", "", None, None),
    ],
)  # fmt: skip
def test_values_of_any_type(value, identity, number, flag) -> None:
    assert as_id(value) == identity and type(as_id(value)) is type(identity)
    assert as_number(value) == number
    assert as_flag(value) is flag


def test_numbers() -> None:
    np.testing.assert_array_equal(as_numbers([1, 2.5, INF]), [1, 2.5, INF])
    assert as_numbers([[1, 2], [3, 4]]).shape == (2, 2)
    for bad in (["a"], [[1], [2, 3]], {"a": 1}, [10**400], [{}]):
        with pytest.raises(DataError, match="not a number"):
            as_numbers(bad)


def test_messages_stay_short() -> None:
    assert len(short("x" * 10**6)) < 100
    assert len(short(10**4000)) < 100
    assert len(short(list(range(10**5)))) < 200
    nested: list = []
    for _ in range(10**5):
        nested = [nested]
    assert len(short(nested)) < 200


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\ufeff{}")
    assert read_text(tmp_path / "a.json") == "{}"
    os.mkfifo(tmp_path / "p.json")
    (tmp_path / "b.json").write_bytes(b"\xff")
    for name, reason in (
        ("none.json", "no such annotation file"),
        ("p.json", "found a pipe or device"),
        ("", "found a folder"),
        ("b.json", "not valid UTF-8"),
        ("\0", "cannot be read"),
    ):
        with pytest.raises(DataError, match=reason):
            read_text(tmp_path / name)
    for text in ("", "{", "[" * 10**5, "1" * 5000):
        with pytest.raises(DataError, match=r"x\.json: not valid JSON"):
            parse_json(text, "x.json")


def test_entries_are_what_json_reads_but_for_integers_past_64_bits() -> None:
    text = b'[{"id": 7, "bbox": [0.1, 2e-7, 123456789.125, -0.0], "name": "\\u00e9"}, null, true, 18446744073709551615]'
    assert parse_entries(text) == json.loads(text)
    assert parse_entries(b'["\\ud800", 1e999]') == ["\ud800", INF] and str(parse_entries(b"[NaN]")) == "[nan]"
    assert isinstance(parse_entries(b"[18446744073709551616]")[0], float)
    with pytest.raises(ValueError, match="line 1 column 2"):
        parse_entries(b"[")
