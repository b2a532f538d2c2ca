"""A library that others could have written is not loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mrcnn.native import build, loading, sources, stamp
from mrcnn.native.trust import why_not_trusted

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no owners of files")

SOMEBODY = 54_321


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "cache" / "ops" / "roi_align.so"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_bytes(b"code")
    path.chmod(0o755)
    return path


@pytest.fixture
def give_away(monkeypatch):
    """Makes a file somebody else's; who may not do that becomes somebody else for the files under test."""

    def give(path):
        if os.getuid() == 0:
            os.chown(path, SOMEBODY, -1, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "getuid", lambda: SOMEBODY)

    return give


def test_a_file_of_ones_own_is_trusted(library):
    assert why_not_trusted(library) is None
    assert why_not_trusted(library.with_name("not_there_yet.so")) is None


@pytest.mark.parametrize("part", ["file", "ops", "cache"])
def test_what_belongs_to_somebody_else_is_not(library, give_away, part):
    path = {"file": library, "ops": library.parent, "cache": library.parents[1]}[part]
    give_away(path)
    reason = why_not_trusted(library)
    assert "belongs to" in reason
    if os.getuid() == 0:
        assert reason == f"the {'file' if part == 'file' else 'folder'} {path} belongs to user {SOMEBODY}, expected" \
            " you (root) or root"  # fmt: skip


@pytest.mark.parametrize("part", ["file", "ops", "cache"])
@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702])
def test_what_everybody_may_write_to_is_not(library, part, mode):
    path = {"file": library, "ops": library.parent, "cache": library.parents[1]}[part]
    path.chmod(mode)
    what = "file" if part == "file" else "folder"
    assert why_not_trusted(library) == f"the {what} {path} can be written to by everybody; run: chmod go-w {path}"
    path.chmod(mode & ~0o022)
    assert why_not_trusted(library) is None


def test_a_shared_folder_where_each_removes_only_what_is_his_is_no_way_in(library, give_away):
    library.parent.chmod(0o1777)
    assert why_not_trusted(library) is None
    give_away(library)
    assert "belongs to" in why_not_trusted(library)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files to any group")
def test_a_group_that_others_are_in_is_not(library):
    os.chown(library, -1, SOMEBODY)
    library.chmod(0o775)
    assert "can be written to by its group" in why_not_trusted(library)
    os.chown(library, -1, 0)  # root's own
    assert why_not_trusted(library) is None


def test_a_link_leads_where_its_owner_wants(library, tmp_path, give_away):
    link = tmp_path / "link"
    link.symlink_to(library.parents[1])
    named = link / "ops" / library.name
    assert why_not_trusted(named) is None
    library.parent.chmod(0o777)  # where it leads is looked at
    assert "can be written to by everybody" in why_not_trusted(named)
    library.parent.chmod(0o755)
    give_away(link)
    assert "belongs to" in why_not_trusted(named)


def test_such_a_library_is_refused_before_its_stamp_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(loading, "_state", None)
    path = sources.library_path()
    path.parent.mkdir(mode=0o755)
    path.write_bytes(b"no code at all")
    stamp.append_stamp(path, stamp.Stamp(sources.current_identity(), "", (), "a compiler"))
    path.parent.chmod(0o777)
    monkeypatch.setattr(loading, "read_stamp", None)
    monkeypatch.setattr(loading.tf, "load_op_library", None)
    state = loading.state()
    assert state.library is None
    assert state.reason.startswith(f"{path} is not used: the folder {path.parent} can be written to by everybody")
    monkeypatch.setenv(loading.VARIABLE, "op")
    with pytest.raises(RuntimeError, match="can be written to by everybody"):
        loading.choose([loading.tf.zeros([1, 4, 4, 1])])


def test_nothing_is_built_into_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(sources.BuildError, match=r"shared can be written to by everybody.*MRCNN_CACHE_DIR"):
        build._make_folder(sources.cache_dir())


def test_folders_are_made_for_the_user_alone_whatever_the_umask(tmp_path):
    code = (
        "import os, sys, pathlib; os.umask(0); from mrcnn.native import build;"
        "folder = pathlib.Path(sys.argv[1]); build._make_folder(folder);"
        "assert build.why_not_trusted(folder) is None"
    )
    folder = tmp_path / "a" / "b"
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o755
