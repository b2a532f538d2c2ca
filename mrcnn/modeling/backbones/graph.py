"""A Keras network's graph: what stride each layer has, where blocks end, which layers make which feature map."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import keras

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import LEVELS
from mrcnn.modeling.normalize import NormKind, StoredNormalization, make_norm

PROBE = 512  # pixels a side of the image whose maps say what stride each layer has


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Where a network's feature maps are.

    Attributes:
        levels: the operation whose output is each feature map, as its place in `network.operations`, by name.
        channels: of each feature map, by name.
        stages: of every layer up to the last feature map, by its stable name.
    """

    levels: dict[str, int]
    channels: dict[str, int]
    stages: dict[str, int]


def stable_names(network: keras.Model) -> dict[str, str]:
    """Names of the operations that do not depend on what was built before.

    Keras numbers what has no name of its own through the whole process; here each kind is numbered through the
    network, as in a process that builds nothing else.
    """
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for operation in network.operations:
        if is_numbered(operation):
            kind = _snake_case(type(operation).__name__)
            counts[kind] = counts.get(kind, -1) + 1
            names[operation.name] = f"{kind}_{counts[kind]}" if counts[kind] else kind
        else:
            names[operation.name] = operation.name
    return names


def is_numbered(operation: Any) -> bool:
    """Whether Keras named an operation after its class, rather than whoever built the network."""
    return re.fullmatch(rf"{_snake_case(type(operation).__name__)}(_\d+)?", operation.name) is not None


def _snake_case(name: str) -> str:
    """A class's name as Keras names layers after it: ZeroPadding2D is zero_padding2d."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def side_of(image: keras.KerasTensor) -> int:
    """Pixels a side of the image a network is tried with: its own where it takes one size only."""
    return int(image.shape[1] or PROBE)


def shapes(network: keras.Model) -> list[tuple[int, ...]]:
    """The shape of every operation's first output for one image of the probe's size, computed without its weights."""
    probe = keras.Model(network.input, [keras.tree.flatten(operation.output)[0] for operation in network.operations])
    side = side_of(network.input)
    specs = probe.compute_output_spec(keras.KerasTensor((1, side, side, network.input.shape[-1])))
    return [tuple(spec.shape) for spec in keras.tree.flatten(specs)]


def strides(shapes: list[tuple[int, ...]], side: int = PROBE) -> list[int]:
    """Pixels per cell of each output; what is no such map (padding, a vector) has the one before it.

    Args:
        shapes: of the outputs.
        side: pixels a side of the image they are of. A sequence [1, n * n, channels] counts as a map of n x n.
    """
    strides: list[int] = []
    for shape in shapes:
        cells = shape[1] if len(shape) == 4 and shape[1] == shape[2] else 0
        if len(shape) == 3 and shape[1] and math.isqrt(shape[1]) ** 2 == shape[1]:
            cells = math.isqrt(shape[1])
        stride = side // cells if cells and side % cells == 0 and side // cells <= 32 else 0
        strides.append(stride or (strides[-1] if strides else 1))
    return strides


def seams(network: keras.Model) -> list[bool]:
    """Whether every path from the image to the end goes through an operation's output: the seams between blocks.

    In the order of computation it is so if, right after it, nothing but its output is still needed.
    """
    inputs = inputs_of(network)
    readers: dict[str, int] = {}
    for sources in inputs:
        for source in sources:
            readers[source] = readers.get(source, 0) + 1
    needed: dict[str, int] = {}
    seams = []
    for operation, sources in zip(network.operations, inputs, strict=True):
        for source in sources:
            needed[source] -= 1
            if not needed[source]:
                del needed[source]
        seams.append(not needed)
        if readers.get(operation.name):
            needed[operation.name] = readers[operation.name]
    return seams


def inputs_of(network: keras.Model) -> list[list[str]]:
    """The names of the operations whose outputs each operation reads."""
    config = {layer["name"]: layer for layer in network.get_config()["layers"]}
    return [sorted(set(_sources(config[operation.name]["inbound_nodes"]))) for operation in network.operations]


def _sources(nodes: Any) -> list[str]:
    """The operations whose outputs one of a functional model's config reads."""
    if isinstance(nodes, dict):
        history = nodes.get("keras_history")
        return [history[0]] if history else [name for value in nodes.values() for name in _sources(value)]
    if isinstance(nodes, list | tuple):
        return [name for value in nodes for name in _sources(value)]
    return []


def end_of_stride(stride: int, network: keras.Model, shapes: list[tuple[int, ...]], seams: list[bool]) -> int | None:
    """The place of the operation that ends the last block of a stride; None if no seam has that stride."""
    operations = network.operations
    side = PROBE // stride
    places = [i for i, shape in enumerate(shapes) if shape[1:-1] == (side, side) and seams[i]]
    merges = [n for n, i in enumerate(places) if type(operations[i]).__name__ in ("Add", "Concatenate")]
    if not merges:
        return max(places, key=lambda i: (-shapes[i][-1], i), default=None)
    end = merges[-1]
    while end + 1 < len(places) and type(operations[places[end + 1]]).__name__ in ("Activation", "ReLU"):
        end += 1
    return places[end]


def stages(strides: list[int], levels: dict[str, int], has_weights: list[bool]) -> list[int]:
    """The stage of every operation up to the last feature map.

    The stem is all before stride 4. Of a network that divides by four at once, it is the first layer with weights.
    """
    ends = {index: int(level[1:]) for level, index in levels.items()}
    first = min(ends.values())
    stem_end = end_of_stem(strides, has_weights)
    stage = first
    stages: list[int] = []
    for index in range(max(ends) + 1):
        stages.append(1 if index < stem_end else stage)
        stage = ends.get(index, stage - 1) + 1
    return stages


def end_of_stem(strides: list[int], has_weights: list[bool]) -> int:
    """The number of operations in the stem: all before stride 4, or up to the first with weights."""
    end = next((i for i, stride in enumerate(strides) if stride >= 4), 0)
    return end if any(has_weights[:end]) or True not in has_weights else has_weights.index(True) + 1


def levels_by_stride(image: keras.KerasTensor, maps: list[Any], where: str) -> dict[str, keras.KerasTensor]:
    """The last of the feature maps of each of the strides 4, 8, 16 and 32, by name c2..c5.

    Args:
        image: [B, H, W, channels], the network's input.
        maps: what was computed of it.
        where: whose maps they are, for messages.

    Raises:
        ConfigError: one is no map [B, H, W, channels], or a stride is missing.
    """
    for value in maps:
        if not isinstance(value, keras.KerasTensor):
            raise ConfigError(
                f"{where}: expected Keras tensors computed of the image, got one of type {type(value).__name__}"
            )
        if len(value.shape) != 4 or value.shape[-1] is None:
            raise ConfigError(
                f"{where}: expected feature maps [B, H, W, channels], of rank 4 with a fixed number of channels; got"
                f" one of rank {len(value.shape)}, {list(value.shape)}"
            )
    side = side_of(image)
    probe = keras.KerasTensor((1, side, side, image.shape[-1]), dtype=image.dtype)
    specs = keras.tree.flatten(keras.Model(image, maps).compute_output_spec(probe)) if maps else []
    strides = [(side / spec.shape[1], side / spec.shape[2]) for spec in specs]
    wanted = {level: 2.0 ** int(level[1:]) for level in LEVELS}
    pairs = list(zip(maps, strides, strict=True))
    levels = {level: value for level, n in wanted.items() for value, stride in pairs if stride == (n, n)}
    if len(levels) < len(LEVELS):
        present = sorted({f"{y:.4g}" if y == x else f"{y:.4g}x{x:.4g}" for y, x in strides}, key=_first_number)
        raise ConfigError(
            f"{where}: expected feature maps of strides 4, 8, 16 and 32; its maps have"
            + (f" the strides {', '.join(present)}" if present else " no strides, for there are none")
        )
    return levels


def _first_number(text: str) -> float:
    return float(text.partition("x")[0])


def with_norm(network: keras.Model, norm: NormKind, epsilon: float) -> keras.Model:
    """A copy with new weights, its layers named as `stable_names` has it and its batch norm of another kind.

    Args:
        network: left as it is.
        norm: instead of Keras' batch norm; other norms stay. "none": batch norm stays, too.
        epsilon: of it; 0: the layer's own.
    """
    return keras.models.clone_model(network, clone_function=_copier(network, norm, epsilon))


def copied_onto(
    image: keras.KerasTensor, network: keras.Model, norm: NormKind, epsilon: float
) -> dict[str, keras.KerasTensor]:
    """The outputs by name of such a copy as `with_norm` makes, computed of another tensor than its input.

    Args:
        image: what takes the place of the network's input.
        network, norm, epsilon: see `with_norm`.
    """
    names, results = stable_names(network), {}

    def call(layer: keras.layers.Layer, *arguments: Any, **options: Any) -> Any:
        results[layer.name] = layer(*arguments, **options)
        return results[layer.name]

    copier = _copier(network, norm, epsilon)
    keras.models.clone_model(network, input_tensors=image, clone_function=copier, call_function=call)
    return {
        level: keras.tree.flatten(results[names[tensor._keras_history.operation.name]])[
            tensor._keras_history.tensor_index
        ]
        for level, tensor in network.output.items()
    }


def _copier(network: keras.Model, norm: NormKind, epsilon: float) -> Callable[[Any], Any]:
    names = stable_names(network)

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        name = names[layer.name]
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            return StoredNormalization(epsilon=keras.config.epsilon(), name=name)
        if norm == "none" or not isinstance(layer, keras.layers.BatchNormalization):
            try:
                return layer.__class__.from_config({**layer.get_config(), "name": name})
            except TypeError:  # what it says of itself is not what its class takes: the layer as it is
                return layer
        channels = int(layer.moving_mean.shape[0])
        return make_norm(norm, epsilon or layer.epsilon, name, layer.momentum, channels=channels)

    return copy


def anatomy_of(network: keras.Model) -> Anatomy:
    """Of a network whose outputs are its feature maps by name.

    What c2 is computed from is stage 2, except the stem; what c3 needs besides is stage 3, and so on. A layer that
    yields several of the maps has no stage.
    """
    ends = {level: tensor._keras_history.operation.name for level, tensor in network.output.items()}
    operations = network.operations
    sources = dict(zip((operation.name for operation in operations), inputs_of(network), strict=True))
    weighted = [bool(getattr(operation, "weights", ())) for operation in operations]
    stem = {
        operation.name
        for operation in operations[: end_of_stem(strides(shapes(network), side_of(network.input)), weighted)]
    }
    stages: dict[str, int] = {}
    for level in LEVELS:
        pending = [ends[level]]
        while pending:
            name = pending.pop()
            if name not in stages:
                stages[name] = 1 if name in stem else int(level[1:])
                pending += sources[name]
    shared = {name for name in ends.values() if list(ends.values()).count(name) > 1}
    names = stable_names(network)
    places = {operation.name: index for index, operation in enumerate(operations)}
    return Anatomy(
        {level: places[name] for level, name in ends.items()},
        {level: int(tensor.shape[-1]) for level, tensor in network.output.items()},
        {names[name]: stage for name, stage in stages.items() if name not in shared},
    )
