"""Tensors of PyTorch as a pickle describes them: stand-ins for what torch.save writes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrcnn.weights import numpy_pickle
from mrcnn.weights.containers import short
from mrcnn.weights.reading import reading
from mrcnn.weights.stored_array import StoredArray

_BFLOAT16 = "bfloat16"  # no NumPy dtype: read as u16 and widened
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_MAX_DIMS = 64


# What a pickle can get hold of is a NamedTuple, whose attributes nothing can change.
class Storage(NamedTuple):
    """A run of numbers elsewhere in the file."""

    key: str
    dtype: str
    size: int  # elements
    root: tuple[str, int] | None = None  # (key, offset in elements) if this is a part of another storage

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize


class Tensor(NamedTuple):
    """A strided view into a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def checked(self) -> Tensor:
        """Itself.

        Raises:
            ValueError: it is impossible, or reaches beyond its storage.
        """
        ints = (self.offset, *self.shape, *self.strides)
        if not all(isinstance(i, int) and i >= 0 for i in ints) or len(self.shape) != len(self.strides):
            parts = f"shape {short(self.shape)}, strides {short(self.strides)}, offset {short(self.offset)}"
            raise ValueError(f"impossible tensor: {parts}")
        size = math.prod(self.shape)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        # A view may repeat elements (stride 0), but a file of weights has no reason to; unchecked, a file of a few
        # bytes could ask for any amount of memory.
        if size and (last >= self.storage.size or size > self.storage.size):
            raise ValueError(f"tensor of shape {self.shape} reaches beyond its storage of {self.storage.size} elements")
        return self

    def stored(self, fetch: Fetch, path: Path) -> StoredArray:
        """The tensor, read from the file when asked for."""
        in_file = np.dtype("<u2" if self.storage.dtype == _BFLOAT16 else self.storage.dtype)
        dtype = np.dtype(np.float32) if self.storage.dtype == _BFLOAT16 else in_file.newbyteorder("=")
        read_storage = fetch(self.storage)  # looks whether it is there

        def read() -> np.ndarray:
            if 0 in self.shape:
                return np.zeros(self.shape, dtype)
            with reading(path):
                flat = np.frombuffer(read_storage(), in_file)[self.offset :]
                if self.strides == _contiguous(self.shape):
                    array = flat[: math.prod(self.shape)].reshape(self.shape)
                else:
                    strides = tuple(s * flat.itemsize for s in self.strides)
                    array = np.lib.stride_tricks.as_strided(flat, self.shape, strides).copy()
                if self.storage.dtype == _BFLOAT16:
                    array = (array.astype(np.uint32) << 16).view(np.float32)
                return array

        return StoredArray(self.shape, dtype, read)


Fetch = Callable[[Storage], Callable[[], bytearray]]


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of an array whose numbers lie in a row."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


class _StorageType(NamedTuple):
    """Stands in for a class like torch.FloatStorage."""

    dtype: str


class _Rebuild(NamedTuple):
    """Stands in for a function of torch._utils."""

    what: str

    def __call__(self, first: Any, *rest: Any) -> Tensor:
        """The tensor from its storage, or a parameter's tensor."""
        if self.what == "parameter" and isinstance(first, Tensor):
            return first
        if self.what == "tensor" and isinstance(first, Storage) and len(rest) >= 3:
            offset, shape, strides = rest[:3]
            if not all(isinstance(part, (tuple, list)) and len(part) <= _MAX_DIMS for part in (shape, strides)):
                raise pickle.UnpicklingError("impossible tensor shape or strides")
            return Tensor(first, offset, tuple(shape), tuple(strides))
        raise pickle.UnpicklingError(f"impossible {self.what}")


class _Inert:
    """What is left of an object that is of no use here; nothing can be put into it or got out of it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Forgets the state."""


class _HistoryBuffer(NamedTuple):
    """Stands in for mmengine's log of a scalar, which lies beside the weights in what its runner saves."""

    def __call__(self, *_: Any) -> _Inert:
        """The log, without its values."""
        return _Inert()


_HISTORY = _HistoryBuffer()


class _Counter(NamedTuple):
    """Stands in for collections.Counter."""

    def __call__(self, counts: Any = ()) -> dict[Any, Any]:
        """The counts as a dict."""
        if not isinstance(counts, dict) and counts != ():
            raise pickle.UnpicklingError("impossible Counter")
        return dict(counts)


class _Getattr(NamedTuple):
    """Stands in for getattr, which gets nothing but the methods of a HistoryBuffer, and those as nothing."""

    def __call__(self, owner: Any, name: Any, *_: Any) -> _Inert:
        """Nothing.

        Raises:
            pickle.UnpicklingError: of anything else.
        """
        if owner is not _HISTORY:
            raise pickle.UnpicklingError(f"refused, the file asks for the attribute {short(name)} of {short(owner)}")
        return _Inert()


ALLOWED: Mapping[tuple[str, str], Any] = {
    **numpy_pickle.ALLOWED,
    ("mmengine.logging.history_buffer", "HistoryBuffer"): _HISTORY,
    ("collections", "Counter"): _Counter(),
    **{(module, "getattr"): _Getattr() for module in ("builtins", "__builtin__")},
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _Rebuild("tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild("tensor"),
    ("torch._utils", "_rebuild_parameter"): _Rebuild("parameter"),
    **{("torch", name): _StorageType(dtype) for name, dtype in _DTYPES.items()},
}


def storage(pid: Any) -> Storage:
    """The storage a tensor refers to."""
    if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
        raise pickle.UnpicklingError(f"unknown reference {short(pid)}")
    kind, key, _, size, *view = pid[1:]
    part = view[0] if view and view[0] is not None else (key, 0, 0)
    is_part = isinstance(part, tuple) and len(part) == 3 and isinstance(part[0], (str, int))
    sizes = (size, *part[1:]) if is_part else ()
    if not (isinstance(kind, _StorageType) and isinstance(key, (str, int)) and is_part):
        raise pickle.UnpicklingError(f"impossible storage {short(pid)}")
    if not all(isinstance(number, int) and number >= 0 for number in sizes):
        raise pickle.UnpicklingError(f"impossible storage {short(pid)}")
    if view and view[0] is not None:
        view_key, offset, view_size = view[0]
        return Storage(str(view_key), kind.dtype, view_size, (str(key), offset))
    return Storage(str(key), kind.dtype, size)
