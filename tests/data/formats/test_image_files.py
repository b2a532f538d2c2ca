from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.image_files import ImageFiles, files_below
from tests.data.formats.sample_sets import write_image


def test_names_as_label_files_give_them(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b c.PNG", "x/t.png", "y/t.png", "Case.png", "one.tar.png"):
        write_image(tmp_path / name)
    files = ImageFiles([tmp_path])
    for name, expected in (
        ("a.png", "a.png"),
        ("a", "a.png"),
        ("a.jpg", "a.png"),
        ("/home/me/a.png", "a.png"),
        ("C:\\set\\deep\\b c.png", "deep/b c.PNG"),
        ("case.PNG", "Case.png"),
        ("x/t.png", "x/t.png"),
        ("y\\t", "y/t.png"),
        ("one.tar", "one.tar.png"),
        ("t.png", None),
        ("z.png", None),
        ("", None),
    ):
        assert files.find(name) == (None if expected is None else tmp_path / expected), name
    assert files.missing("t.png").startswith("image 't.png' may be ") and "no such image: 'z.png'" in files.missing(
        "z.png"
    )


def test_names_that_differ_in_case_only(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "A.png")
    files = ImageFiles([tmp_path])
    assert files.find("A.png") == tmp_path / "A.png" and files.find("a.png") == tmp_path / "a.png"
    write_image(tmp_path / "B.png")
    write_image(tmp_path / "b.PNG")
    assert ImageFiles([tmp_path]).find("b.png") is None


def test_walking(tmp_path: Path) -> None:
    for name in ("b.txt", "a.TXT", ".c.txt", "d/e.txt", "d/.h/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [f.name for f in files_below(tmp_path, (".txt",))] == ["a.TXT", "b.txt", "e.txt"]
    assert len(files_below(tmp_path, (".txt",), 0)) == 2 and len(files_below(tmp_path, (".txt",), limit=1)) == 1
    with pytest.raises(DataError, match="no such folder of images"):
        ImageFiles([tmp_path / "absent"])
