"""The package's own checkpoint: one .safetensors file that holds the weights and all that is needed to rebuild.

The file's metadata has one entry, "mrcnn", a JSON object: format ("mrcnn/1"), model (the config of
`MaskRCNNConfig`), class_names, category_ids, and whatever the writer added (recipe, step, scores, ...).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy

from mrcnn.files import atomic_write
from mrcnn.weights.report import LoadReport, WeightsError, assign, by_stable_names, named_variables
from mrcnn.weights.stored_array import StoredArray

FORMAT = "mrcnn/1"
MODEL_FILE = "model.safetensors"
"""The file in a run's folder that holds the model."""
_KEY = "mrcnn"


def save_checkpoint(
    model: Any,
    path: str | os.PathLike[str],
    dtype: Literal["float32", "float16"] = "float32",
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write weights, config and class names to one file; the file appears whole or not at all.

    Args:
        model: a MaskRCNN: anything with `config`, `class_names` and, if it has them, `category_ids`.
        path: the file to write; its folder is created.
        dtype: of kernels in the file. Vectors (biases, norms) always stay float32: they weigh nothing, and a small
            variance would not survive float16.
        extra: plain data stored beside, e.g. {"recipe": {...}}.

    Returns:
        The path.

    Raises:
        WeightsError: a weight is NaN or infinite, or would be in float16; or `extra` is not plain data.
    """
    path = Path(path)
    if dtype not in ("float32", "float16"):
        raise WeightsError(f"dtype: expected float32 or float16, got {dtype!r}")
    arrays = {}
    for name, variable in named_variables(model).items():
        value = np.asarray(variable, np.float32)
        if dtype == "float16" and value.ndim > 1:
            with np.errstate(over="ignore"):
                value = value.astype(np.float16)
        if not np.isfinite(value).all():
            raise WeightsError(f"{path}: not written, {name} holds NaN or infinity in {value.dtype}")
        arrays[name] = np.ascontiguousarray(value)
    category_ids = getattr(model, "category_ids", None)
    metadata = {
        **(extra or {}),
        "format": FORMAT,
        "model": model.config.to_dict(),
        "class_names": list(model.class_names),
        "category_ids": None if category_ids is None else [int(i) for i in category_ids],
    }
    try:
        text = json.dumps(metadata)
    except TypeError as error:
        raise WeightsError(f"{path}: not written, extra is not plain data ({error})") from error
    with atomic_write(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, metadata={_KEY: text})
    return path


_DTYPES = {
    **{f"F{8 * size}": f"f{size}" for size in (2, 4, 8)},
    **{f"{letter}{8 * size}": f"{kind}{size}" for letter, kind in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)},
    "BOOL": "?",
}


def _stored(path: Path, name: str, shape: list[int], dtype: str) -> StoredArray:
    """One array of a safetensors file; what NumPy has no type for, such as bfloat16, becomes float32."""

    def read() -> np.ndarray:
        with safetensors.safe_open(path, "numpy") as file:
            value = file.get_tensor(name)
        return value if dtype in _DTYPES else value.astype(np.float32)

    return StoredArray(tuple(shape), _DTYPES.get(dtype, "f4"), read)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, StoredArray]]:
    """Metadata and lazily read arrays of a checkpoint.

    Args:
        path: the file, or a run's folder (then its model.safetensors).

    Returns:
        (metadata, arrays by name). Metadata is empty for a safetensors file of another writer.

    Raises:
        WeightsError: no such file, not a safetensors file, damaged, or of a later format.
    """
    path = checkpoint_path(path)
    try:
        with safetensors.safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get(_KEY, "{}")
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            tensors = {
                name: _stored(path, name, part.get_shape(), str(part.get_dtype())) for name, part in slices.items()
            }
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a safetensors file, or a damaged one ({error})") from error
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"{path}: its {_KEY} metadata is not JSON ({error})") from error
    if not isinstance(metadata, dict):
        raise WeightsError(f"{path}: its {_KEY} metadata is not a JSON object")
    if metadata and metadata.get("format") != FORMAT:
        raise WeightsError(f"{path}: format {metadata.get('format')!r}, this version reads {FORMAT!r}")
    return metadata, tensors


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The checkpoint file a user means by a file or a run's folder.

    Raises:
        WeightsError: there is none.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / MODEL_FILE).is_file():
            raise WeightsError(f"{path}: a folder without {MODEL_FILE}")
        return path / MODEL_FILE
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    return path


def stored_model(metadata: Mapping[str, Any], source: str) -> tuple[Any, list[str], list[int] | None]:
    """What a checkpoint's metadata say of its model: config (a MaskRCNNConfig), class names, category ids.

    Raises:
        WeightsError: they say nothing of a model; names the file `source`.
    """
    from mrcnn.modeling.mask_rcnn import MaskRCNNConfig

    for key in ("model", "class_names"):
        if key not in metadata:
            raise WeightsError(f"{source}: no checkpoint of mrcnn, its metadata has no {key!r}")
    return MaskRCNNConfig.from_dict(metadata["model"]), metadata["class_names"], metadata.get("category_ids")


def load_model(path: str | os.PathLike[str]) -> Any:
    """The MaskRCNN of a checkpoint: built from its config, with its weights and class names.

    What became of every array is in the model's `load_report`.

    Args:
        path: a file of `save_checkpoint`, or a run's folder.

    Raises:
        WeightsError: the file is no checkpoint, or its weights do not all fit its own config.
    """
    from mrcnn.modeling.initializers import blank_kernels
    from mrcnn.modeling.mask_rcnn import MaskRCNN

    metadata, tensors = read_checkpoint(path)
    source = str(checkpoint_path(path))
    stored = stored_model(metadata, source)
    with blank_kernels():
        model = MaskRCNN(*stored)
    model.load_report = assign(named_variables(model), by_stable_names(tensors, model), source, strict=True)
    return model


def load_weights(model: Any, path: str | os.PathLike[str]) -> LoadReport:
    """Load what fits of a checkpoint into a model that may differ, e.g. in its number of classes.

    Args:
        model: a MaskRCNN, or any Keras model whose variables have the same names.
        path: a file of `save_checkpoint`, or a run's folder.

    Returns:
        Which variables were set, which were skipped for their shape, which the file lacks, which of its arrays were
        of no use.

    Raises:
        WeightsError: the file cannot be read, or nothing in it fits.
    """
    _, tensors = read_checkpoint(path)
    return assign(named_variables(model), by_stable_names(tensors, model), str(checkpoint_path(path)))
