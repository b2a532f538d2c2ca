"""Reader of the .h5 weights files of Keras 1 and 2: groups with `layer_names` and `weight_names`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrcnn.weights.reading import reading
from mrcnn.weights.report import WeightsError
from mrcnn.weights.stored_array import StoredArray

_MAX_EXPANSION = 16  # bytes of arrays per byte of file
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # what h5py itself brings; others load programs


def open_keras_h5(path: str | os.PathLike[str]) -> tuple[dict[str, StoredArray], dict[str, Any]]:
    """All weights of a Keras .h5 file, still in the file, and its plain attributes.

    Args:
        path: a weights file (`save_weights`) or a whole model (`save`), whose "model_weights" are taken.

    Returns:
        (arrays, attributes). Arrays by "layer/leaf", e.g. "conv1/kernel"; the layers of a model nested in the model
        count as its own: "rpn_model/rpn_conv_shared/kernel:0" gives "rpn_conv_shared/kernel". Attributes: those that
        are text, e.g. "keras_version".

    Raises:
        WeightsError: no HDF5 file, a damaged one, one of another writer, or one that refers to other files.
    """
    path = Path(path)
    with reading(path), _opened(path) as file:
        root = _step(file, "model_weights", path) if "model_weights" in file else file
        layers = _names(root, "layer_names") or list(root)  # a converter may have left out the lists of names
        if {"_layer_checkpoint_dependencies", "layers"} & set(layers) and "layer_names" not in root.attrs:
            raise WeightsError(
                f"{path}: a Keras 3 .weights.h5 file, expected the .h5 format of Keras 2, which names its layers"
            )
        arrays: dict[str, StoredArray] = {}
        size = 0
        for layer in layers:
            group = _step(root, layer, path)
            for weight in _names(group, "weight_names") or _datasets(group):
                scope, _, leaf = weight.rpartition("/")
                own = scope.rpartition("/")[2]
                if not own or re.fullmatch(rf"{re.escape(layer)}_\d+", own):
                    own = layer  # TensorFlow added a number, as in conv1_2, where the name was taken
                name = f"{own}/{leaf.partition(':')[0]}"
                if name in arrays:
                    raise WeightsError(f"{path}: two weights named {name}")
                dataset = _step(group, weight, path)
                arrays[name] = _stored(dataset, f"{layer}/{weight}", path)
                size += dataset.size * dataset.dtype.itemsize
        if not arrays:
            raise WeightsError(f"{path}: an HDF5 file without the weights of a Keras model")
        if size > _MAX_EXPANSION * path.stat().st_size:
            raise MemoryError
        attributes = {**file.attrs, **root.attrs}
        return arrays, {key: _text(value) for key, value in attributes.items() if isinstance(value, (str, bytes))}


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise WeightsError(f"{path}: truncated or damaged ({error})") from error


def _step(group: h5py.Group, name: str, path: Path) -> Any:
    """What lies below a group under a name of several parts, each of which lies in this very file."""
    item: Any = group
    for part in name.split("/"):
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise WeightsError(f"{path}: damaged, {name} is listed in {group.name} but not there")
        if isinstance(link, h5py.ExternalLink):
            raise WeightsError(f"{path}: refused, {name} is a link into another file ({link.filename})")
        if not isinstance(link, h5py.HardLink):
            raise WeightsError(f"{path}: refused, {name} is a symbolic link ({getattr(link, 'path', link)})")
        item = item[part]
    return item


def _stored(dataset: Any, name: str, path: Path) -> StoredArray:
    """A dataset whose numbers lie in this very file, read when asked for."""
    if not isinstance(dataset, h5py.Dataset):
        raise WeightsError(f"{path}: damaged, {name} is a group, expected an array")
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"{path}: refused, the numbers of {name} lie in another file")
    properties = dataset.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        code = properties.get_filter(index)[0]
        if code not in _FILTERS:
            raise WeightsError(f"{path}: refused, {name} is packed with HDF5 filter {code}; known: {_FILTERS}")
    if dataset.dtype.kind not in "fiub" or dataset.shape is None:
        raise WeightsError(f"{path}: {name} has dtype {dataset.dtype}, expected numbers")
    full = dataset.name

    def read() -> np.ndarray:
        with reading(path), _opened(path) as file:
            return np.asarray(file[full], dataset_dtype)

    dataset_dtype = dataset.dtype.newbyteorder("=")
    return StoredArray(dataset.shape, dataset_dtype, read)


def _datasets(group: Any) -> list[str]:
    """Paths of all arrays below a group; links to elsewhere are not followed."""
    found: list[str] = []
    if isinstance(group, h5py.Group):
        group.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names, which Keras cuts into attributes name0, name1, … where it is long; empty: there is none."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [_text(name) for part in parts for name in np.atleast_1d(part)]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
