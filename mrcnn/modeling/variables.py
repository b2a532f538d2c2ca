"""Stable names of the variables of a model.

Keras names layers and variables that are given no name by counting, over everything that the process has built so far:
"conv2d_7", "variable_74". Names in files are counted anew in each component, in the order of creation, so that one
model has one set of names wherever and whenever it is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import keras

_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?")
_VARIABLE = "variable"  # what Keras calls a variable without a name


def named_variables(model: keras.Model) -> dict[str, Any]:
    """The model's weights by stable name: "backbone/stage2_block1_conv1/kernel".

    The name is the variable's path below the model, so it does not depend on the model's own name. Parts of it that
    Keras made up by counting start at no number: the third unnamed `Conv2D` of a backbone is "backbone/conv2d_2/kernel"
    whatever was built before.

    Raises:
        ValueError: two variables share a name.
    """
    paths = _paths(model)
    stable = stable_names(paths, generated_names(model))
    return {stable[path]: variable for path, variable in paths.items()}


def generated_names(model: keras.Model) -> frozenset[str]:
    """The beginnings, such as "conv2d" and "variable", of those names in the model that may be Keras' own."""
    names = set()
    for component in _components(model):
        for layer in _with_sublayers(component):
            cls = type(layer)
            if layer is component and not cls.__module__.startswith("keras."):
                continue  # a component has the name that the model gave it
            match = _NUMBERED.fullmatch(layer.name)
            if match and match[1] == _snake_case(cls.__name__):
                names.add(match[1])
        if any(re.fullmatch(rf"{_VARIABLE}(_\d+)?", variable.name) for variable in component.weights):
            names.add(_VARIABLE)
    return frozenset(names)


def stable_names(paths: Iterable[str], generated: frozenset[str]) -> dict[str, str]:
    """Paths of variables, numbered anew where Keras numbered them.

    Args:
        paths: of all the variables of one model, by this process or another.
        generated: see `generated_names`.

    Returns:
        The stable name of each path.

    Example:
        >>> stable_names(["head/dense_7/kernel", "head/dense_12/kernel", "head/out/kernel"], frozenset({"dense"}))
        {'head/dense_7/kernel': 'head/dense/kernel', 'head/dense_12/kernel': 'head/dense_1/kernel', \
'head/out/kernel': 'head/out/kernel'}
    """
    paths = list(paths)
    numbers: dict[tuple[tuple[str, ...], str], set[int]] = {}  # by where it is and how it begins
    for path in paths:
        for _, place, begin, number in _generated_parts(path, generated):
            numbers.setdefault((place, begin), set()).add(number)
    ranks = {key: {number: rank for rank, number in enumerate(sorted(used))} for key, used in numbers.items()}
    names = {}
    for path in paths:
        parts = path.split("/")
        for index, place, begin, number in _generated_parts(path, generated):
            rank = ranks[place, begin][number]
            parts[index] = f"{begin}_{rank}" if rank else begin
        names[path] = "/".join(parts)
    return names


def _generated_parts(path: str, generated: frozenset[str]) -> list[tuple[int, tuple[str, ...], str, int]]:
    """(index, parts before it, beginning, number) of the parts of a path that Keras may have made up."""
    parts, generated_parts = path.split("/"), []
    for index, part in enumerate(parts):
        match = _NUMBERED.fullmatch(part)
        if match and match[1] in generated:
            generated_parts.append((index, tuple(parts[:index]), match[1], int(match[2] or 0)))
    return generated_parts


def _paths(model: keras.Model) -> dict[str, Any]:
    """The model's weights by path below the model, as Keras has it."""
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


def _with_sublayers(layer: keras.layers.Layer) -> Iterable[keras.layers.Layer]:
    return layer._flatten_layers(include_self=True, recursive=True)


def _snake_case(class_name: str) -> str:
    """A class's name as Keras makes layer names of it: "Conv2D" is "conv2d", "LayerScale" is "layer_scale"."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
