import dataclasses
import sys

import keras
import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.function import CallableConfig
from tests.modeling import backbone_functions as functions
from tests.modeling.backbone_model import READ, after_a_step, check_fresh_process

NAME = "tests.modeling.backbone_functions:plain"


def test_feature_maps_are_found_by_their_strides():
    config = CallableConfig(NAME)
    assert config.channels == {"c2": 8, "c3": 12, "c4": 16, "c5": 20}
    assert config.strides == {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
    assert config.title == "plain"
    features = config.build()(np.zeros((2, 64, 96, 3), np.float32))
    assert {level: tuple(value.shape) for level, value in features.items()} == {
        "c2": (2, 16, 24, 8),
        "c3": (2, 8, 12, 12),
        "c4": (2, 4, 6, 16),
        "c5": (2, 2, 3, 20),
    }


def test_features_are_those_of_the_functions_own_layers(rng):
    config = CallableConfig(functions.plain, norm="bn")
    backbone = config.build()
    image = keras.Input((None, None, 3))
    own = keras.Model(image, functions.plain(image)[1:])
    values = [rng.uniform(0.2, 1.0, weight.shape) for weight in own.weights]
    own.set_weights(values)
    backbone.set_weights(values)
    pixels = rng.normal(size=(1, 64, 64, 3)).astype(np.float32)
    for ours, theirs in zip(backbone(pixels).values(), own(pixels, training=False), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_stages_are_what_each_map_needs_besides_those_before():
    config = CallableConfig(NAME)
    stages = {layer.name: config.stage_of(layer.name) for layer in config.build().layers if layer.weights}
    assert list(stages.values()) == [1, 1, 2, 3, 4, 5]
    assert stages["stem"] == 1 and config.stage_of("nothing") is None


def test_norms_are_what_the_config_says():
    kinds = {
        norm: type(CallableConfig(NAME, norm=norm).build().get_layer("stem_norm")).__name__ for norm in ("gn", "bn")
    }
    assert kinds == {"gn": "GroupNorm", "bn": "BatchNorm"}
    assert type(CallableConfig(NAME, norm="none").build().get_layer("stem_norm")) is keras.layers.BatchNormalization
    assert not CallableConfig(NAME).build().get_layer("stem_norm").trainable_weights


def test_stages_that_are_left_out_are_none_as_in_matterports_resnet_graph():
    def without_a_stem(image):
        return [None, *functions.plain(image)[1:], None]

    assert CallableConfig(without_a_stem).channels == CallableConfig(NAME).channels


def test_functions_for_matterport_are_given_what_they_ask_for():
    functions.ASKED.clear()
    CallableConfig(functions.as_matterport, norm="bn").build()
    CallableConfig(functions.as_matterport).build()
    assert functions.ASKED == [(True, True), (True, False)]
    functions.ASKED.clear()
    CallableConfig(functions.with_anything, norm="none").build()
    assert functions.ASKED == [{"stage5": True, "train_bn": False}]


def test_a_config_is_plain_data_and_a_function_its_name():
    config = CallableConfig(NAME, freeze_at=2)
    assert config == CallableConfig(functions.plain, freeze_at=2)
    assert config.to_dict()["function"] == NAME and config.to_dict()["kind"] == "CallableConfig"
    assert BackboneConfig.from_dict(config.to_dict()) == config
    assert dataclasses.replace(config, norm="bn").function == NAME

    def inner(image):
        return functions.plain(image)

    assert list(CallableConfig(inner).channels) == ["c2", "c3", "c4", "c5"]


@pytest.mark.parametrize(
    "name, what",
    [
        ("no_stride_4", "expected feature maps of strides 4, 8, 16 and 32; its maps have the strides 8, 16, 32"),
        ("nothing", "its maps have no strides, for there are none"),
        ("a_vector", r"expected feature maps \[B, H, W, channels\], of rank 4 .*got one of rank 2, \[None, 20\]"),
        ("a_number", "expected a list or a dict of feature maps, got one int"),
        ("an_array", "expected Keras tensors computed of the image, got one of type ndarray"),
        ("breaks", "the function raised ValueError: no network today"),
        ("other_strides", "its maps have the strides 2, 4x8, 6.024"),
    ],
)
def test_what_is_no_backbone_is_refused_in_one_sentence(name, what):
    with pytest.raises(ConfigError, match=what) as error:
        CallableConfig(f"tests.modeling.backbone_functions:{name}").build()
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_file_makes_no_module_be_imported_and_calls_no_function_of_others(tmp_path, monkeypatch):
    (tmp_path / "not_imported.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name, what in (
        ("not_imported:build", "'not_imported' is not imported, .*mrcnn --import not_imported"),
        ("os:abort", "expected a function of a module of yours, not of os"),
        ("subprocess:run", "not of subprocess"),
        ("mrcnn.files:atomic_write", "not of mrcnn"),
        ("tests.modeling.backbone_functions:keras", "has no backbone of this name"),
        ("tests.modeling.backbone_functions:tiny_model", "has no backbone of this name"),  # imported from elsewhere
        ("tests.modeling.backbone_functions:_hidden", "has no backbone of this name"),
        ("plain", "expected \"package.module:function\", got 'plain'"),
        ("", "expected \"package.module:function\", got ''"),
    ):
        with pytest.raises(ConfigError, match=what):
            BackboneConfig.from_dict({"kind": "CallableConfig", "function": name})
    assert "not_imported" not in sys.modules


_IMPORT = """
import sys
import mrcnn
try:
    mrcnn.load_model(sys.argv[1])
    raise SystemExit("loaded though its module is not imported")
except mrcnn.MrcnnError as error:
    assert "tests.modeling.backbone_functions" in str(error), error
import tests.modeling.backbone_functions
"""


@pytest.mark.slow
def test_a_step_trains_what_is_not_frozen_and_a_fresh_process_loads_it(tmp_path):
    model, changed, stages = after_a_step(CallableConfig(NAME, norm="bn", freeze_at=3))
    assert {path for path in changed if path in stages} == {path for path, stage in stages.items() if stage >= 4}
    check_fresh_process(model, tmp_path, _IMPORT + READ)
