"""ImageNet weights from the .h5 files of keras.applications, by path: for its own networks, and for our ResNets.

A file for one of its own networks is read as Keras reads it: layer by layer in the order of the network, weight by
weight, whatever the layers are called; a classifier at the end is left over.

The files for our ResNets are those of `keras.applications.ResNet50(include_top=False)`: Caffe-style pixels (BGR, mean
subtracted), stride in the first 1x1 convolution, biases in the convolutions, batch norm epsilon 1.001e-5. A ResNet that
uses them needs `ResNetConfig(stride_in_1x1=True, epsilon=1.001e-5, pixel_norm=PIXEL_NORM)`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrcnn.modeling.backbones.graph import is_numbered, stable_names
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig, network_of
from mrcnn.modeling.non_local import NonLocalBlock
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights.file_format import file_format
from mrcnn.weights.keras_h5 import open_keras_h5
from mrcnn.weights.report import LoadReport, WeightsError, assign
from mrcnn.weights.stored_array import StoredArray

PIXEL_NORM = PixelNorm(mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0), bgr=True)
EPSILON = 1.001e-5
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225])
"""Of pixels from 0 to 1, R, G and B."""
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_PARTS = {"conv1": "1", "conv2": "2", "conv3": "3", "shortcut": "0"}


def load_resnet(
    backbone: keras.Model, path: str | os.PathLike[str], roi_stage: keras.Model | None = None
) -> LoadReport:
    """Set a ResNet backbone's weights from a keras.applications .h5 file.

    The convolutions' biases are folded into the moving means, which is exact while the norm uses them.

    Args:
        backbone: made by `ResNetConfig.build` with a batch norm, frozen or not.
        path: resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 or its like.
        roi_stage: the stage 5 that a C4 model runs on RoIs.

    Raises:
        WeightsError: the file cannot be read or is of another network.
    """
    path = Path(path)
    container = file_format(path)
    if container != "hdf5":
        raise WeightsError(f"{path}: a file of format {container}, expected an HDF5 file of keras.applications")
    stored, _ = open_keras_h5(path)
    arrays: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    for part, prefix in ((backbone, ""), (roi_stage, "stage5_")):
        for layer in part.layers if part is not None else ():
            if layer.weights and not isinstance(layer, NonLocalBlock):  # which no classifier has
                name = prefix + layer.name
                _take(arrays, stored, name, *_theirs(name), path)
                variables |= {prefix + v.path: v for v in layer.weights}
    arrays.update(stored)
    return assign(variables, arrays, str(path), strict=True)


def load_network(backbone: keras.Model, config: KerasApplicationsConfig, path: str | os.PathLike[str]) -> LoadReport:
    """Set the weights of a network of keras.applications from its .h5 file.

    Args:
        backbone: made by `config.build`, its batch norm, if it has any, frozen or not.
        config: its config.
        path: e.g. convnext_tiny_notop.h5; one with the classifier will do.

    Returns:
        The report; what lies behind the last feature map is unused.

    Raises:
        WeightsError: the file cannot be read or is of another network, or the network has none that would fit.
    """
    path = Path(path)
    container = file_format(path)
    if container != "hdf5":
        raise WeightsError(f"{path}: a file of format {container}, expected an HDF5 file of keras.applications")
    original = network_of(config.name)
    expected = _in_order(original)
    variables = {
        f"{layer.name}/{leaf}": weight for layer in backbone.layers for leaf, weight in _leaves(layer) if layer.weights
    }
    if config.norm not in ("frozen_bn", "bn", "sync_bn") and any("moving_mean" in name for name, _ in expected):
        raise WeightsError(
            f"ImageNet weights need batch norm (frozen_bn, bn or sync_bn); backbone.norm is {config.norm}"
        )
    stored, _ = open_keras_h5(path)
    own_names = {layer.name for layer in original.layers if not is_numbered(layer)}
    arrays: dict[str, Any] = {}
    for (name, shape), (theirs, array) in zip(expected, stored.items(), strict=False):
        layer, other = name.partition("/")[0], theirs.partition("/")[0]
        if other != layer and other in own_names:
            raise WeightsError(
                f"{path}: its layers are not in the order of {config.name}, {other} stands where {layer} is"
            )
        if tuple(array.shape) != shape:
            raise WeightsError(
                f"{path}: not the weights of {config.name}, {theirs} has shape {list(array.shape)}, expected"
                f" {list(shape)} (for {name})"
            )
        arrays[name] = array
    if len(stored) < len(expected):
        raise WeightsError(
            f"{path}: not the weights of {config.name}, it has {len(stored)} arrays, expected {len(expected)} or more"
        )
    if config.name.startswith("EfficientNetB"):
        _divide_twice(arrays)
    arrays |= dict(list(stored.items())[len(expected) :])
    return assign(variables, arrays, str(path), strict=True)


def _divide_twice(arrays: dict[str, Any]) -> None:
    """In place, the variance of the pixels that does what two layers do in a network with ImageNet's weights.

    Keras divides there by the square root of the deviation once more (`keras/src/applications/efficientnet.py`), in a
    layer without weights, for the variance in the file is the deviation. Networks made without these weights lack it.
    """
    for name in [name for name in arrays if name.startswith("normalization") and name.endswith("/variance")]:
        variance = np.asarray(arrays[name], np.float64)
        if variance.shape == (3,) and np.allclose(variance, IMAGENET_DEVIATION, atol=1e-4):
            arrays[name] = (variance * IMAGENET_DEVIATION).astype(np.float32)


def _in_order(network: keras.Model) -> list[tuple[str, tuple[int, ...]]]:
    """Names, as the backbone's are, and shapes of a network's weights in the order of Keras' .h5 files.

    A layer's weights that train come first.
    """
    names = stable_names(network)
    ordered = []
    for layer in network.layers:
        leaves = {id(weight): leaf for leaf, weight in _leaves(layer)}
        for weight in (*layer.trainable_weights, *layer.non_trainable_weights):
            ordered.append((f"{names[layer.name]}/{leaves[id(weight)]}", tuple(weight.shape)))
    return ordered


def _leaves(layer: keras.layers.Layer) -> list[tuple[str, keras.Variable]]:
    """A layer's weights, each with its name, numbered where the layer has several of one name."""
    counts: dict[str, int] = {}
    leaves = []
    for weight in layer.weights:
        name = "variable" if re.fullmatch(r"variable_\d+", weight.name) else weight.name  # numbered by Keras
        counts[name] = counts.get(name, -1) + 1
        leaves.append((f"{name}/{counts[name]}" if counts[name] else name, weight))
    return leaves


def _theirs(name: str) -> tuple[str, str]:
    """Names in the file of our convolution layer's kernel and norm: stage3_block2_conv1 is conv3_block2_1."""
    if name == "stem_conv1":
        return "conv1_conv", "conv1_bn"
    stage, block, part = name.split("_")
    base = f"{stage.replace('stage', 'conv')}_{block}_{_PARTS[part]}"
    return f"{base}_conv", f"{base}_bn"


def _take(
    arrays: dict[str, Any], stored: dict[str, StoredArray], ours: str, convolution: str, norm: str, path: Path
) -> None:
    needed = [f"{convolution}/kernel", *(f"{norm}/{leaf}" for leaf in _NORM)]
    absent = [name for name in needed if name not in stored]
    if absent:
        raise WeightsError(f"{path}: not the weights of this network, {absent[0]} is not in it (for {ours})")
    arrays[f"{ours}/kernel"] = stored.pop(needed[0])
    for leaf in _NORM:
        arrays[f"{ours}/norm/{leaf}"] = stored.pop(f"{norm}/{leaf}")
    bias = stored.pop(f"{convolution}/bias", None)
    if bias is not None:
        mean = f"{ours}/norm/moving_mean"
        arrays[mean] = np.asarray(arrays[mean]) - np.asarray(bias)
