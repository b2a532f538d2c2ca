"""How many threads the model may use."""

from __future__ import annotations

import tensorflow as tf

from mrcnn.errors import InputError


def set_threads(count: int) -> None:
    """Let TensorFlow use this many CPU threads; to be called before anything is computed.

    Args:
        count: at least 1; for parts of one operation, and for operations at once.

    Raises:
        InputError: less than 1, or TensorFlow has started with another number.
    """
    if count < 1:
        raise InputError(f"threads {count}: expected at least 1")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)
    except RuntimeError as error:
        raise InputError(
            f"threads {count}: TensorFlow has started with"
            f" {tf.config.threading.get_intra_op_parallelism_threads() or 'all'} threads; set them before any work"
        ) from error
