"""Names of variables do not depend on what the process built before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn.modeling.variables import generated_names, named_variables, stable_names
from tests.modeling.unnamed import UnnamedModel, unnamed_backbone
from tests.tiny_model import tiny_model

ROOT = Path(__file__).parents[2]


def test_two_models_of_one_process_have_the_same_names() -> None:
    first, second = unnamed_backbone(), unnamed_backbone()
    assert [v.path for v in first.weights] != [v.path for v in second.weights]
    names = list(named_variables(first))
    assert names == list(named_variables(second))
    assert names[:4] == ["conv2d/kernel", "conv2d/bias", "layer_scale/variable", "layer_scale/variable_1"]


def test_a_fresh_process_has_the_same_names() -> None:
    keras.layers.Conv2D(3, 1), keras.Variable(1.0), unnamed_backbone()  # other things, before
    script = (
        "from tests.modeling.unnamed import *; from mrcnn.modeling.variables import named_variables;"
        "print('\\n'.join(named_variables(UnnamedModel())))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.split() == list(named_variables(UnnamedModel()))


def test_names_are_counted_in_each_component() -> None:
    names = list(named_variables(UnnamedModel()))
    assert "backbone/conv2d_1/kernel" in names and "other/conv2d_1/kernel" in names
    assert len(set(names)) == len(names) == 2 * len(unnamed_backbone().weights)


def test_names_that_were_given_stay() -> None:
    inputs = keras.Input((4,), name="in")
    layers = [keras.layers.Dense(4, name=name) for name in ("block_3", "block_7", "pointwise_2")]
    model = keras.Model(inputs, keras.Sequential(layers, name="body_9")(inputs))
    assert {name.split("/")[1] for name in named_variables(model)} == {"block_3", "block_7", "pointwise_2"}


def test_names_of_built_in_components_are_their_own() -> None:
    model = tiny_model()
    assert generated_names(model) == frozenset()
    assert "backbone/stem_conv1/kernel" in named_variables(model)


@pytest.mark.parametrize("start", [0, 5, 98])
def test_numbers_are_ordered_as_numbers(start: int) -> None:
    paths = [f"b/dense{f'_{i}' if i else ''}/kernel" for i in range(start, start + 12)]
    stable = stable_names(reversed(paths), frozenset({"dense"}))
    assert [stable[path] for path in paths] == ["b/dense/kernel", *(f"b/dense_{i}/kernel" for i in range(1, 12))]


def test_stable_names_are_stable() -> None:
    model = unnamed_backbone()
    names = list(named_variables(model))
    assert list(stable_names(names, generated_names(model)).values()) == names


def test_values_belong_to_their_names() -> None:
    model = unnamed_backbone()
    for number, variable in enumerate(model.weights):
        variable.assign(np.full(variable.shape, number))
    values = {name: float(np.ravel(variable)[0]) for name, variable in named_variables(model).items()}
    assert list(values.values()) == list(range(len(model.weights)))
