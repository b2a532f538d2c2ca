"""Reader of the .h5 weights files of Keras 1 and 2: groups with `layer_names` and `weight_names`.

The HDF5 library, and with it the process it runs in, can crash on a damaged file. So it runs in a child process, the
program `hdf5_child.py`, whose death is an error like any other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.weights.reading import reading
from mrcnn.weights.report import WeightsError
from mrcnn.weights.stored_array import StoredArray

_CHILD = Path(__file__).with_name("hdf5_child.py")
_MAX_EXPANSION = 16  # bytes of arrays per byte of file ...
_ALWAYS_ALLOWED = 16 << 20  # ... and so many in any file
_OWN_MEMORY = 1 << 30  # bytes that the child may use beside the arrays; address space, most of it untouched
_PATIENCE = 300.0  # seconds for one answer; a damaged file may send the library round in circles
_SILENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}  # no plugins of others


def open_keras_h5(path: str | os.PathLike[str]) -> tuple[dict[str, StoredArray], dict[str, Any]]:
    """All weights of a Keras .h5 file, still in the file, and its plain attributes.

    Args:
        path: a weights file (`save_weights`) or a whole model (`save`), whose "model_weights" are taken.

    Returns:
        (arrays, attributes). Arrays by "layer/leaf", e.g. "conv1/kernel"; the layers of a model nested in the model
        count as its own: "rpn_model/rpn_conv_shared/kernel:0" gives "rpn_conv_shared/kernel". Attributes:
        "keras_version" and "backend", where the file has them.

    Raises:
        WeightsError: no HDF5 file, a damaged one, one of another writer, or one that refers to other files.
    """
    path = Path(path)
    with reading(path):
        max_bytes = max(_ALWAYS_ALLOWED, _MAX_EXPANSION * path.stat().st_size)
        child = _Child(path, max_bytes)
        arrays = {}
        for name, full, shape, dtype in child.listed["arrays"]:
            arrays[name] = _stored(child, full, tuple(shape), np.dtype(dtype))
        return arrays, child.listed["attributes"]


def _stored(child: _Child, full: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> StoredArray:
    def read() -> np.ndarray:
        with reading(child.path):
            data = child.read(full, math.prod(shape) * dtype.itemsize)
            array = np.frombuffer(data, dtype).reshape(shape)
            return array.astype(dtype.newbyteorder("="), copy=False)

    return StoredArray(shape, dtype.newbyteorder("="), read)


class _Child:
    """The process that has the file open, and its answers; it ends when nobody needs its arrays any more."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._max_bytes, self._lock = path, max_bytes, threading.Lock()
        self._process = self._start()
        weakref.finalize(self, _end, self._process)
        request = {
            "path": os.path.abspath(path),
            "sys_path": [os.path.abspath(entry) for entry in sys.path],
            "max_bytes": max_bytes,
            "memory": 3 * max_bytes + _OWN_MEMORY,
        }
        with self._lock, self._patience():
            self.listed: dict[str, Any] = self._ask(request)

    def _start(self) -> subprocess.Popen[bytes]:
        if not sys.executable or getattr(sys, "frozen", False):
            raise WeightsError(f"{self.path}: HDF5 files are read in a process of their own, and there is no Python")
        return subprocess.Popen(
            [sys.executable, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_SILENT},
        )

    def read(self, full: str, size: int) -> bytearray:
        """The bytes of an array.

        Raises:
            WeightsError: they cannot be read, or are not as many as they should be.
        """
        with self._lock, self._patience():
            answer = self._ask(full)
            if answer.get("bytes") != size:
                raise WeightsError(f"{self.path}: damaged, {full} has {answer.get('bytes')} bytes, expected {size}")
            data = bytearray(size)
            if self._process.stdout is None or self._process.stdout.readinto(data) != size:  # type: ignore[attr-defined]
                raise self._death()
            return data

    def _ask(self, request: Any) -> dict[str, Any]:
        source, target = self._process.stdout, self._process.stdin
        assert source is not None and target is not None  # they are pipes
        try:
            target.write(json.dumps(request).encode() + b"\n")
            target.flush()
        except OSError as error:
            raise self._death() from error
        line = source.readline()
        if not line.endswith(b"\n"):
            raise self._death()
        answer = json.loads(line)
        if answer.get("too large"):
            raise MemoryError
        if "error" in answer:
            raise WeightsError(f"{self.path}: {answer['error']}")
        return answer

    def _death(self) -> WeightsError:
        """The error for a child that ended; it has no words of its own."""
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return WeightsError(f"{self.path}: damaged, the HDF5 library crashed on it or took too long ({how})")

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        timer = threading.Timer(_PATIENCE, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()
