"""Stepping out of `with graph.as_default():`, which scripts for TensorFlow 1 put around calls."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from mrcnn.matterport.refusals import EAGER_OFF


def eagerly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns where operations run at once: here, or where a graph is being built in another thread.

    `tf.init_scope` does not leave a graph that a script has made the default itself; graphs are a thread's own.
    """
    if tf.executing_eagerly():
        return function(*args, **kwargs)

    def run() -> Any:
        if not tf.executing_eagerly():
            raise RuntimeError(EAGER_OFF)
        return function(*args, **kwargs)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
