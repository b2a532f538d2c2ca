"""ConvNeXt against plain loops; its config; that it freezes, saves and trains."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.convnext import ConvNeXtConfig, LayerScale
from mrcnn.modeling.drop_path import drop_paths

SMALL = ConvNeXtConfig(depths=(1, 1, 2, 1), widths=(2, 3, 4, 5), layer_scale=0.5)


def norm(x, gamma, beta):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-6) * gamma + beta


def patches(x, kernel, bias, side):
    """A convolution of side x side cells that do not overlap."""
    h, w = x.shape[0] // side, x.shape[1] // side
    cells = [[x[i * side : (i + 1) * side, j * side : (j + 1) * side] for j in range(w)] for i in range(h)]
    return np.array([[np.tensordot(cell, kernel, 3) for cell in row] for row in cells]) + bias


def block(x, weights):
    kernel, bias = weights["depthwise/kernel"], weights["depthwise/bias"]
    padded = np.pad(x, [(3, 3), (3, 3), (0, 0)])
    y = np.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[i, j] = (padded[i : i + 7, j : j + 7] * kernel[..., 0]).sum((0, 1)) + bias
    y = norm(y, weights["norm/gamma"], weights["norm/beta"])
    y = y @ weights["expand/kernel"] + weights["expand/bias"]
    y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
    y = y @ weights["project/kernel"] + weights["project/bias"]
    return x + y * weights["scale/gamma"]


def test_equals_plain_loops(rng):
    model = SMALL.build()
    values = {}
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(rng.normal(0.2, 0.5, variable.shape))
            values[f"{layer.name}/{variable.name}"] = np.asarray(variable, np.float64)
    image = rng.normal(0, 1, (32, 64, 3))
    ours = {name: np.asarray(x)[0] for name, x in model(image[None].astype(np.float32)).items()}

    def of(name):
        return {k.removeprefix(name): v for k, v in values.items() if k.startswith(name)}

    x = norm(patches(image, *of("stem_conv/").values(), 4), *of("stem_norm/").values())
    for stage, depth in enumerate(SMALL.depths, start=2):
        if stage > 2:
            x = norm(x, *of(f"stage{stage}_down_norm/").values())
            x = patches(x, *of(f"stage{stage}_down_conv/").values(), 2)
        for number in range(1, depth + 1):
            x = block(x, of(f"stage{stage}_block{number}_"))
        expected = norm(x, *of(f"stage{stage}_out_norm/").values())
        assert ours[f"c{stage}"].shape == (32 // 2**stage, 64 // 2**stage, SMALL.widths[stage - 2])
        np.testing.assert_allclose(ours[f"c{stage}"], expected, rtol=1e-3, atol=1e-3)


def test_rates_of_stochastic_depth_rise_from_block_to_block():
    model = dataclasses.replace(SMALL, drop_path=0.4).build()
    assert [layer.rate for layer in drop_paths(model)] == pytest.approx([0.1, 0.2, 0.3, 0.4])  # the first has 0: none
    names = [{v.path for v in dataclasses.replace(SMALL, drop_path=rate).build().variables} for rate in (0.0, 0.4)]
    assert names[0] == names[1]


def test_every_weight_has_the_rate_of_its_group():
    """Stem, first stage, second, third's groups of three blocks, fourth; the norms of the maps as the heads."""
    config = dataclasses.replace(SMALL, depths=(1, 1, 4, 1))
    rates = config.layer_rates(0.5)
    for name, power in {
        "stem_norm": 6,
        "stage2_block1_scale": 5,
        "stage3_down_conv": 4,
        "stage4_down_norm": 3,
        "stage4_block3_project": 3,
        "stage4_block4_project": 2,
        "stage5_down_conv": 1,
        "stage4_out_norm": 0,
    }.items():
        fits = [(len(start), rate) for start, rate in rates if f"backbone/{name}".startswith(start)]
        assert max(fits)[1] == 0.5**power, name


def test_stages_freeze():
    model = ConvNeXtConfig(depths=(1, 1, 1, 1), widths=(2, 2, 2, 2), freeze_at=3).build()
    trains = {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights}
    assert trains == {"stage4", "stage5"}


def test_layer_scale_survives_its_config():
    layer = LayerScale.from_config(LayerScale(0.25, name="s").get_config())
    np.testing.assert_array_equal(np.asarray(layer(np.ones((1, 3), np.float32))), np.full((1, 3), 0.25))
    assert layer.compute_output_shape((None, 3)) == (None, 3)


def test_titles_and_channels():
    assert ConvNeXtConfig().title == "ConvNeXt T"
    assert ConvNeXtConfig(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536)).title == "ConvNeXt L"
    assert SMALL.title == "ConvNeXt (1, 1, 2, 1) (2, 3, 4, 5)"
    assert SMALL.channels == {"c2": 2, "c3": 3, "c4": 4, "c5": 5}


@pytest.mark.parametrize(
    "change",
    [{"depths": (1, 1)}, {"widths": (1, 1, 1, 10**6)}, {"depths": (0, 1, 1, 1)}, {"norm": "bn"}, {"drop_path": 1.0}],
)
def test_impossible_configs_are_refused(change):
    with pytest.raises(ConfigError, match="backbone"):
        ConvNeXtConfig(**change)
