"""A safetensors file as this package writes it: arrays, JSON beside them, and checksums of both.

The file's metadata has the entries "mrcnn", the JSON object, and "mrcnn_crc32", a checksum of that text. The object's
entry "crc32" has a checksum of each array, of its type, shape and content. Files without checksums, of earlier versions
or other writers, are read too.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from mrcnn.weights.reading import reading, regular_file
from mrcnn.weights.report import WeightsError
from mrcnn.weights.stored_array import StoredArray

KEY, SUM_KEY = "mrcnn", "mrcnn_crc32"
_DTYPES = {
    **{f"F{8 * size}": f"f{size}" for size in (2, 4, 8)},
    **{f"{letter}{8 * size}": f"{kind}{size}" for letter, kind in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)},
    "BOOL": "b1",
}
_WIDENED = "BF16"  # NumPy has no such type: becomes float32


def header_metadata(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The metadata of a safetensors file with these arrays: what `safetensors.numpy.save_file` takes.

    Args:
        content: plain data, the file's JSON object.
        arrays: those of the file.

    Raises:
        TypeError: `content` is not plain data.
    """
    sums = {name: checksum(array) for name, array in arrays.items()}
    text = json.dumps({**content, "crc32": sums})
    return {KEY: text, SUM_KEY: _header_sum(text)}


def checksum(array: np.ndarray) -> int:
    """Of an array's type, shape and content."""
    return zlib.crc32(f"{array.dtype.str}{list(array.shape)}".encode(), _checksum_of_bytes(array))


def _checksum_of_bytes(array: np.ndarray) -> int:
    """Of its content alone, as checkpoints of earlier versions have it."""
    return zlib.crc32(np.ascontiguousarray(array).data.cast("B")) if array.size else 0


def open_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, StoredArray]]:
    """The JSON object and the arrays of a safetensors file, which are read when asked for.

    Args:
        path: the file.

    Returns:
        (content, arrays by name); the content is empty for a file of another writer.

    Raises:
        WeightsError: not a regular file, not a safetensors file, or a damaged one.
    """
    regular_file(path)
    with reading(path):
        try:
            with safetensors.safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                layout = {name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in parts.items()}
        except safetensors.SafetensorError as error:
            raise WeightsError(f"{path}: not a safetensors file, or a damaged one ({error})") from error
        text = metadata.get(KEY, "{}")
        if SUM_KEY in metadata and metadata[SUM_KEY] != _header_sum(text):
            raise WeightsError(f"{path}: damaged, its header is not what was written (its checksum differs)")
        try:
            content = json.loads(text)
        except ValueError as error:
            raise WeightsError(f"{path}: its {KEY} metadata is not JSON ({error})") from error
        if not isinstance(content, dict):
            raise WeightsError(f"{path}: its {KEY} metadata is not a JSON object")
        return content, {name: _stored(path, name, shape, dtype) for name, (dtype, shape) in layout.items()}


def checked(array: StoredArray, crc32: Any, name: str, path: Path) -> StoredArray:
    """The array, compared with its checksum whenever it is read.

    Raises:
        WeightsError: from reading it: it is not what was written.
    """

    def read() -> np.ndarray:
        value = np.asarray(array)
        if value.size and crc32 not in (checksum(value), _checksum_of_bytes(value)):
            raise WeightsError(f"{path}: damaged, {name} is not what was written (its checksum differs)")
        return value

    return StoredArray(array.shape, array.dtype, read)


def _header_sum(text: str) -> str:
    return str(zlib.crc32(text.encode()))


def _stored(path: Path, name: str, shape: tuple[int, ...], dtype: str) -> StoredArray:
    if dtype not in _DTYPES and dtype != _WIDENED:
        raise WeightsError(f"{path}: {name[:80]} has dtype {dtype}, expected one of {', '.join(_DTYPES)}, {_WIDENED}")

    def read() -> np.ndarray:
        with reading(path):
            try:
                with safetensors.safe_open(path, "numpy") as file:
                    value = file.get_tensor(name)
            except safetensors.SafetensorError as error:
                raise WeightsError(f"{path}: damaged, {name[:80]} cannot be read ({error})") from error
            return value if dtype in _DTYPES else value.astype(np.float32)

    return StoredArray(shape, _DTYPES.get(dtype, "f4"), read)
