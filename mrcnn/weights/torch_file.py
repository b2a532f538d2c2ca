"""Reader of files written by torch.save, without PyTorch and without running what the file says.

A pickle is a program. This reader interprets it itself, lets it call nothing but the rebuilding of tensors and the
making of plain containers, and names whatever else the file asks for.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mrcnn.weights.containers import leaves, short
from mrcnn.weights.file_format import file_format
from mrcnn.weights.numpy_pickle import PickledArray
from mrcnn.weights.reading import reading
from mrcnn.weights.report import WeightsError
from mrcnn.weights.safe_pickle import load_pickle
from mrcnn.weights.stored_array import StoredArray
from mrcnn.weights.torch_tensors import ALLOWED, Fetch, Storage, Tensor, storage

_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the format before PyTorch 1.6
_LEGACY_PROTOCOL = 1001
_MAX_SHARING = 16  # bytes of arrays per byte of file
_LOCAL_HEADER = "<4s5H3L2H"  # of a record in a zip archive


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All tensors of a .pth file, in both formats torch.save has had.

    Args:
        path: the file.

    Returns:
        Arrays by name. Nested dictionaries and lists join their keys with dots: {"model": {"fc.weight": tensor}}
        gives "model.fc.weight". bfloat16 tensors become float32. What is no tensor is left out.

    Raises:
        WeightsError: no such file, another kind of file, a damaged one, or one that asks for more than tensors and
            plain containers; the message names the file and the thing.
    """
    arrays, _ = open_torch_file(path)
    return {name: np.asarray(array) for name, array in arrays.items()}


def open_torch_file(path: str | os.PathLike[str]) -> tuple[dict[str, StoredArray], dict[str, Any]]:
    """All tensors of a .pth file, still in the file, and the plain values beside them.

    Args:
        path: the file.

    Returns:
        (arrays, plain values) by name, as `read_torch_file` names them. NumPy arrays in the file count as tensors.

    Raises:
        WeightsError: as `read_torch_file`; what is damaged inside an array's numbers is noticed when it is read.
    """
    path = Path(path)
    kind = file_format(path)
    what = {"pickle": "a plain pickle", "hdf5": "an HDF5 file", "safetensors": "a safetensors file"}.get(kind)
    if what is not None:
        raise WeightsError(f"{path}: {what}, not a file written by torch.save")
    with reading(path), path.open("rb") as file:
        root, fetch = (_open_zip if kind == "torch_zip" else _open_legacy)(file, path)
        tensors, plain = leaves(root, (Tensor, PickledArray))
        if not tensors:
            raise WeightsError(f"{path}: holds no tensor")
        # Several tensors may share a storage, as tied weights do, but not without end.
        own = [tensor for tensor in tensors.values() if isinstance(tensor, Tensor)]
        size = sum(math.prod(tensor.checked().shape) * tensor.storage.itemsize for tensor in own)
        if size > _MAX_SHARING * path.stat().st_size:
            raise MemoryError
        return {
            name: tensor.stored(name, path) if isinstance(tensor, PickledArray) else tensor.stored(fetch, path)
            for name, tensor in tensors.items()
        }, plain


def _unpickle(file: BinaryIO, path: Path) -> Any:
    return load_pickle(file, path, ALLOWED, reference=storage, encoding="utf-8")


def _open_legacy(file: BinaryIO, path: Path) -> tuple[Any, Fetch]:
    """The format before PyTorch 1.6: five pickles, then every storage as its length and its bytes."""
    if _unpickle(file, path) != _MAGIC or _unpickle(file, path) != _LEGACY_PROTOCOL:
        raise WeightsError(f"{path}: a plain pickle, not a file written by torch.save")
    if not _unpickle(file, path).get("little_endian", True):
        raise WeightsError(f"{path}: written on a big-endian machine, which is not supported")
    root = _unpickle(file, path)
    storages: dict[str, Storage] = {}
    for tensor in leaves(root, Tensor)[0].values():
        storages.setdefault(tensor.storage.root[0] if tensor.storage.root else tensor.storage.key, tensor.storage)
    end = os.fstat(file.fileno()).st_size
    places: dict[str, tuple[int, int]] = {}
    for key in _unpickle(file, path):
        if not isinstance(key, (str, int)):
            raise ValueError(f"impossible storage {short(key)}")
        header = file.read(8)
        if len(header) < 8:
            raise EOFError(f"ends before storage {key}")
        (size,) = struct.unpack("<q", header)
        if str(key) not in storages:
            raise ValueError(f"storage {key} belongs to no tensor")
        places[str(key)] = (file.tell(), size)
        stop = file.tell() + size * storages[str(key)].itemsize
        if size < 0 or stop > end:
            raise EOFError(f"ends inside storage {key}: {stop - end} bytes are missing")
        file.seek(stop)

    def fetch(storage: Storage) -> Callable[[], bytearray]:
        key, offset = storage.root or (storage.key, 0)
        place, size = places[key]
        if offset < 0 or offset + storage.size > size:
            raise ValueError(f"storage {key} has {size} elements, {offset + storage.size} are asked for")
        return lambda: _read_at(path, place + offset * storage.itemsize, storage.size * storage.itemsize)

    return root, fetch


def _read_at(path: Path, place: int, size: int) -> bytearray:
    """So many bytes, in memory that may be written to: the array made of them needs no copy."""
    data = bytearray(size)
    with path.open("rb") as file:
        file.seek(place)
        if file.readinto(data) != size:
            raise EOFError("ends early")
    return data


def _open_zip(file: BinaryIO, path: Path) -> tuple[Any, Fetch]:
    """The format since PyTorch 1.6: a zip archive, NAME/data.pkl and one uncompressed record per storage."""
    archive = zipfile.ZipFile(file)
    records = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in records if name.count("/") == 1 and name.endswith("/data.pkl")]
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in records:
        raise WeightsError(f"{path}: a TorchScript program, not weights; save its state_dict() with torch.save")
    for info in records.values():
        if info.compress_type != zipfile.ZIP_STORED:
            raise WeightsError(f"{path}: refused, record {info.filename} is compressed; torch.save never does that")
    total = sum(info.file_size for info in records.values())
    if total > os.fstat(file.fileno()).st_size:
        raise WeightsError(f"{path}: refused, its records add up to {total} bytes, more than the file has")
    if f"{prefix}byteorder" in records and archive.read(f"{prefix}byteorder") != b"little":
        raise WeightsError(f"{path}: written on a big-endian machine, which is not supported")
    root = _unpickle(io.BytesIO(archive.read(pickles[0])), path)

    def fetch(storage: Storage) -> Callable[[], bytearray]:
        name = f"{prefix}data/{storage.key}"
        if name not in records:
            raise ValueError(f"storage {storage.key} is not in the archive")
        size = storage.size * storage.itemsize
        if records[name].file_size != size:
            raise ValueError(f"storage {storage.key} has {records[name].file_size} bytes, expected {size}")
        place = _place(file, records[name])

        def read() -> bytearray:
            data = _read_at(path, place, size)
            if zlib.crc32(data) != records[name].CRC:
                raise ValueError(f"storage {storage.key} has other bytes than its checksum says")
            return data

        return read

    return root, fetch


def _place(file: BinaryIO, record: zipfile.ZipInfo) -> int:
    """Where an uncompressed record's bytes begin; asking the archive for each would read its directory each time."""
    file.seek(record.header_offset)
    mark, *numbers, name_size, extra_size = struct.unpack(_LOCAL_HEADER, file.read(struct.calcsize(_LOCAL_HEADER)))
    if mark != b"PK\x03\x04" or numbers[1] & 1:
        raise zipfile.BadZipFile(f"record {record.filename} is not where the directory says, or is encrypted")
    return file.tell() + name_size + extra_size
