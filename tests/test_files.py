"""Files appear whole or not at all."""

from __future__ import annotations

import stat

import pytest

from mrcnn.files import atomic_write


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "numbers.csv"
    with atomic_write(path) as temporary:
        temporary.write_text("1,2", encoding="utf-8")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".csv"
    assert path.read_text(encoding="utf-8") == "1,2"
    assert [p.name for p in path.parent.iterdir()] == ["numbers.csv"]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("old", encoding="utf-8")

    def write_half():
        with atomic_write(path) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_half()
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.csv"]


def test_permissions_are_those_of_an_ordinary_new_file(tmp_path):
    (tmp_path / "ordinary").write_text("", encoding="utf-8")
    with atomic_write(tmp_path / "ours") as temporary:
        temporary.write_text("", encoding="utf-8")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "x"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("1", encoding="utf-8")
        second.write_text("2", encoding="utf-8")
    assert path.read_text(encoding="utf-8") in "12"


def test_an_error_while_writing_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: .*a\.txt") as caught, atomic_write(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_a_writer_that_gives_no_number_keeps_its_words(tmp_path):
    with pytest.raises(OSError, match=r"a\.txt: quota exceeded"), atomic_write(tmp_path / "a.txt"):
        raise OSError("quota exceeded")
    assert not list(tmp_path.iterdir())
