"""The op, built once for all tests of this folder unless it is loaded already."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from mrcnn.native import loading
from mrcnn.native.build import build
from mrcnn.native.sources import source_dir
from mrcnn.native.toolchain import find_compiler


@pytest.fixture(scope="package")
def op(tmp_path_factory):
    """The loaded ops, as TensorFlow gives them to Python."""
    if loading.state().library is not None:
        yield loading.state().library
        return
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRCNN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        build(cuda=False, log=lambda line: None)
        patch.setattr(loading, "_state", None)
        assert loading.state().reason == ""
        yield loading.state().library


@pytest.fixture
def deterministic():
    """Sums in one order also on a GPU; on a CPU they are without being asked, and are not asked here."""
    if not tf.config.list_physical_devices("GPU"):
        yield
        return
    tf.config.experimental.enable_op_determinism()
    yield
    config.disable_op_determinism()


@pytest.fixture(scope="package")
def native_build(tmp_path_factory) -> Path:
    """A folder for what `run_make` compiles."""
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    return tmp_path_factory.mktemp("native")


@pytest.fixture(scope="package")
def run_make(native_build):
    def run(*arguments: str, folder: str = "roi_align") -> str:
        command = ["make", "-C", str(source_dir() / folder), f"BUILD={native_build / folder}", *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout

    return run
