"""Writer of the .h5 weights files of Keras 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np


def write_keras_h5(
    path: Path, layers: Mapping[str, Mapping[str, np.ndarray]], is_whole_model: bool = False, num_chunks: int = 0
) -> Path:
    """A file of `save_weights` or, whole, of `save`.

    Args:
        path: the file to write.
        layers: by layer, arrays by their weights' names ("conv1/kernel:0"); a nested model counts as one layer.
        is_whole_model: put the weights below "model_weights".
        num_chunks: cut the list of layers into so many attributes, as is done where it exceeds HDF5's limit.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if is_whole_model else file
        names = [name.encode() for name in layers]
        if num_chunks:
            for i, part in enumerate(np.array_split(names, num_chunks)):
                root.attrs[f"layer_names{i}"] = part
        else:
            root.attrs["layer_names"] = names
        root.attrs["backend"] = b"tensorflow"
        root.attrs["keras_version"] = b"2.0.8"
        for layer, weights in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, value in weights.items():
                group.create_dataset(name, data=value)
    return path
