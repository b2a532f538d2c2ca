from __future__ import annotations

import contextlib

import keras
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.modeling import precision
from mrcnn.modeling.folding import fold_batch_norm
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.precision import in_precision, is_unchecked, precision_of, set_precision
from tests.golden.case import input_batch
from tests.tiny_model import noise_images, tiny_model


def outputs(model):
    batch = input_batch(noise_images(1)[0], model.config.input)
    return {name: np.asarray(value) for name, value in model(batch, training=False).items()}


def test_a_model_that_changes_is_the_one_built_in_that_precision():
    model = tiny_model()
    before = outputs(model)
    set_precision(model, "bfloat16")
    assert precision_of(model) == "bfloat16"
    assert {variable.dtype for variable in model.variables} == {"float32"}
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        built = MaskRCNN(model.config, model.class_names, model.category_ids)
    finally:
        keras.config.set_dtype_policy(policy)
    built.set_weights(model.get_weights())
    changed, expected = outputs(model), outputs(built)
    for name in expected:
        np.testing.assert_array_equal(changed[name], expected[name], err_msg=name)
    assert not np.array_equal(changed["scores"], before["scores"])
    assert changed["scores"].dtype == changed["boxes"].dtype == np.float32
    set_precision(model, "float32")
    for name, value in outputs(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_for_a_while_and_what_is_no_keras_model():
    model = tiny_model()
    with contextlib.suppress(RuntimeError), in_precision(model, "float16"):
        assert precision_of(model) == "float16"
        raise RuntimeError
    assert precision_of(model) == "float32"
    with in_precision(object(), "bfloat16"):
        assert precision_of(object()) == "float32"


def test_auto_takes_what_the_machine_is_fast_at(monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(precision, "bfloat16_instructions", lambda: "")
    set_precision(model, "auto")
    assert (precision_of(model), is_unchecked(model)) == ("float32", False)
    monkeypatch.setattr(precision, "bfloat16_instructions", lambda: "avx512_bf16")
    set_precision(model, "auto")
    assert (precision_of(model), is_unchecked(model)) == ("bfloat16", True)
    folded = fold_batch_norm(model)
    assert (precision_of(folded), is_unchecked(folded)) == ("bfloat16", True)
    set_precision(model, "bfloat16")
    assert not is_unchecked(model)


def test_another_precision_is_refused():
    with pytest.raises(InputError, match="precision: expected one of auto, float32, bfloat16, float16, got 'int8'"):
        set_precision(tiny_model(), "int8")  # type: ignore[arg-type]
