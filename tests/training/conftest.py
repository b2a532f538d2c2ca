"""Two CPU devices in one process, so that what several GPUs do can be tested on any machine."""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def two_devices() -> tf.distribute.Strategy:
    # Once: TensorFlow's collectives mix up two strategies of one process.
    return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
