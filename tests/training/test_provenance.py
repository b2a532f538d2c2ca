"""Where a run came from."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.training.provenance import git_revision, record_start


def test_every_start_is_recorded(tmp_path):
    record_start(tmp_path, {"seed": 3})
    record_start(tmp_path, {"seed": 3, "first_step": 7})
    first, second = json.loads((tmp_path / "run.json").read_text())
    assert (first["seed"], second["first_step"]) == (3, 7)
    assert first["versions"]["tensorflow"] == tf.__version__
    assert first["command"]


def test_a_damaged_list_of_starts_is_set_aside(tmp_path, caplog):
    for name in ("run.json.damaged", "run.json.damaged1"):
        (tmp_path / "run.json").write_text("{")
        record_start(tmp_path, {})
        assert len(json.loads((tmp_path / "run.json").read_text())) == 1
        assert (tmp_path / name).read_text() == "{"
        assert caplog.messages[-1].startswith(f"{tmp_path / 'run.json'}: not JSON (Expecting property name")
        assert caplog.messages[-1].endswith(f"; it is set aside as {name}")


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "expected a list with one entry for each start, got an object"),
        (7, "expected a list with one entry for each start, got a number"),
        (None, "expected a list with one entry for each start, got null"),
        ([{"seed": 3}, "x"], "entry 1: expected an object, got a string"),
        ([[]], "entry 0: expected an object, got a list"),
    ],
)
def test_something_else_in_place_of_the_list_is_refused_and_left_as_it_is(tmp_path, content, message: str):
    text = json.dumps(content)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError) as caught:
        record_start(tmp_path, {})
    assert str(caught.value).startswith(f"{tmp_path / 'run.json'}: {message}; ")
    assert (tmp_path / "run.json").read_text() == text


def test_the_revision_of_the_user_s_code(tmp_path):
    assert git_revision(tmp_path) is None

    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-q", "-m", "a")
    revision = git_revision(tmp_path)
    assert len(revision["revision"]) == 40 and revision["changed"] is False
    (tmp_path / "a.py").write_text("2")
    assert git_revision(tmp_path) == {**revision, "changed": True}


@pytest.mark.parametrize("way", ["fsmonitor", "hook", "clean", "process", "submodule"])
def test_no_program_that_a_repository_names_is_run(tmp_path, way: str):
    """The repository around a user's folder may be anybody's."""
    repository, proof = tmp_path / "repository", tmp_path / "proof"
    repository.mkdir()
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    program.chmod(0o755)

    def git(*words, folder=repository):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True)

    def commit(folder):
        git("init", "-q", folder=folder)
        (folder / "a.py").write_text("1")
        git("add", "a.py", folder=folder)
        git("commit", "-q", "-m", "a", folder=folder)

    commit(repository)
    if way == "submodule":
        (repository / "inner").mkdir()
        commit(repository / "inner")
        git("add", "inner")
        git("commit", "-q", "-m", "b")
        git("config", "core.fsmonitor", str(program), folder=repository / "inner")
        (repository / "inner" / "a.py").write_text("2")
    elif way == "fsmonitor":
        git("config", "core.fsmonitor", str(program))
    elif way == "hook":
        hook = repository / ".git" / "hooks" / "post-index-change"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(program.read_text())
        hook.chmod(0o755)
    else:
        (repository / ".gitattributes").write_text("*.py filter=evil.one\n")
        git("config", f"filter.evil.one.{way}", str(program))
        git("config", "filter.evil.one.required", "true")
    (repository / "a.py").write_text("2")  # of the same size: git must look into it
    os.utime(repository / "a.py", (1, 1))
    result = git_revision(repository)
    assert not proof.exists()
    assert result["changed"] is True
    if way in ("fsmonitor", "clean"):  # else this test would show nothing
        git("status", "--porcelain")
        assert proof.exists()
