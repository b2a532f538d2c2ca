"""Cellpose's `_seg.npy`: a dictionary of arrays in a NumPy file, which NumPy itself reads by unpickling it.

Here the pickle may name NumPy's arrays, data types and numbers. Times and paths, which Cellpose's window keeps of
manual changes and models, become empty objects that nothing is called for; what a pickle names beyond is refused before
it is imported.
"""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import read_bytes

_ARRAYS = {"_reconstruct", "scalar"}
_PLAIN = {
    ("datetime", "datetime"),
    *((module, f"{system}Path") for module in ("pathlib", "pathlib._local") for system in ("Posix", "Windows", "")),
}
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class _Ignored:
    """Stands for an object that is not needed, whatever it is made of."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Arrays(pickle.Unpickler):
    """Unpickles dictionaries, lists, text, numbers and NumPy arrays of numbers."""

    def find_class(self, module: str, name: str) -> Any:
        if module in _MODULES and name in _ARRAYS:
            return getattr(importlib.import_module("numpy._core.multiarray"), name)
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("_codecs", "encode"):  # of arrays pickled by Python 2's protocol
            return _encode
        if (module, name) in _PLAIN:
            return _Ignored
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


def read_seg(path: Path) -> np.ndarray:
    """The instance ids of a `_seg.npy`: its entry "masks", integers [h, w].

    Raises:
        DataError: another file, or one that names anything but arrays.
    """
    data = io.BytesIO(read_bytes(path))
    try:
        version = np.lib.format.read_magic(data)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(data)
        if not dtype.hasobject:
            return np.load(path, allow_pickle=False)
        if shape != ():
            raise DataError(f"{path}: an array of objects of shape {shape}, expected a dictionary")
        content = _Arrays(data).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises many kinds
        raise DataError(f"{path}: not a file of arrays ({type(error).__name__}: {error})") from error
    content = content.item() if isinstance(content, np.ndarray) and content.shape == () else content
    masks = content.get("masks") if isinstance(content, dict) else None
    if not isinstance(masks, np.ndarray) or masks.dtype.kind not in "iub":
        raise DataError(f'{path}: expected an array of integers "masks" as Cellpose writes it')
    return masks
