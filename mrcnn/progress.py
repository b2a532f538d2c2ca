"""How far long work is: a bar at a terminal; elsewhere plain lines, one every so often, without control characters."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

LINE_EVERY = 30.0
"""Seconds between two lines where standard error is no terminal."""
_REDRAW_EVERY = 0.1
_BAR = 20  # characters


class Progress:
    """Reports on standard error, or to `log`.

    Args:
        label: what is being done.
        total: how much there is to do; None: not known.
        unit: what is counted.
        log: called with each plain line, in place of standard error; None: standard error, with a bar if it is a
            terminal.
        shown: False: nothing is reported.

    Example:
        >>> progress = Progress("validation", 2, log=print)
        >>> progress.update(1)
        validation: 1 of 2 images
        >>> progress.update(2, "done")  # too soon after the last line
        >>> progress.finish("validation: all done")
        validation: all done
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        unit: str = "image",
        log: Callable[[str], None] | None = None,
        shown: bool = True,
    ) -> None:
        self.unit, self.log, self.shown = unit, log, shown
        self._last_line = float("-inf")
        self._drawn = False  # a bar is on the terminal's line
        self.restart(label, total)

    def restart(self, label: str, total: int | None = None) -> None:
        """Begin other work; the time of the last line is kept."""
        self.label, self.total = label, total
        self._first: tuple[int, float] | None = None  # (done, time) of the first report

    def update(self, done: int, note: str = "") -> None:
        """Report that so much is done, if it is time to.

        Args:
            done: of `total`.
            note: further facts, for the end of the line.
        """
        if not self.shown:
            return
        now, at_terminal = time.monotonic(), self._at_terminal()
        left = self._seconds_left(done, now)
        is_last = at_terminal and done == self.total  # a full bar stays on the terminal
        if now - self._last_line < (_REDRAW_EVERY if at_terminal else LINE_EVERY) and not is_last:
            return
        self._last_line = now
        if at_terminal:
            self._draw(done, left, note)
        else:
            self._write(self._sentence(done, left, note))

    def finish(self, line: str | None = None) -> None:
        """End the bar's line, and report a last one."""
        if not self.shown:
            return
        if self._drawn:
            self._drawn = False
            print(file=sys.stderr, flush=True)
        if line is not None:
            self._last_line = time.monotonic()
            self._write(line)

    def _at_terminal(self) -> bool:
        return self.log is None and sys.stderr is not None and sys.stderr.isatty()

    def _seconds_left(self, done: int, now: float) -> float | None:
        """From the speed since the first report, for the first piece of work can take long to set up."""
        if self._first is None:
            self._first = done, now
        first, begin = self._first
        if self.total is None or done <= first:
            return None
        return (now - begin) / (done - first) * (self.total - done)

    def _sentence(self, done: int, left: float | None, note: str) -> str:
        amount = f"{done} {self.unit}s" if self.total is None else f"{done} of {self.total} {self.unit}s"
        rest = f"{duration(left)} left" if left is not None else ""
        return f"{self.label}: {', '.join(part for part in (amount, note, rest) if part)}"

    def _draw(self, done: int, left: float | None, note: str) -> None:
        text = self._sentence(done, left, note)
        if self.total:
            filled = round(_BAR * min(1.0, done / self.total))
            text = f"[{'=' * filled}{' ' * (_BAR - filled)}] {text}"
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{text[:width]}\x1b[K", end="", file=sys.stderr, flush=True)
        self._drawn = True

    def _write(self, line: str) -> None:
        if self.log is not None:
            self.log(line)
        elif sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A length of time as people write it.

    Example:
        >>> [duration(s) for s in (7.4, 61, 3600, 200_000)]
        ['7 s', '1:01', '1:00:00', '2 days 7:33:20']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours or days else f"{minutes}:{rest:02}"
    return f"{days} day{'s' * (days > 1)} {clock}" if days else clock
