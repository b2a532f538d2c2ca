"""RegNet against plain loops; the rule of its widths; its config; that it freezes, saves and trains."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.regnet import RegNetConfig

SMALL = RegNetConfig(
    depths=(1, 2, 1, 1), widths=(4, 6, 8, 12), group_widths=(2, 3, 4, 4), squeeze=0.5, stem_width=4, norm="none"
)


def conv(x, kernel, bias, stride, groups=1):
    """A convolution padded by half of its kernel, by definition."""
    k, out = kernel.shape[0], kernel.shape[-1]
    padded = np.pad(x, [(k // 2, k // 2), (k // 2, k // 2), (0, 0)])
    rows, columns = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    y = np.zeros((rows, columns, out))
    per_in, per_out = x.shape[-1] // groups, out // groups
    for i in range(rows):
        for j in range(columns):
            patch = padded[i * stride : i * stride + k, j * stride : j * stride + k]
            for g in range(groups):
                own = slice(g * per_out, (g + 1) * per_out)
                y[i, j, own] = np.tensordot(patch[..., g * per_in : (g + 1) * per_in], kernel[..., own], 3)
    return y + bias


def block(x, layers, stride, group):
    inner = layers["conv1"][0].shape[-1]
    y = np.maximum(conv(x, *layers["conv1"], 1), 0)
    y = np.maximum(conv(y, *layers["conv2"], stride, inner // group), 0)
    factors = np.maximum(conv(y.mean((0, 1), keepdims=True), *layers["squeeze"], 1), 0)
    y = y / (1 + np.exp(-conv(factors, *layers["excite"], 1)))
    y = conv(y, *layers["conv3"], 1)
    return np.maximum(y + (conv(x, *layers["shortcut"], stride) if "shortcut" in layers else x), 0)


def test_equals_plain_loops(rng):
    model = SMALL.build()
    layers = {}
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(rng.normal(0.1, 0.4, variable.shape))
        if layer.weights:
            layers[layer.name] = [np.asarray(variable, np.float64) for variable in layer.weights]
    image = rng.normal(0, 1, (32, 64, 3))
    ours = {name: np.asarray(x)[0] for name, x in model(image[None].astype(np.float32)).items()}
    x = np.maximum(conv(image, *layers["stem_conv"], 2), 0)
    for stage, depth in enumerate(SMALL.depths, start=2):
        for number in range(1, depth + 1):
            start = f"stage{stage}_block{number}_"
            own = {name.removeprefix(start): values for name, values in layers.items() if name.startswith(start)}
            assert ("shortcut" in own) == (number == 1)
            x = block(x, own, 2 if number == 1 else 1, SMALL.group_widths[stage - 2])
        assert ours[f"c{stage}"].shape == (32 // 2**stage, 64 // 2**stage, SMALL.widths[stage - 2])
        np.testing.assert_allclose(ours[f"c{stage}"], x, rtol=1e-3, atol=1e-3 * np.abs(x).max())


def test_the_rule_makes_the_published_networks():
    """Ref: pycls, configs/dds_baselines: depths and widths of tables 8 and 9 of the paper."""
    x = RegNetConfig.of_rule(23, 38.65, 96, 2.43, 40)
    assert x == RegNetConfig() and x.title == "RegNetX 4GF"
    y = RegNetConfig.of_rule(22, 31.41, 96, 2.24, 64, squeeze=0.25)
    assert (y.depths, y.widths, y.title) == ((2, 6, 12, 2), (128, 192, 512, 1088), "RegNetY 4GF")
    small = RegNetConfig.of_rule(13, 36.44, 24, 2.49, 8, squeeze=0.25)  # RegNetY-200MF
    assert (small.depths, small.widths) == ((1, 1, 4, 7), (24, 56, 152, 368))
    assert small.title == "RegNetY (1, 1, 4, 7) (24, 56, 152, 368)"
    with pytest.raises(ConfigError, match="makes 1 stages, expected 4"):
        RegNetConfig.of_rule(4, 0.0, 96, 2.0, 8)


def test_stages_freeze():
    model = RegNetConfig(
        depths=(1, 1, 1, 1), widths=(2, 2, 2, 2), group_widths=(1, 1, 1, 1), norm="bn", freeze_at=3
    ).build()
    trains = {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights}
    assert trains == {"stage4", "stage5"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": (1, 1)}, "depths"),
        ({"widths": (1, 1, 1, 10**6)}, "widths"),
        ({"group_widths": (40, 40, 40, 41)}, "group_widths: groups of 41 .* backbone.widths 1360"),
        ({"squeeze": 1.5}, "squeeze from 0 to 1"),
        ({"stem_width": 0}, "stem_width"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        RegNetConfig(**change)
