"""What holds for every layer of the model: one check each, for any of them.

A case says how the smallest layer that shows the thing is made and called; the checks know nothing else of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.tolerances import tolerance_of


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """A layer and what it is called with.

    Attributes:
        make: the layer with its weights, under the global dtype policy.
        inputs: by name, arrays or dicts of arrays with the batch first; float32 or as they are always.
        call: (layer, inputs, training) -> what it gives; None: the layer itself on the only input.
        shapes: of the tensors it gives, in the order of `tf.nest.flatten`.
        computes: names of inputs that come in the compute dtype, as from the layer before.
        float32: its results are float32 under every policy.
        moving: last parts of the names of variables that a step moves though they do not train.
        frozen: what the paths of variables in frozen parts hold: there the statistics stay, too.
        empty: axis along which there may be nothing; None: there is always something.
        saves: Keras can write the layer into a file of its own.
        deep: so many layers that half precision is only finite, not close.
    """

    make: Callable[[], Any]
    inputs: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    call: Callable[[Any, dict[str, Any], bool], Any] | None = None
    computes: tuple[str, ...] = ("x", "features")
    float32: bool = False
    moving: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    empty: int | None = 0
    saves: bool = False
    deep: bool = False

    def is_frozen(self, path: str) -> bool:
        """Whether a weight belongs to a part that does not train."""
        return any(start in path for start in self.frozen)

    def run(self, layer: Any, inputs: dict[str, Any], training: bool = False) -> list[tf.Tensor]:
        """Every tensor that the layer gives."""
        if self.call is not None:
            return tf.nest.flatten(self.call(layer, inputs, training))
        (only,) = inputs.values()
        return tf.nest.flatten(layer(only, training=training))

    def tensors(self, dtype: str = "float32") -> dict[str, Any]:
        """The inputs as tensors, those that are computed in a dtype."""

        def tensor(name: str, value: Any) -> tf.Tensor:
            return tf.cast(value, dtype) if name in self.computes else tf.constant(value)

        return {
            name: tf.nest.map_structure(functools.partial(tensor, name), value) for name, value in self.inputs.items()
        }


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Inside, Keras' global dtype policy is another one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check_build(case: LayerCase) -> None:
    """All weights are there before the first call, in float32, each under a name of its own; shapes are as declared."""
    layer = case.make()
    variables = _variables(layer)
    assert getattr(layer, "built", True)
    assert len({variable.path for variable in variables}) == len(variables)
    assert {variable.dtype for variable in variables if "seed" not in variable.path} <= {"float32"}
    results = case.run(layer, case.tensors())
    assert [tuple(result.shape) for result in results] == list(case.shapes)
    assert [id(variable) for variable in _variables(layer)] == [id(variable) for variable in variables]
    for result in results:
        assert not result.dtype.is_floating or np.isfinite(result).all()


def check_declared_shape(case: LayerCase) -> None:
    """`compute_output_shape` says what comes out, with open sizes as well."""
    layer = case.make()
    (only,) = case.inputs.values()

    def shape_of(value: np.ndarray, known: bool) -> tuple[int | None, ...]:
        return value.shape if known else (*[None] * (value.ndim - 1), value.shape[-1])

    for known in (True, False):
        given = (
            {key: shape_of(value, known) for key, value in only.items()}
            if isinstance(only, dict)
            else shape_of(only, known)
        )
        declared = layer.compute_output_shape(given)
        shapes = [declared] if isinstance(declared, tuple) else [declared[key] for key in sorted(declared)]
        for shape, actual in zip(shapes, case.shapes, strict=True):
            assert len(shape) == len(actual)
            assert all(size is None or size == real for size, real in zip(shape, actual, strict=True))
            assert shape[-1] == actual[-1] and (None not in shape or not known)


def check_graph(case: LayerCase) -> None:
    """Values and gradients in a graph of open sizes are those outside of one."""
    layer = case.make()
    inputs = case.tensors()
    weights = _weights_for(case)

    def values_and_gradients(inputs: dict[str, Any]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            results = case.run(layer, inputs)
            loss = _loss(results, weights)
        return results, tape.gradient(loss, _values(layer.trainable_variables)) if _trains(layer) else []

    def open_spec(value: tf.Tensor) -> tf.TensorSpec:
        kept = [] if value.dtype == tf.bool else [value.shape[-1]]  # of a mask of entries every axis is open
        return tf.TensorSpec([None] * (len(value.shape) - len(kept)) + kept, value.dtype)

    spec = tf.nest.map_structure(open_spec, inputs)
    expected, gradients = values_and_gradients(inputs)
    results, in_graph = tf.function(values_and_gradients, input_signature=[spec])(inputs)
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == value.dtype and result.shape == value.shape
        _assert_near(result, value)
    for gradient, value in zip(in_graph, gradients, strict=True):
        assert np.isfinite(value).all()
        _assert_near(gradient, value)


def check_step(case: LayerCase) -> None:
    """A step of gradient descent changes every weight that trains, and nothing else."""
    layer = case.make()
    inputs = case.tensors()
    trained = {id(variable) for variable in layer.trainable_variables}
    before = [variable.numpy() for variable in layer.variables]
    with tf.GradientTape() as tape:
        results = case.run(layer, inputs, training=True)
        loss = _loss(results, _weights_for(case))
    gradients = tape.gradient(loss, _values(layer.trainable_variables))
    for variable, gradient in zip(layer.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), variable.path
        variable.assign_sub(gradient / tf.reduce_max(tf.abs(gradient)))
    for variable, value in zip(layer.variables, before, strict=True):
        moves = variable.path.rsplit("/", 1)[-1] in case.moving and not case.is_frozen(variable.path)
        changes = id(variable) in trained or moves
        assert np.isfinite(variable).all(), variable.path
        assert changes != np.array_equal(variable, value), variable.path
    layer.trainable = False
    assert [v.path for v in layer.trainable_variables] == []


def check_half_precision(case: LayerCase, name: str) -> None:
    """Under a mixed policy weights stay float32, results have the compute dtype or are float32, and finite and near."""
    plain = case.make()
    with policy(name):
        layer = case.make()
    variables = _variables(layer)
    for variable, value in zip(variables, _variables(plain), strict=True):
        assert variable.dtype == "float32", variable.path
        variable.assign(value)
    compute = name.removeprefix("mixed_")
    for result, value in zip(case.run(layer, case.tensors(compute)), case.run(plain, case.tensors()), strict=True):
        if result.dtype.is_floating:
            assert result.dtype == ("float32" if case.float32 else compute)
            assert np.isfinite(tf.cast(result, tf.float32)).all()
        if not case.deep:
            _assert_near(result, value, name)


def check_empty(case: LayerCase) -> None:
    """Of nothing there is nothing, of the same shape otherwise."""
    layer, axis = case.make(), case.empty
    assert axis is not None

    def cut(value: tf.Tensor) -> tf.Tensor:
        return value[:, :0] if axis == 1 and len(value.shape) > 1 else value[:0]

    inputs = case.tensors()
    kept = {"features", "window"} if axis == 1 else set()
    nothing = {k: v if k in kept else tf.nest.map_structure(cut, v) for k, v in inputs.items()}
    for result, shape in zip(case.run(layer, nothing), case.shapes, strict=True):
        if shape[0] == tf.nest.flatten(inputs)[0].shape[0]:  # not of anchors, say, which no image makes
            assert tuple(result.shape) == (*shape[:axis], 0, *shape[axis + 1 :])


def check_saved(case: LayerCase, folder: Path) -> None:
    """A model of the layer, written and read by Keras, says the same; its config is the same."""
    layer = case.make()
    (only,) = case.tensors().values()

    def symbol_of(name: str, value: tf.Tensor) -> keras.KerasTensor:
        return keras.Input((*[None] * (len(value.shape) - 2), value.shape[-1]), name=name)

    symbolic = {k: symbol_of(k, v) for k, v in only.items()} if isinstance(only, dict) else symbol_of("x", only)
    model = keras.Model(symbolic, layer(symbolic))
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    model.save(folder / "layer.keras")
    again = keras.models.load_model(folder / "layer.keras")
    (theirs,) = (each for each in again._flatten_layers() if each.name == layer.name)
    assert theirs.get_config() == layer.get_config() == type(layer).from_config(layer.get_config()).get_config()
    for result, value in zip(tf.nest.flatten(again(only)), tf.nest.flatten(model(only)), strict=True):
        np.testing.assert_array_equal(result, value)


def _variables(layer: Any) -> list[Any]:
    return list(getattr(layer, "variables", []))


def _trains(layer: Any) -> bool:
    return bool(getattr(layer, "trainable_variables", []))


def _values(variables: list[Any]) -> list[Any]:
    return [variable.value for variable in variables]


def _weights_for(case: LayerCase) -> list[tf.Tensor]:
    """A random weight for every number the layer gives, so that no gradient is zero by chance."""
    rng = np.random.default_rng(2)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in case.shapes]


def _loss(results: list[tf.Tensor], weights: list[tf.Tensor]) -> tf.Tensor:
    terms = [
        tf.reduce_sum(tf.cast(result, tf.float32) * weight)
        for result, weight in zip(results, weights, strict=True)
        if result.dtype.is_floating
    ]
    return tf.add_n(terms)


def _assert_near(actual: Any, expected: tf.Tensor, dtype: str = "float32") -> None:
    """As near as the table of tolerances has it for a dtype, on the scale of the largest value."""
    tolerance, expected = tolerance_of(dtype), np.asarray(tf.cast(expected, tf.float32))
    scale = max(np.abs(expected).max(initial=0.0), 1.0)
    np.testing.assert_allclose(
        tf.cast(actual, tf.float32), expected, rtol=tolerance.relative, atol=tolerance.absolute * scale
    )
