"""Reader of pickles that hold NumPy arrays: the .pkl files of Detectron and detectron2.

Nothing of NumPy is called by the file: stand-ins remember what an array is said to be, and the array is made here.
"""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mrcnn.weights.containers import leaves, short
from mrcnn.weights.reading import reading
from mrcnn.weights.report import WeightsError
from mrcnn.weights.safe_pickle import PLAIN, Place, load_pickle
from mrcnn.weights.stored_array import StoredArray

_NUMBERS = {*"?bBhHiIlLqQefd"} | {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8", "b1"}
_MAX_EXPANSION = 16  # bytes of arrays per byte of file


class _DType:
    """A dtype as the file tells it: a letter and a size, then (by BUILD) its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or _text(state[1]) not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"impossible dtype state {short(state)}")
        self.order = _text(state[1])

    def dtype(self) -> np.dtype:
        """The NumPy dtype; file and machine are taken to be little-endian where the file does not say."""
        return np.dtype(("<" if self.order in "=|" else self.order) + self.code)


class PickledArray:
    """An array as the file tells it; `stored()` checks it and gives it out."""

    __slots__ = ("data", "dtype", "is_fortran", "shape")

    def __init__(self) -> None:
        self.shape: Any = None
        self.dtype: Any = None
        self.is_fortran: Any = False
        self.data: Any = b""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise pickle.UnpicklingError("impossible array state")
        self.shape, self.dtype, self.is_fortran, self.data = state[-4:]

    def stored(self, name: str, path: Path) -> StoredArray:
        """The array, read from the file when asked for.

        Raises:
            ValueError: shape, dtype and bytes do not agree, or it is no array of numbers.
        """
        if isinstance(self.data, list):
            raise ValueError(f"{name} is an array of Python objects")
        shape, kind = self.shape, self.dtype
        if not isinstance(kind, _DType) or not isinstance(shape, tuple) or len(shape) > 32:
            raise ValueError(f"{name} has an impossible shape or dtype")
        if not all(_is_size(side) for side in shape):
            raise ValueError(f"{name} has an impossible shape or dtype")
        dtype, data = kind.dtype(), self.data
        size = math.prod(shape) * dtype.itemsize
        # What Python 3 writes for Python 2 is UTF-8 of the bytes: its length is known only once it is read.
        length = (
            None if isinstance(data, Place) and data.is_text else data.size if isinstance(data, Place) else len(data)
        )
        if length not in (None, size):
            raise ValueError(f"{name} has {length} bytes, its shape {list(shape)} of {dtype} needs {size}")
        if length is None and not data.size / 2 <= size <= data.size:
            raise ValueError(f"{name} has other bytes than its shape {list(shape)} of {dtype} needs ({size})")
        order: Literal["F", "C"] = "F" if self.is_fortran else "C"

        def read() -> np.ndarray:
            with reading(path):
                raw = data.read() if isinstance(data, Place) else data
                raw = raw.encode("latin1") if isinstance(raw, str) else raw
                array = np.frombuffer(raw, dtype).reshape(shape, order=order)
                return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)

        return StoredArray(shape, dtype.newbyteorder("="), read)


class _Function(NamedTuple):
    """Stands in for a function or class a pickle of arrays calls."""

    what: str

    def __call__(self, *arguments: Any) -> Any:
        """What the real one would have made, as a stand-in."""
        return getattr(self, f"_{self.what}")(*arguments)

    def _reconstruct(self, subtype: Any, *_: Any) -> PickledArray:
        if subtype != _NDARRAY:
            raise pickle.UnpicklingError("an array of an unknown class")
        return PickledArray()

    def _frombuffer(self, data: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> PickledArray:
        if axis_order is not None or _text(order) not in ("C", "F"):
            raise pickle.UnpicklingError("an array in an unknown memory order")
        array = PickledArray()
        array.__setstate__((shape, dtype, _text(order) == "F", data))
        return array

    def _dtype(self, code: Any, *_: Any) -> _DType:
        if _text(code) not in _NUMBERS:
            raise pickle.UnpicklingError(f"an array of {_text(code)[:40]!r}, which are no numbers")
        return _DType(_text(code))

    def _scalar(self, dtype: Any, data: Any = b"") -> int | float | bool:
        kind = dtype.dtype()
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        if len(raw) != kind.itemsize:
            raise pickle.UnpicklingError("impossible scalar")
        return np.frombuffer(raw, kind)[0].item()

    def _encode(self, text: Any, encoding: Any = "latin1") -> Any:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes encoded as {short(encoding)}")
        return text if isinstance(text, Place) else text.encode("latin1")

    def _nothing(self) -> bytes:
        return b""

    def _same(self, data: Any = b"") -> Any:
        if not isinstance(data, (bytes, Place)):
            raise pickle.UnpicklingError("impossible bytearray")
        return data

    def _members(self, items: Any = ()) -> list[Any]:
        return list(items)

    def _ndarray(self, *_: Any) -> Any:
        raise pickle.UnpicklingError("an array made by its constructor")


_NDARRAY = _Function("ndarray")
_BUILTINS = ("builtins", "__builtin__")  # of Python 3 and 2
_MODULES = {
    "reconstruct": ("_reconstruct", "multiarray"),
    "scalar": ("scalar", "multiarray"),
    "frombuffer": ("_frombuffer", "numeric"),
}
ALLOWED: dict[tuple[str, str], Any] = {
    **PLAIN,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Function("dtype"),
    **{
        (f"numpy.{core}.{module}", name): _Function(what)
        for what, (name, module) in _MODULES.items()
        for core in ("core", "_core")  # before and since NumPy 2
    },
    ("_codecs", "encode"): _Function("encode"),
    **{(module, "bytes"): _Function("nothing") for module in _BUILTINS},
    **{(module, "bytearray"): _Function("same") for module in _BUILTINS},
    **{(module, kind): _Function("members") for module in _BUILTINS for kind in ("set", "frozenset")},
}
"""Stand-ins for the names that pickles of arrays use."""


def open_numpy_pickle(path: str | os.PathLike[str]) -> tuple[dict[str, StoredArray], dict[str, Any]]:
    """All arrays of a pickle, and the plain values beside them.

    Args:
        path: the file, of pickle protocol 2 to 5, by Python 2 or 3 and NumPy 1 or 2.

    Returns:
        (arrays, plain values) by name. Nested dictionaries and lists join their keys with dots:
        {"blobs": {"conv1_w": array}, "cfg": "..."} gives "blobs.conv1_w" and "cfg".

    Raises:
        WeightsError: the file is damaged, holds no array, or asks for more than arrays and plain containers; the
            message names the file and the thing.
    """
    path = Path(path)
    with reading(path):
        with path.open("rb") as file:
            root = load_pickle(file, path, ALLOWED, keep_long=True)
            if file.read(1):
                raise ValueError("something follows the pickle")
        arrays, plain = leaves(root, PickledArray)
        if not arrays:
            raise WeightsError(f"{path}: a plain pickle that holds no NumPy array")
        stored = {name: array.stored(name, path) for name, array in arrays.items()}
        # Arrays may share their bytes, but not without end.
        if sum(math.prod(array.shape) * array.dtype.itemsize for array in stored.values()) > _limit(path):
            raise MemoryError
        return stored, plain


def _limit(path: Path) -> int:
    return _MAX_EXPANSION * path.stat().st_size


def _is_size(side: Any) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 1 << 63


def _text(value: Any) -> str:
    if not isinstance(value, (str, bytes)):
        raise pickle.UnpicklingError(f"expected a text, got {short(value)}")
    return value.decode("latin1") if isinstance(value, bytes) else value
