"""Reader of files written by torch.save, without PyTorch and without running what the file says.

A pickle is a program. This reader checks every instruction before the first one runs, lets it call nothing but the
rebuilding of tensors and the making of plain containers, and names whatever else the file asks for.
"""

from __future__ import annotations

import collections
import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mrcnn.weights.report import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the format before PyTorch 1.6
_LEGACY_PROTOCOL = 1001
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
_MAX_NODES = 1_000_000  # of all containers and their items
_MAX_DEPTH = 64  # of containers in containers
_MAX_SHARING = 16  # bytes of arrays per byte of file
_REFUSED_OPCODES = {"INST", "OBJ", "NEWOBJ_EX", "PERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


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
    path = Path(path)
    if path.is_dir():
        raise WeightsError(f"{path}: a folder, not a weights file")
    if not path.exists():
        raise WeightsError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(512)
            file.seek(0)
            if head.startswith(b"PK"):
                root, fetch = _open_zip(file, path)
            elif head.startswith(b"\x80") and b"\x8a\n" in head[:4]:
                root, fetch = _open_legacy(file, path)
            else:
                raise WeightsError(f"{path}: {_what_it_is(head)}, not a file written by torch.save")
            return _flatten(root, fetch, path)
    except WeightsError:
        raise
    except (pickle.UnpicklingError, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: truncated or damaged ({error})") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, NotImplementedError) as error:
        raise WeightsError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    except (MemoryError, RecursionError) as error:
        raise WeightsError(f"{path}: refused, it unpacks to an unreasonable size or depth") from error


def _what_it_is(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "an empty file"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page (the download failed?)"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (run git lfs pull)"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file"
    if head[257:262] == b"ustar":
        return "a tar archive (PyTorch before 0.2; save it again with a newer one)"
    if head[8:9] == b"{" and head[:8] != head[8:16]:
        return "a safetensors file"
    if head.startswith(b"\x80"):
        return "a plain pickle"
    return "an unknown kind of file"


# What a pickle can get hold of is a NamedTuple: its BUILD instruction can change attributes of anything else.
class _Storage(NamedTuple):
    """A run of numbers elsewhere in the file."""

    key: str
    dtype: str
    size: int  # elements
    root: tuple[str, int] | None = None  # (key, offset in elements) if this is a part of another storage

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize


class _Tensor(NamedTuple):
    """A strided view into a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, fetch: Callable[[_Storage], bytes]) -> np.ndarray:
        """The numbers, copied out of the storage."""
        ints = (self.offset, *self.shape, *self.strides)
        if not all(isinstance(i, int) and i >= 0 for i in ints) or len(self.shape) != len(self.strides):
            raise ValueError(f"impossible tensor shape {self.shape}, strides {self.strides}, offset {self.offset}")
        size = math.prod(self.shape)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        # A view may repeat elements (stride 0), but a file of weights has no reason to; unchecked, a file of a few
        # bytes could ask for any amount of memory.
        if size and (last >= self.storage.size or size > self.storage.size):
            raise ValueError(f"tensor of shape {self.shape} reaches beyond its storage of {self.storage.size} elements")
        dtype = "<u2" if self.storage.dtype == _BFLOAT16 else self.storage.dtype
        flat = np.frombuffer(fetch(self.storage), dtype)
        if not size:
            array = np.zeros(self.shape, dtype)
        else:
            strides = tuple(s * flat.itemsize for s in self.strides)
            array = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides).copy()
        if self.storage.dtype == _BFLOAT16:
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array


class _StorageType(NamedTuple):
    """Stands in for a class like torch.FloatStorage."""

    dtype: str


class _Rebuild(NamedTuple):
    """Stands in for a function of torch._utils."""

    what: str

    def __call__(self, first: Any, *rest: Any) -> _Tensor:
        """The tensor from its storage, or a parameter's tensor."""
        if self.what == "parameter" and isinstance(first, _Tensor):
            return first
        if self.what == "tensor" and isinstance(first, _Storage) and len(rest) >= 3:
            offset, shape, strides = rest[:3]
            return _Tensor(first, offset, tuple(shape), tuple(strides))
        raise pickle.UnpicklingError(f"impossible {self.what}")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _Rebuild("tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild("tensor"),
    ("torch._utils", "_rebuild_parameter"): _Rebuild("parameter"),
    **{("torch", name): _StorageType(dtype) for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names of `_ALLOWED` and storages; everything else is refused."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for module.name."""
        if (module, name) not in _ALLOWED:
            raise _refusal(self._path, f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage a tensor refers to."""
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"unknown reference {pid!r:.80}")
        kind, key, _, size, *view = pid[1:]
        if not isinstance(kind, _StorageType) or not isinstance(size, int) or size < 0:
            raise pickle.UnpicklingError(f"impossible storage {pid!r:.80}")
        root = None
        if view and view[0] is not None:
            view_key, offset, view_size = view[0]
            return _Storage(str(view_key), kind.dtype, int(view_size), (str(key), int(offset)))
        return _Storage(str(key), kind.dtype, size, root)


def _refusal(path: Path, name: str) -> WeightsError:
    return WeightsError(f"{path}: refused, the file asks for {name}; only tensors and plain containers are read")


def _unpickle(file: BinaryIO, path: Path) -> Any:
    """The next pickle of the file, after a look at each of its instructions."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in _REFUSED_OPCODES:
            raise _refusal(path, f"the pickle instruction {opcode.name}")
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            if (module, name) not in _ALLOWED:
                raise _refusal(path, f"{module}.{name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise pickle.UnpicklingError("memo index out of range")  # would allocate that many slots
    end = file.tell()
    file.seek(start)
    return _Unpickler(file.read(end - start), path).load()


def _open_legacy(file: BinaryIO, path: Path) -> tuple[Any, Callable[[_Storage], bytes]]:
    """The format before PyTorch 1.6: five pickles, then every storage as its length and its bytes."""
    if _unpickle(file, path) != _MAGIC or _unpickle(file, path) != _LEGACY_PROTOCOL:
        raise WeightsError(f"{path}: a plain pickle, not a file written by torch.save")
    if not _unpickle(file, path).get("little_endian", True):
        raise WeightsError(f"{path}: written on a big-endian machine, which is not supported")
    root = _unpickle(file, path)
    storages: dict[str, _Storage] = {}
    for tensor in _tensors(root).values():
        storages.setdefault(tensor.storage.root[0] if tensor.storage.root else tensor.storage.key, tensor.storage)
    end = os.fstat(file.fileno()).st_size
    places: dict[str, tuple[int, int]] = {}
    for key in _unpickle(file, path):
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

    def fetch(storage: _Storage) -> bytes:
        key, offset = storage.root or (storage.key, 0)
        place, size = places[key]
        if offset < 0 or offset + storage.size > size:
            raise ValueError(f"storage {key} has {size} elements, {offset + storage.size} are asked for")
        file.seek(place + offset * storage.itemsize)
        return file.read(storage.size * storage.itemsize)

    return root, fetch


def _open_zip(file: BinaryIO, path: Path) -> tuple[Any, Callable[[_Storage], bytes]]:
    """The format since PyTorch 1.6: a zip archive, NAME/data.pkl and one uncompressed record per storage."""
    if not zipfile.is_zipfile(file):
        raise WeightsError(f"{path}: truncated or damaged (a zip archive without its directory)")
    archive = zipfile.ZipFile(file)
    records = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in records if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise WeightsError(f"{path}: a zip archive without data.pkl, not a file written by torch.save")
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

    def fetch(storage: _Storage) -> bytes:
        name = f"{prefix}data/{storage.key}"
        if name not in records:
            raise ValueError(f"storage {storage.key} is not in the archive")
        data = archive.read(name)
        if len(data) != storage.size * storage.itemsize:
            raise ValueError(f"storage {storage.key} has {len(data)} bytes, expected {storage.size * storage.itemsize}")
        return data

    return root, fetch


def _tensors(root: Any) -> dict[str, _Tensor]:
    """All tensors below the root by name; what is neither tensor nor container is passed over."""
    found: dict[str, _Tensor] = {}
    visits = 0
    stack = [("", root, 0)]
    while stack:
        prefix, node, depth = stack.pop()
        visits += 1
        if visits > _MAX_NODES or depth > _MAX_DEPTH:  # containers that contain each other many times, or themselves
            raise MemoryError
        if isinstance(node, _Tensor):
            if prefix in found:
                raise ValueError(f"two tensors named {prefix}")
            found[prefix] = node
        elif isinstance(node, (dict, list, tuple)):
            items = dict.items(node) if isinstance(node, dict) else enumerate(node)
            below = [(f"{prefix}.{key}" if prefix else str(key), value, depth + 1) for key, value in items]
            stack.extend(reversed(below))
    return found


def _flatten(root: Any, fetch: Callable[[_Storage], bytes], path: Path) -> dict[str, np.ndarray]:
    tensors = _tensors(root)
    if not tensors:
        raise WeightsError(f"{path}: holds no tensor")
    # Several tensors may share a storage, as tied weights do, but not without end.
    size = sum(math.prod(tensor.shape) * tensor.storage.itemsize for tensor in tensors.values())
    if size > _MAX_SHARING * path.stat().st_size:
        raise MemoryError
    return {name: tensor.array(fetch) for name, tensor in tensors.items()}
