"""Messages of converters and runtimes that mean nothing to the user, kept from the terminal one by one.

Only what is named is left out: every other message, and whatever goes wrong, is shown as before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def without_records(logger: str, pattern: str) -> Iterator[None]:
    """Inside, records of a logger (not of its children) whose message matches a pattern are dropped.

    Example:
        >>> with without_records("converter", "^Cannot infer shape for PyFunc"):
        ...     logging.getLogger("converter").warning("Cannot infer shape for PyFunc_3")
    """

    def other(record: logging.LogRecord) -> bool:
        return not re.search(pattern, record.getMessage())

    target = logging.getLogger(logger)
    target.addFilter(other)
    try:
        yield
    finally:
        target.removeFilter(other)


@contextlib.contextmanager
def without_lines(pattern: str) -> Iterator[None]:
    """Inside, lines on stderr that match a pattern are dropped, those of C++ too; all others appear at the end.

    The stderr of the whole process is held back meanwhile, so the block has to be short.
    """
    try:
        terminal = os.dup(2)
    except OSError:  # a process without a stderr
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as lines:
        os.dup2(lines.fileno(), 2)
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(terminal, 2)
            lines.seek(0)
            for line in lines:
                if not re.search(pattern, line.decode(errors="replace")):
                    _write_all(terminal, line)
            os.close(terminal)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
