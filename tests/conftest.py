"""What every test shares: a quiet TensorFlow, a headless matplotlib, fixed seeds, small fixtures."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

# Two CPU devices, so that what several GPUs do can be tested on any machine; to be said before the first operation,
# which a test module may run as it is imported.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

# On a GPU that rounds the factors of products to 10 bits, nothing would be equal to 1e-5.
tf.config.experimental.enable_tensor_float_32_execution(False)

ASSETS = Path(__file__).parent / "assets"
SAMPLES = Path(__file__).parent.parent / "samples"


def pytest_collection_finish() -> None:
    """What was imported stays: the sweeps after each module need not look at its million objects again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Global generators start every test in the same state, whatever ran before."""
    np.random.seed(0)  # noqa: NPY002  third-party code may draw from the global generator
    import sys

    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _memory_is_given_back() -> Iterator[None]:
    """Models and graphs of a module are dropped after it: two processes share the machine."""
    yield
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no GNU C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """tests/assets, the checked-in fixtures."""
    return ASSETS


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    return SAMPLES
