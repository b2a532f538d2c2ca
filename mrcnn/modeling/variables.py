"""Stable names of the variables of a model."""

from __future__ import annotations

from typing import Any

import keras


def named_variables(model: keras.Model) -> dict[str, Any]:
    """The model's weights by stable name: "backbone/stage2_block1_conv1/kernel".

    The name is the variable's path below the model, so it does not depend on the model's own name.
    """
    named: dict[str, Any] = {}
    for layer in _components(model):
        for variable in layer.weights:
            path = variable.path.removeprefix(f"{model.name}/")
            if layer is not model and path.split("/")[0] != layer.name:
                path = f"{layer.name}/{path}"  # a functional model's layers do not know the model's name
            if path in named and named[path] is not variable:
                raise ValueError(f"two variables of {model.name} share the name {path}")
            named[path] = variable
    return named


def _components(model: keras.Model) -> list[keras.layers.Layer]:
    is_functional = hasattr(model, "operations") and getattr(model, "inputs", None) is not None
    return [model] if is_functional else list(model.layers)
