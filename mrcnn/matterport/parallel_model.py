"""`mrcnn.parallel_model` of matterport: the name only, for this package's own training spreads work over devices."""

from __future__ import annotations

import logging
from typing import Any

import keras
import tensorflow as tf  # noqa: F401 - a name of this module

K, KL, KM = keras.backend, keras.layers, keras.models


def ParallelModel(keras_model: Any, gpu_count: int) -> Any:
    """The model itself: GPU_COUNT only makes batches larger; `mrcnn.train` takes a strategy for several devices."""
    if gpu_count > 1:
        logging.getLogger("mrcnn").warning("ParallelModel: the model runs on one device, not %d", gpu_count)
    return keras_model
