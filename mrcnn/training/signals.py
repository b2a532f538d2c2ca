"""SIGTERM and Ctrl-C: a run ends after its step, with a checkpoint, or at once where nothing would be lost."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

logger = logging.getLogger("mrcnn")


class StopSignals:
    """Whether the process was asked to end.

    The first SIGTERM or Ctrl-C is noted, for the loop to end after its step; a second Ctrl-C raises at once.

    Args:
        can_save: whether the run writes checkpoints; without them Ctrl-C raises at once.
        describe: the sentence to log where the run is left.
    """

    def __init__(self, can_save: bool, describe: Callable[[], str]) -> None:
        self.can_save, self.describe = can_save, describe
        self.number: int | None = None  # the signal noted
        self._all_is_saved = False

    def note(self, number: int = signal.SIGTERM) -> None:
        """Remember a signal; also one that another machine of the run got."""
        if self.number is None:
            self.number = number

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals in the body. Outside the main thread Python does not allow it, and nothing is handled."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def leaving_at_once(self, all_is_saved: bool) -> Iterator[None]:
        """Around what can be done again after a resume: a signal does not wait for its end."""
        self._all_is_saved = all_is_saved
        try:
            yield
        finally:
            self._all_is_saved = False

    def leave(self) -> None:
        """End the run as the signal noted says.

        Raises:
            KeyboardInterrupt: it was SIGINT.
            SystemExit: another one; with 128 + its number, as shells report it.
        """
        logger.warning("%s", self.describe())
        raise self._exception(signal.SIGTERM if self.number is None else self.number)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._all_is_saved:
            self.number = number
            self.leave()
        if number == signal.SIGINT and (self.number is not None or not self.can_save):
            raise KeyboardInterrupt
        self.number = number
        logger.warning("signal %s: the run ends after this step", signal.Signals(number).name)

    @staticmethod
    def _exception(number: int) -> BaseException:
        return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
