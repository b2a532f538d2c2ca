"""Two CPU devices in one process, so that what several GPUs do can be tested on any machine."""

from __future__ import annotations

import pytest
import tensorflow as tf

# Before TensorFlow runs its first operation, which is at the latest in the first test.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="session")
def two_devices() -> tf.distribute.Strategy:
    # Once: TensorFlow's collectives mix up two strategies of one process.
    return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
