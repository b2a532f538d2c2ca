"""Writer of pickles as Python 2 with NumPy 1 wrote them: the .pkl files of Detectron."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np


class _Global:
    """Pickles as a reference to a name."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Python2Pickler(pickle._Pickler):
    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if isinstance(obj, _Global):
            module, _, name = obj.name.rpartition(".")
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        elif isinstance(obj, (str, bytes)):  # there, text and bytes are one type
            self._save_bytes(obj.encode("latin1") if isinstance(obj, str) else obj)
        elif isinstance(obj, np.dtype):
            order = "|" if obj.itemsize == 1 else "<"
            self._save_call("numpy.dtype", (obj.str[1:], 0, 1), (3, order, None, None, None, -1, -1, 0), obj)
        elif isinstance(obj, np.ndarray):
            is_fortran = obj.flags.f_contiguous and not obj.flags.c_contiguous
            state = (1, obj.shape, obj.dtype, is_fortran, obj.tobytes("F" if is_fortran else "C"))
            make = (_Global("numpy.ndarray"), (0,), "b")
            self._save_call("numpy.core.multiarray._reconstruct", make, state, obj)
        else:
            super().save(obj, save_persistent_id)

    def _save_bytes(self, data: bytes) -> None:
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    def _save_call(self, name: str, arguments: tuple, state: tuple, obj: Any) -> None:
        if id(obj) in self.memo:
            self.write(self.get(self.memo[id(obj)][0]))
            return
        self.save(_Global(name))
        self.save(arguments)
        self.write(pickle.REDUCE)
        self.memoize(obj)
        self.save(state)
        self.write(pickle.BUILD)

    def memoize(self, obj: Any) -> None:
        """As Python's, but the same object may come twice: strings are written anew each time."""
        index = len(self.memo)
        self.write(self.put(index))
        self.memo[id(obj)] = index, obj
        self.keep = [*getattr(self, "keep", []), obj]  # an id must not be used again


def python2_pickle(root: Any) -> bytes:
    """Containers, text, numbers and NumPy arrays as protocol 2 by Python 2."""
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(root)
    return stream.getvalue()
