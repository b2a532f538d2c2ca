"""What older libraries look for in NumPy and no longer find."""

from __future__ import annotations

import numpy as np


def repair_numpy() -> None:
    """Give NumPy 2 back `sctypes`, without which imgaug 0.4 cannot be imported. What exists is left alone."""
    if "sctypes" not in vars(np):
        np.sctypes = {  # type: ignore[attr-defined]  # noqa: NPY201
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64],
            "complex": [np.complex64, np.complex128],
            "others": [bool, object, bytes, str, np.void],
        }
