"""Which images the pipelines of this process are reading, and how their calls end before the interpreter does."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator

_in_work: dict[int, tuple[str, float]] = {}


def images_in_work() -> list[tuple[str, float]]:
    """The images that pipelines of this process are reading now, and for how many seconds; the longest first."""
    now = time.monotonic()
    return sorted(((name, now - since) for name, since in list(_in_work.values())), key=lambda item: -item[1])


@contextlib.contextmanager
def in_work(name: str) -> Iterator[None]:
    """Lists an image under `images_in_work` while this thread works on it."""
    thread = threading.get_ident()
    _in_work[thread] = name, time.monotonic()
    try:
        yield
    finally:
        del _in_work[thread]


class _Calls:
    """Counts the calls from TensorFlow's threads into the pipeline, and ends them before the interpreter does.

    An endless pipeline works ahead. If its iterator is still alive when the interpreter shuts down, destroying it waits
    for calls under way, and those wait for Python's lock, which they never get again: the process would hang.
    """

    def __init__(self) -> None:
        self._number = 0
        self._closing = False
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._closing:
                raise RuntimeError("the interpreter is shutting down")
            self._number += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._number -= 1

    def close(self) -> None:
        """Refuses new calls and waits for those under way."""
        self._closing = True
        deadline, quiet = time.monotonic() + 30, 0
        while quiet < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
            quiet = 0 if self._number else quiet + 1


calls = _Calls()
"""To be entered by every call from a TensorFlow thread."""
atexit.register(calls.close)
