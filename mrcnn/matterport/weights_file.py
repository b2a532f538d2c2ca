"""Weights in matterport's layout, in and out: HDF5 files by its layer names, for the models of this package."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np

from mrcnn.files import atomic_write
from mrcnn.matterport.native_config import network
from mrcnn.weights import matterport
from mrcnn.weights.checkpoint import save_checkpoint
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import LoadReport, WeightsError, assign, by_stable_names, named_variables

_RPN = ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
"""Layers that lie in a model of their own, `rpn_model`."""
# Leaves of the ImageNet files of the first ResNet-50 for Keras, such as res2a_branch2a_W.
_OLD_LEAF = re.compile(r".*_(W|b|gamma|beta|running_mean|running_std)(?:_\d+)?")
_OLD_LEAVES = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}


class _Everything(dict[str, Any]):
    """Stands for a file that has every array."""

    def __contains__(self, name: object) -> bool:
        return True


def layer_names(model: Any, config: Any) -> dict[str, str]:
    """Our variable's path -> the layer of matterport's that holds it; one that is not its own stands for itself."""
    known = matterport.to_ours(_Everything(), network(config))
    sources = {path: known.source_of(path) for path in named_variables(model)}
    layers = {path: names[0].split("/")[0] if names else path for path, names in sources.items()}
    return {
        path: path.split("/")[1]
        if layer == path and path.startswith("backbone/")
        else layer  # a layer of a script's own
        for path, layer in layers.items()
    }


def load(model: Any, config: Any, path: str | os.PathLike[str], by_name: bool, exclude: Iterable[str]) -> LoadReport:
    """Set the weights of a model from a file.

    Args:
        model: a MaskRCNN of this package.
        config: the `Config` it was made of.
        path: matterport's .h5, an ImageNet .h5 of its backbone, or a checkpoint of this package.
        by_name: layers that the file does not have keep their weights.
        exclude: names of layers, in matterport's terms, that keep their weights.

    Raises:
        ValueError: a layer has another shape in the file, or, unless `by_name`, is missing; names the layer.
        WeightsError: the file cannot be read, or has nothing that fits.
    """
    contents = read_arrays(path)
    excluded = {name for layer in exclude for name in (_RPN if layer == "rpn_model" else (layer,))}
    layers = layer_names(model, config)
    variables = {name: v for name, v in named_variables(model).items() if layers[name] not in excluded}
    arrays: Any = by_stable_names(contents.arrays, model)
    stored: dict[str, Any] = {}
    if contents.container != "mrcnn":
        stored = {_modern(name): array for name, array in contents.arrays.items()}
        converted = matterport.to_ours(stored, network(config))
        arrays = {name: converted[name] for name in converted if all(s in stored for s in converted.source_of(name))}
    for name, variable in variables.items():
        if name in arrays and tuple(arrays[name].shape) != tuple(variable.shape):
            raise ValueError(
                f"{path}: layer {layers[name]} has weights of shape {tuple(variable.shape)} ({name}), the file has "
                f"{tuple(arrays[name].shape)}; put '{layers[name]}' into exclude to leave it as it is"
            )
    absent = [name for name in variables if name not in arrays]
    if absent and not by_name:
        raise ValueError(f"{path}: no weights for {layers[absent[0]]} and {len(absent) - 1} more; give by_name=True")
    if not any(name in arrays for name in variables):
        if arrays:  # everything in it was excluded
            return LoadReport(str(path), missing=tuple(variables))
        raise WeightsError(f"{path}: {contents.container} weights of another network than matterport's")
    report = assign(variables, {name: arrays[name] for name in arrays if name in variables}, str(path))
    if contents.container != "mrcnn":
        _keep_background(model, {k: v for k, v in stored.items() if k.split("/")[0] not in excluded})
    return report


def save(model: Any, config: Any, path: str | os.PathLike[str]) -> None:
    """Write matterport's layout, which matterport/Mask_RCNN reads by name; a model of another network as `mrcnn` does.

    What belongs to the background's box and mask, which nothing trains, is written as it was loaded, else as 0. Biases
    that a batch norm has taken over (`TRAIN_BN` other than False) are written as 0.
    """
    if (arrays := arrays_of(model, config)) is None:
        save_checkpoint(model, path)
        return
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, (array, _) in arrays.items():
        layer = name.split("/")[0]
        groups.setdefault("rpn_model" if layer in _RPN else layer, {})[name] = array
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layer_names"] = np.array([group.encode() for group in groups])
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for group, members in groups.items():
            target = file.create_group(group)
            order = sorted(members, key=_leaf_order)
            target.attrs["weight_names"] = np.array([f"{name}:0".encode() for name in order])
            for name in order:
                target.create_dataset(f"{name}:0", data=members[name])


def arrays_of(model: Any, config: Any) -> dict[str, tuple[np.ndarray, str]] | None:
    """matterport's arrays by "layer/leaf", each with the path of our variable that it is made of.

    None for a model that is not of one of matterport's networks.
    """
    variables = named_variables(model)
    known = matterport.to_ours(_Everything(), network(config))
    if set(variables) != set(known):
        return None
    backgrounds = getattr(model, "backgrounds", {})
    arrays: dict[str, tuple[np.ndarray, str]] = {}
    for name, variable in variables.items():
        value = np.asarray(variable, np.float32)
        for i, source in enumerate(known.source_of(name)):
            layer = source.split("/")[0]
            # A moving mean is made of theirs and of the bias before it.
            theirs = np.zeros_like(value) if i else _theirs(layer, value, config.POOL_SIZE, model.config.rpn.objectness)
            if source in backgrounds and backgrounds[source].shape == theirs[..., _background(layer)].shape:
                theirs[..., _background(layer)] = backgrounds[source]
            arrays[source] = theirs, name
    return arrays


def _keep_background(model: Any, stored: Mapping[str, Any]) -> None:
    """Keep what the file has for the background's box and mask, for `save`: no loss reaches it, nothing reads it."""
    kept = {
        name: np.array(stored[name])[..., _background(name.split("/")[0])]
        for name in stored
        if name.split("/")[0] in ("mrcnn_bbox_fc", "mrcnn_mask")
    }
    object.__setattr__(model, "backgrounds", getattr(model, "backgrounds", {}) | kept)


def _background(layer: str) -> slice:
    """Where the last axis of a layer's arrays has the background."""
    return slice(0, 4) if layer == "mrcnn_bbox_fc" else slice(0, 1)


def _modern(name: str) -> str:
    layer, _, leaf = name.rpartition("/")
    old = _OLD_LEAF.fullmatch(leaf)
    return f"{layer}/{_OLD_LEAVES.get(old[1], old[1])}" if old else name


def _leaf_order(name: str) -> tuple[int, str, int]:
    layer, leaf = name.split("/")
    leaves = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    return _RPN.index(layer) if layer in _RPN else 0, layer, leaves.index(leaf)


def _theirs(layer: str, value: np.ndarray, pool: int, objectness: str) -> np.ndarray:
    """One of our arrays as matterport's layer has it; the inverse of `mrcnn.weights.matterport`."""
    if layer == "rpn_class_raw" and objectness == "sigmoid":  # (background, object)
        return np.stack([np.zeros_like(value), value], axis=-1).reshape(*value.shape[:-1], -1)
    if layer == "mrcnn_bbox_fc":
        deltas = value.reshape(*value.shape[:-1], 4, -1).swapaxes(-1, -2)  # [..., C, 4]
        return _with_background(deltas, axis=-2).reshape(*value.shape[:-1], -1)
    if layer == "mrcnn_mask":
        return _with_background(value, axis=-1)
    if layer in ("mrcnn_class_conv1", "mrcnn_class_conv2") and value.ndim == 2:
        side = 1 if layer.endswith("2") else pool
        return value.reshape(side, side, -1, value.shape[1])
    return value


def _with_background(value: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate([np.zeros_like(value.take([0], axis)), value], axis=axis)
