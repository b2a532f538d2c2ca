"""One training per folder."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.training import lock
from mrcnn.training.fit import train
from mrcnn.training.lock import FILE, RunLockedError, lock_run
from tests.mean_color import MeanColor, write_set
from tests.training.test_resume import recipe_of


def _written(folder: Path, **fields: object) -> Path:
    path = folder / FILE
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "time": "then"} | fields))
    return path


def test_a_second_training_is_refused_with_who_holds_the_folder(tmp_path: Path) -> None:
    with lock_run(tmp_path / "run"), pytest.raises(RunLockedError) as caught, lock_run(tmp_path / "run"):
        pass
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'run'}: a training writes to this folder already: ")
    assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in message
    assert message.endswith(f"remove {tmp_path / 'run' / FILE}")
    assert list((tmp_path / "run").iterdir()) == []  # released
    with lock_run(tmp_path / "run"):
        pass


def test_train_holds_the_lock_and_refuses(tmp_path: Path) -> None:
    data = write_set(tmp_path / "images", num=2, side=16)
    recipe = recipe_of(train__images=2, train__unfreeze=[], train__train_layers="all", data__crop=None)
    run = tmp_path / "run"
    with lock_run(run), pytest.raises(RunLockedError):
        train(MeanColor(), data, recipe=recipe, out=run, progress=False)
    assert list(run.iterdir()) == []
    train(MeanColor(), data, recipe=recipe, out=run, progress=False)
    assert not (run / FILE).exists()


def test_the_lock_of_a_dead_process_is_taken_over_which_is_said(tmp_path: Path, caplog) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path = _written(tmp_path, pid=child.pid)
    with caplog.at_level(logging.WARNING, "mrcnn"), lock_run(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert caplog.messages == [f"{path}: its process {child.pid} is gone; the lock is taken over"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
def test_a_process_that_is_dead_but_not_waited_for_holds_nothing(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    _written(tmp_path, pid=child.pid)
    with lock_run(tmp_path):
        pass
    child.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
def test_another_process_of_the_same_number_holds_nothing(tmp_path: Path) -> None:
    """As in a container, whose first process has number 1 each time."""
    _written(tmp_path, process_start="another boot 123")
    with lock_run(tmp_path):
        pass


def test_the_lock_of_another_machine_stands(tmp_path: Path) -> None:
    path = _written(tmp_path, host="elsewhere", pid=123)
    with pytest.raises(RunLockedError, match=r"process 123 on elsewhere, since then; .* remove "), lock_run(tmp_path):
        pass
    assert path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "7"}', '{"pid": -1}'])
def test_a_damaged_lock_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with lock_run(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()


def test_a_lock_that_somebody_else_took_is_not_removed(tmp_path: Path) -> None:
    with lock_run(tmp_path):
        path = _written(tmp_path, host="elsewhere", pid=5)
    assert path.exists()


def test_where_the_system_knows_no_start_times_a_living_number_holds(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock, "_process_start", lambda pid: None)
    _written(tmp_path)
    with pytest.raises(RunLockedError), lock_run(tmp_path):
        pass
