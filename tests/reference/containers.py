"""Writers of other programs' weights files, from NumPy alone: the same bytes those programs write."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class _Global:
    """Pickles as a reference to an object of a module that need not exist here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Storage:
    """Pickles as torch's persistent id of a storage."""

    def __init__(self, kind: str, key: str, size: int) -> None:
        self.kind, self.key, self.size = kind, key, size
        self.tail: tuple = ()  # the format before 1.6 says here of which storage this one is a view


class _Tensor:
    """Pickles as torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)."""

    def __init__(self, storage: _Storage, shape: tuple[int, ...]) -> None:
        self.storage, self.shape = storage, shape


class _Pickler(pickle._Pickler):  # the Python pickler can be taught new kinds of objects
    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            return None
        if isinstance(obj, _Storage):
            self.save(("storage", _Global("torch", obj.kind), obj.key, "cpu", obj.size, *obj.tail))
            self.write(pickle.BINPERSID)
            return None
        if isinstance(obj, _Tensor):
            strides, step = [], 1
            for side in reversed(obj.shape):
                strides.insert(0, step)
                step *= side
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            self.save((obj.storage, 0, obj.shape, tuple(strides), False, OrderedDict()))
            self.write(pickle.REDUCE)
            return None
        return super().save(obj, save_persistent_id)


def _dumps(obj: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, protocol=2).dump(obj)
    return stream.getvalue()


def _tensors(state: Mapping[str, np.ndarray]) -> tuple[OrderedDict, dict[str, np.ndarray]]:
    root, data = OrderedDict(), {}
    for number, (name, array) in enumerate(state.items()):
        array = np.asarray(array)
        storage = _Storage(_STORAGES[str(array.dtype)], str(number), array.size)
        root[name] = _Tensor(storage, array.shape)
        data[str(number)] = np.ascontiguousarray(array)
    return root, data


def write_torch_zip(path: Path, state: Mapping[str, np.ndarray], beside: Mapping[str, Any] | None = None) -> None:
    """A state dict as torch.save has written it since 1.6: a zip of data.pkl and one file per storage.

    beside: what lies beside it, which is then the entry "state_dict", as mmdetection writes its checkpoints.
    """
    root, data = _tensors(state)
    if beside is not None:
        root = {**beside, "state_dict": root}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{path.stem}/data.pkl", _dumps(root))
        archive.writestr(f"{path.stem}/byteorder", "little")
        for key, array in data.items():
            archive.writestr(f"{path.stem}/data/{key}", array.tobytes())
        archive.writestr(f"{path.stem}/version", "3\n")


def write_torch_legacy(path: Path, state: Mapping[str, np.ndarray]) -> None:
    """A state dict as torch.save wrote it before 1.6: pickles in a row, then the storages."""
    root, data = _tensors(state)
    for tensor in root.values():
        tensor.storage.tail = (None,)
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, sizes):
            pickle.dump(part, file, protocol=2)
        file.write(_dumps(root))
        pickle.dump(list(data), file, protocol=2)
        for array in data.values():
            file.write(struct.pack("<q", array.size) + array.tobytes())
