"""An array that still lies in its file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class StoredArray:
    """One array of a file: its shape and dtype now, its values on `np.asarray`.

    The values are read anew each time and not kept, so that a checkpoint never lies in memory as a whole.

    Args:
        shape: of the array.
        dtype: of what `np.asarray` gives.
        read: gives the values.
    """

    __slots__ = ("_read", "dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, read: Callable[[], np.ndarray]) -> None:
        self.shape = tuple(int(side) for side in shape)
        self.dtype = np.dtype(dtype)
        self._read = read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        value = self._read()
        return value if dtype is None else value.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"StoredArray({list(self.shape)}, {self.dtype})"
