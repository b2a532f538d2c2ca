"""A start of TensorFlow without its start-up notes, for programs whose output people read."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def quiet_start(first: Callable[[], T] | None = None) -> T | None:
    """Import TensorFlow, Keras and this package with nothing on stderr; what they wrote is shown if that fails.

    TensorFlow writes notes on oneDNN, CUDA and the CPU before its own log level holds, past `sys.stderr`.

    Args:
        first: called before TensorFlow's first operation, e.g. to choose devices; a ValueError of it passes quietly.

    Returns:
        What `first` returned.
    """
    with _stderr_held(passing=ValueError), _collector_off():
        tensorflow = importlib.import_module("tensorflow")
        result = first() if first is not None else None
        tensorflow.zeros(1)  # the first operation writes notes too
        importlib.import_module("mrcnn.weights.pretrained")
    return result


def import_tensorflow() -> None:
    """Import TensorFlow with nothing on stderr; what it wrote is shown if that fails.

    No operation runs: a script may still choose devices and their memory.
    """
    with _stderr_held():
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """No search for garbage meanwhile, nor later among what was imported: half a million objects, all in use."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


@contextlib.contextmanager
def _stderr_held(passing: type[BaseException] | tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Hold back what is written to stderr, also past `sys.stderr`, and TensorFlow's log; shown if the body fails.

    Args:
        passing: errors of the body that pass without what was written.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        stderr = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except passing:
            raise
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
