from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from mrcnn.text import file_stem, printable, shown_path


def test_control_characters_are_escaped_and_letters_stay() -> None:
    assert printable("cat\ndog") == r"cat\ndog"
    assert printable("\x1b[2J\x07\x9b\u202edog") == r"\x1b[2J\x07\x9b\u202edog"
    assert printable("a\nb", keep="\n") == "a\nb"
    for text in ("größe 木 сова", "می\u200cخواهم", "a b", "\\n"):
        assert printable(text) == text
    assert printable("\ud800").encode() == rb"\ud800"
    assert printable(3) == "3"


def test_no_control_character_is_left() -> None:
    every = "".join(map(chr, range(0x110000)))
    left = {unicodedata.category(c) for c in printable(every)}
    assert left.isdisjoint({"Cc", "Cs", "Zl", "Zp"})


@pytest.mark.parametrize(
    "text", ["a" * 240, "木" * 240, "x" * 240 + ".png", "../../etc/passwd", "a/b\\c:d", "", "...", "\ud800\n"]
)
def test_file_stems_are_valid_and_short(tmp_path: Path, text: str) -> None:
    stem = file_stem(text)
    assert len(stem.encode()) <= 100 and os.path.basename(stem) == stem and stem not in (".", "..")
    (tmp_path / f"{stem}.png").write_bytes(b"")
    assert file_stem(text) == stem


def test_long_names_that_differ_stay_apart() -> None:
    assert file_stem("a" * 240 + "1") != file_stem("a" * 240 + "2")
    assert file_stem("short-name_1.2") == "short-name_1.2"


def test_paths_below_the_working_folder_lose_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "data/train.json") == "data/train.json" == shown_path("data/train.json")
    assert shown_path(f"{tmp_path}x/a.json") == f"{tmp_path}x/a.json" and shown_path("hf://a/b") == "hf://a/b"
    monkeypatch.chdir("data")
    assert shown_path(tmp_path / "a.json") == str(tmp_path / "a.json")
