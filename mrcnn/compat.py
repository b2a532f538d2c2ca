"""What older libraries look for in NumPy and no longer find there; given back when such a library is imported."""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any


def repair_numpy() -> None:
    """Give NumPy 2 back `sctypes`, without which imgaug 0.4 cannot be imported. What exists is left alone."""
    import numpy as np

    if "sctypes" not in vars(np):
        np.sctypes = {  # type: ignore[attr-defined]  # noqa: NPY201
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64],
            "complex": [np.complex64, np.complex128],
            "others": [bool, object, bytes, str, np.void],
        }


def restore_numpy_names() -> None:
    """Give back `np.int`, `np.float`, `np.asscalar` and `time.clock`, which scripts of older days use."""
    import time

    import numpy as np

    for name, value in (("int", int), ("float", float), ("object", object), ("asscalar", lambda a: a.item())):
        if name not in vars(np):
            setattr(np, name, value)
    if not hasattr(time, "clock"):
        time.clock = time.perf_counter  # type: ignore[attr-defined]


class _BeforeImgaug(importlib.abc.MetaPathFinder):
    """Finds nothing; but once imgaug is looked for, NumPy is repaired. So nothing is imported before it is wanted."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "imgaug":
            repair_numpy()


def repair_before_imgaug() -> None:
    """Let imgaug 0.4 be imported from now on."""
    if not any(isinstance(finder, _BeforeImgaug) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeImgaug())
