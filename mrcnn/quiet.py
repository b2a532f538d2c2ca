"""A start of TensorFlow without its start-up notes, for programs whose output people read."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Callable
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
    result = None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        stderr = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            tensorflow = importlib.import_module("tensorflow")
            result = first() if first is not None else None
            tensorflow.zeros(1)  # the first operation writes notes too
            importlib.import_module("mrcnn.training.fit")
        except ValueError:
            raise
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    return result
