"""Files appear whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mrcnn.errors import FileError, MrcnnError
from mrcnn.files import atomic_write, remove_leftovers

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o027])
def test_the_umask_decides_whatever_the_writer_does(tmp_path, umask):
    """The safetensors library makes files that only their owner may read."""
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "ours") as temporary:
            temporary.write_text("", encoding="utf-8")
            temporary.chmod(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o666 & ~umask


def test_a_checkpoint_is_as_readable_as_any_file(tmp_path):
    (tmp_path / "ordinary").write_text("", encoding="utf-8")
    with atomic_write(tmp_path / "x.safetensors") as temporary:
        safetensors.numpy.save_file({"x": np.zeros(3)}, temporary)
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def _killed_while_writing(path) -> None:
    script = (
        "import os, signal, sys; from mrcnn.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", script, str(path)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.returncode == -signal.SIGKILL


def test_what_a_killed_writer_left_goes_with_the_next_start(tmp_path):
    for name in ("model.safetensors", "recipe.yaml", "no_suffix"):
        _killed_while_writing(tmp_path / name)
        assert len(list(tmp_path.iterdir())) == 1  # each removes what the one before left
    with atomic_write(tmp_path / "x") as temporary:
        temporary.write_text("whole", encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_program_stays_one(tmp_path):
    before = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "library.so") as temporary:
            temporary.write_text("", encoding="utf-8")
            temporary.chmod(0o700)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "library.so").stat().st_mode) == 0o755


def test_what_a_living_writer_writes_stays(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        theirs = tmp_path / f".model.{child.pid}.0123abcd.part.safetensors"
        mine = tmp_path / f".model.{os.getpid()}.0123abcd.part.safetensors"
        for path in (theirs, mine):
            path.write_text("half", encoding="utf-8")
        assert remove_leftovers(tmp_path) == []
        child.communicate(b"\n")
    assert remove_leftovers(tmp_path) == [theirs]
    assert mine.exists()


def test_files_of_the_user_are_no_leftovers(tmp_path):
    names = (
        ".hidden",
        "a.part",
        ".model.part",
        ".a.12x4.0123abcd.part",
        f".a.{2**22 + 1}.0123abcd.partial",
        ".a.1.x.part",
    )
    for name in names:
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / f".folder.{2**22 + 1}.0123abcd.part").mkdir()
    assert remove_leftovers(tmp_path) == []
    assert remove_leftovers(tmp_path / "absent") == []


def test_a_file_that_cannot_be_written_is_an_error_of_the_package(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file/a.txt", tmp_path / "folder"):
        with pytest.raises(FileError) as caught, atomic_write(path) as temporary:
            temporary.write_text("1")
        assert isinstance(caught.value, (MrcnnError, OSError)) and caught.value.errno is not None
        assert str(path).startswith(str(caught.value).partition(": ")[2])  # it, or the part that is in the way


def test_the_name_of_another_file_is_kept(tmp_path):
    with pytest.raises(FileError, match="/no/such/source"), atomic_write(tmp_path / "a.txt"):
        Path("/no/such/source").read_text()
