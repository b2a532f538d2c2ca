from __future__ import annotations

import pytest

from mrcnn.weights.mmdet_config import entry, numbers, read_config


def test_plain_data_is_read() -> None:
    text = """
_base_ = ['./a.py']
norm = dict(mean=[1.5, -2], to_rgb=True)
model = dict(type='X', head=dict(norm=norm, scales=(8, )), extra={'a': None, 3: "b"})
custom_imports = None
"""
    assert read_config(text) == {
        "_base_": ["./a.py"],
        "norm": {"mean": [1.5, -2], "to_rgb": True},
        "model": {
            "type": "X",
            "head": {"norm": {"mean": [1.5, -2], "to_rgb": True}, "scales": (8,)},
            "extra": {"a": None, 3: "b"},
        },
        "custom_imports": None,
    }


def test_nothing_is_run(tmp_path) -> None:
    path = tmp_path / "made"
    text = f"import os\nos.mkdir({str(path)!r})\na = open({str(path)!r}, 'w')\nb = [x for x in range(9)]\nc = dict(**a)"
    assert read_config(text) == {"a": None, "b": None, "c": {}}
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "a = (",
        "a = \0",
        "a = " + "[" * 1000,
        "a = " + "-" * 100_000 + "1",
        "#" * (1 << 21),
        "a = [" + "1," * 300_000 + "]",
    ],
)
def test_unreadable_texts_are_none(text: str) -> None:
    assert read_config(text) is None


def test_doubling_does_not_take_memory() -> None:
    """Names stand for the same object, however often they are used."""
    lines = ["a0 = [1]", *(f"a{i} = [a{i - 1}, a{i - 1}]" for i in range(1, 200))]
    assert len(read_config("\n".join(lines))["a199"]) == 2


def test_entries_and_numbers() -> None:
    config = {"a": [{"b": 1}, 2]}
    assert entry(config, "a", 0, "b") == 1
    assert entry(config, "a", -1) == 2
    assert entry(config, "a", 5) is entry(config, "x", "y") is entry(None, "a") is None
    assert numbers([1, 2.5], 2) == (1.0, 2.5)
    for value in ([], [1], "12", [True, 1], [1e300, 1], ["1", 2], None, [float("nan"), 1]):
        assert numbers(value, 2) is None
