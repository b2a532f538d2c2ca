"""Progress at a terminal and elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from mrcnn import progress
from mrcnn.progress import Progress


class Clock:
    """Time that passes only on request."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def _work(shown: Progress, clock: Clock, steps: int = 100) -> None:
    """Steps of a second each."""
    for step in range(1, steps + 1):
        clock.now += 1.0
        shown.update(step, f"loss {step}")
    shown.finish("the end")


def test_one_plain_line_every_thirty_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    _work(Progress("epoch 1 of 2", 100, "step"), clock)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "epoch 1 of 2: 1 of 100 steps, loss 1",
        "epoch 1 of 2: 31 of 100 steps, loss 31, 1:09 left",
        "epoch 1 of 2: 61 of 100 steps, loss 61, 39 s left",
        "epoch 1 of 2: 91 of 100 steps, loss 91, 9 s left",
        "the end",
    ]
    assert not set(err) & set("\r\b\x1b")


def test_a_bar_at_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    _work(Progress("epoch 1 of 2", 4, "step"), clock, 4)
    *bars, last = sys.stderr.getvalue().split("\n")[:-1]
    drawn = [bar for bar in "".join(bars).split("\r") if bar]
    assert drawn[0] == "[=====               ] epoch 1 of 2: 1 of 4 steps, loss 1\x1b[K"
    assert drawn[3].startswith("[====================] epoch 1 of 2: 4 of 4 steps, loss 4")
    assert len(drawn) == 4
    assert max(len(bar.removesuffix("\x1b[K")) for bar in drawn) <= 59  # else the line would wrap
    assert last == "the end"


def test_a_bar_is_not_redrawn_for_every_step_but_always_when_full(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = Progress("x", 1000)
    for step in range(1, 1001):
        clock.now += 0.001
        shown.update(step)
    drawn = sys.stderr.getvalue().count("\r")
    assert 9 <= drawn <= 12
    assert "1000 of 1000" in sys.stderr.getvalue()


def test_lines_go_to_a_function_instead_also_at_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    lines: list[str] = []
    _work(Progress("validation", None, log=lines.append), clock, 40)
    assert lines == ["validation: 1 images, loss 1", "validation: 31 images, loss 31", "the end"]
    assert sys.stderr.getvalue() == ""


def test_nothing_where_it_is_not_wanted_or_there_is_no_standard_error(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _work(Progress("x", 100, shown=False), clock)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", None)  # a program without a console
    _work(Progress("x", 100), clock)


def test_work_that_was_resumed_is_not_taken_for_fast(clock: Clock) -> None:
    """The time left follows from the speed of what was done here."""
    lines: list[str] = []
    shown = Progress("x", 100, log=lines.append)
    for done in (50, 60):
        clock.now += 40.0
        shown.update(done)
    assert lines == ["x: 50 of 100 images", "x: 60 of 100 images, 2:40 left"]
