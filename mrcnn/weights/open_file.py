"""Any weights file as named arrays, recognized by what it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mrcnn.weights import checkpoint
from mrcnn.weights.file_format import file_format
from mrcnn.weights.keras_h5 import open_keras_h5
from mrcnn.weights.numpy_pickle import open_numpy_pickle
from mrcnn.weights.report import WeightsError
from mrcnn.weights.stored_array import StoredArray
from mrcnn.weights.torch_file import open_torch_file

Container = Literal["torch", "numpy_pickle", "keras_h5", "safetensors", "mrcnn"]
# Under which entry writers put the weights when other things lie beside them: detectron2 and many training scripts,
# PyTorch's tutorials, Lightning and mmdetection, Detectron.
_WRAPPERS = ("model", "model_state_dict", "model_state", "state_dict", "blobs")
_PARALLEL = "module."  # torch.nn.DataParallel puts it before every name


class FileContents(NamedTuple):
    """What a weights file holds.

    container: how it is written; "mrcnn" is this package's own checkpoint. arrays: by name, without the names of the
    entries around the weights ("model.", "blobs.", "module."); read from the file only when the values are asked for.
    metadata: plain values beside the weights, e.g. Detectron's "cfg" and detectron2's "__author__"; of this package's
    checkpoint its config. left_out: names of arrays beside the weights, such as an optimizer's.
    """

    container: Container
    arrays: Mapping[str, StoredArray]
    metadata: dict[str, Any]
    left_out: tuple[str, ...] = ()


def read_arrays(path: str | os.PathLike[str]) -> FileContents:
    """The named arrays of a weights file of any kind: PyTorch, Detectron, detectron2, Keras .h5, safetensors.

    Args:
        path: the file, or the folder of a training run of this package.

    Returns:
        Its contents; names and layouts are those of whoever wrote it.

    Raises:
        WeightsError: no such file, no weights file (the message says what it is), a damaged one, or one that asks for
            more than arrays and plain containers.
    """
    path = Path(path)
    if path.is_dir():
        path = checkpoint.checkpoint_path(path)
    kind = file_format(path)
    if kind == "safetensors":
        return _safetensors(path)
    if kind == "hdf5":
        arrays, plain = open_keras_h5(path)
        return FileContents("keras_h5", arrays, plain)
    if kind == "pickle":
        arrays, plain = open_numpy_pickle(path)
        return _unwrapped("numpy_pickle", arrays, plain)
    arrays, plain = open_torch_file(path)
    return _unwrapped("torch", arrays, plain)


def _unwrapped(container: Container, arrays: dict[str, StoredArray], metadata: dict[str, Any]) -> FileContents:
    """Without the entry around the weights, if there is one."""
    left_out: tuple[str, ...] = ()
    for wrapper in _WRAPPERS:
        inside = [name for name in arrays if name.startswith(f"{wrapper}.")]
        if inside:
            left_out = tuple(name for name in arrays if not name.startswith(f"{wrapper}."))
            arrays = {name.removeprefix(f"{wrapper}."): arrays[name] for name in inside}
            break
    if arrays and all(name.startswith(_PARALLEL) for name in arrays):
        arrays = {name.removeprefix(_PARALLEL): array for name, array in arrays.items()}
    return FileContents(container, arrays, metadata, left_out)


def _safetensors(path: Path) -> FileContents:
    metadata, arrays = checkpoint.read_checkpoint(path)
    if not arrays:
        raise WeightsError(f"{path}: holds no array")
    if metadata:
        return FileContents("mrcnn", arrays, metadata)
    return _unwrapped("safetensors", arrays, {})
