"""What presets say, read without KerasHub."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.keras_hub import KerasHubConfig
from mrcnn.modeling.backbones.keras_hub_preset import _pixels, _pixels_of_folder, as_json, has_objects


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ConfigError, match=r"pip install \"mrcnn-keras\[keras-hub\]\""):
        KerasHubConfig(preset="resnet_50_imagenet")


def test_arguments_are_kept_as_plain_json():
    text = as_json("ResNetBackbone", {"name": "x", "dtype": "float32", "image_shape": [None, None, 3], "depth": [1, 2]})
    assert json.loads(text) == {"class": "ResNetBackbone", "config": {"depth": [1, 2]}}
    nested = {"image_encoder": [{"class_name": "keras_hub>ViT", "config": {}}]}
    assert has_objects(nested) and not has_objects({"a": [1, {"b": (2,)}]})
    with pytest.raises(ConfigError, match="KerasHub's CLIPBackbone is made of other networks"):
        as_json("CLIPBackbone", nested)


def test_pixels_are_the_scale_and_offset_of_the_preset(tmp_path):
    """(pixel - mean) / std is pixel * scale + offset; one number is that of all channels."""
    norm = _pixels([0.5, 0.25, 0.125], [-1.0, 0.0, 1.0])
    assert norm.mean == (2.0, 0.0, -8.0) and norm.std == (2.0, 4.0, 8.0)
    np.testing.assert_allclose((np.float64([10, 20, 30]) - norm.mean) / norm.std, [4.0, 5.0, 4.75])
    assert _pixels(0.5, None).std == (2.0,) * 3 and _pixels(None, None) is None
    assert _pixels_of_folder(tmp_path) is None
    (tmp_path / "image_converter.json").write_text('{"config": {"scale": 0.5, "offset": -1}}')
    assert _pixels_of_folder(tmp_path).mean == (2.0,) * 3
    (tmp_path / "image_converter.json").write_text("{")
    with pytest.raises(ConfigError, match=r"image_converter\.json: not JSON"):
        _pixels_of_folder(tmp_path)
