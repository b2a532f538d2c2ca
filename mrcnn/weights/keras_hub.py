"""Weights of KerasHub's presets for the backbones made of them."""

from __future__ import annotations

import json
import os
from typing import Any

import keras

from mrcnn.modeling.backbones import graph
from mrcnn.modeling.backbones.keras_hub import KerasHubConfig
from mrcnn.modeling.backbones.keras_hub_preset import library
from mrcnn.weights.report import LoadReport, WeightsError, assign


def load_preset(
    backbone: keras.Model, config: KerasHubConfig, preset: str | os.PathLike[str] | None = None
) -> LoadReport:
    """Set a backbone's weights to those of a preset.

    The pyramid that is computed of a plain vision transformer is not part of a preset and keeps its weights.

    Args:
        backbone: made by `config.build`.
        config: its config.
        preset: a name or a folder; None: the config's own. A name that KerasHub does not have here yet is downloaded.

    Raises:
        WeightsError: the config names no preset, it cannot be read, or is of another network.
    """
    name = os.fspath(preset) if preset is not None else config.preset
    if not name:
        raise WeightsError("ImageNet weights of KerasHub: the config has no preset; give its name or folder")
    if config.norm not in ("frozen_bn", "affine_bn", "bn", "sync_bn"):
        raise WeightsError(f"{name}: a preset's weights need batch norm; backbone.norm is {config.norm}")
    own = config.hub_network()
    image = keras.tree.flatten(own.input)[0]
    shape = {next(k for k in ("image_shape", "input_shape") if hasattr(own, k) or k == "input_shape"): image.shape[1:]}
    try:
        stored = library().models.Backbone.from_preset(name, load_weights=True, **shape)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"preset {name}: cannot be read: {type(error).__name__}: {reason}") from error
    if type(stored) is not type(own):
        expected = json.loads(config.network)["class"]
        raise WeightsError(f"preset {name}: expected a {expected}, it is a {type(stored).__name__}")
    if [weight.shape for weight in stored.weights] != [weight.shape for weight in own.weights]:
        raise WeightsError(f"preset {name}: a {type(stored).__name__} of other sizes than backbone.network says")
    arrays: dict[str, Any] = {}
    names = graph.stable_names(own)
    for layer, named in zip(stored.layers, own.layers, strict=False):  # names may begin with that of the network
        for place, weight in enumerate(layer.weights):
            arrays[f"{names[named.name]}/{_leaf(named, place)}"] = weight.numpy()
    variables = {
        f"{layer.name}/{_leaf(layer, place)}": weight
        for layer in backbone.layers
        if not layer.name.startswith("pyramid_")
        for place, weight in enumerate(layer.weights)
    }
    return assign(variables, arrays, f"preset {name}", strict=True)


def _leaf(layer: keras.layers.Layer, place: int) -> str:
    """A weight within its layer: by its name where the layer holds it itself, else by its place."""
    weight = layer.weights[place]
    names = [other.name for other in layer.weights]
    return weight.name if names.count(weight.name) == 1 else f"{place}/{weight.name}"
