"""RegNets of other sizes than the published ones: everything about them follows from names and shapes."""

from __future__ import annotations

import pytest

from mrcnn.modeling.backbones.regnet import RegNetConfig
from mrcnn.weights import detectron2, regnet
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.report import WeightsError, named_variables
from tests.reference.state_dicts import Shape, golden_shapes

NAME = "d2_mask_regnetx_4gf_fpn_lsj"
NORM = ("weight", "bias", "running_mean", "running_var")


def state(config: RegNetConfig, live: bool = True) -> dict[str, Shape]:
    """The state dict of a detector with this backbone, as detectron2 has it."""
    start = "backbone.bottom_up."
    arrays = {name: shape for name, shape in golden_shapes(NAME).items() if not name.startswith(start)}
    for level, width in zip("2345", config.widths, strict=True):
        arrays[f"backbone.fpn_lateral{level}.weight"] = Shape(256, width, 1, 1)
    if not live:
        arrays = {
            name: shape for name, shape in arrays.items() if not name.startswith("backbone.fpn") or "norm" not in name
        }
    own = {"stem.conv.weight": Shape(config.stem_width, 3, 3, 3)} | norm("stem.bn", config.stem_width)
    before = config.stem_width
    for stage, (depth, width, group) in enumerate(
        zip(config.depths, config.widths, config.group_widths, strict=True), 1
    ):
        inner = round(width * config.bottleneck)
        for number in range(1, depth + 1):
            block = f"s{stage}.b{number}"
            if number == 1:
                own |= {f"{block}.proj.weight": Shape(width, before, 1, 1)} | norm(f"{block}.bn", width)
            own |= {f"{block}.f.a.weight": Shape(inner, before, 1, 1)} | norm(f"{block}.f.a_bn", inner)
            own |= {f"{block}.f.b.weight": Shape(inner, group, 3, 3)} | norm(f"{block}.f.b_bn", inner)
            own |= {f"{block}.f.c.weight": Shape(width, inner, 1, 1)} | norm(f"{block}.f.c_bn", width)
            if config.squeeze:
                squeezed = round(before * config.squeeze)
                own |= {f"{block}.f.se.f_ex.0.weight": Shape(squeezed, inner, 1, 1)}
                own |= {f"{block}.f.se.f_ex.0.bias": Shape(squeezed), f"{block}.f.se.f_ex.2.bias": Shape(inner)}
                own |= {f"{block}.f.se.f_ex.2.weight": Shape(inner, squeezed, 1, 1)}
            before = width
    return arrays | {f"{start}{name}": shape for name, shape in own.items()}


def norm(module: str, width: int) -> dict[str, Shape]:
    return {f"{module}.{leaf}": Shape(width) for leaf in NORM}


@pytest.mark.parametrize(
    "config",
    [
        RegNetConfig.of_rule(22, 31.41, 96, 2.24, 64, squeeze=0.25),
        RegNetConfig((1, 2, 1, 1), (12, 24, 36, 40), (3, 6, 9, 10), bottleneck=0.5, squeeze=0.1, stem_width=20),
        RegNetConfig((1, 1, 1, 1), (8, 8, 16, 16), (4, 4, 4, 4), bottleneck=2.0, stem_width=8),
    ],
)
def test_sizes_follow_from_the_shapes(config):
    arrays = state(config)
    network = detectron2.describe(arrays)
    built = PROFILES[network.family].model_config(network.overrides).backbone
    fields = ("depths", "widths", "group_widths", "bottleneck", "squeeze", "stem_width")
    assert [getattr(built, name) for name in fields] == [getattr(config, name) for name in fields]
    assert (built.norm, built.freeze_at, built.pixel_norm.bgr) == ("sync_bn", 0, True)
    ours = detectron2.to_ours(arrays, network)
    assert ours.unused == ()
    if max(config.widths) < 100:
        model = built.build()
        assert {f"backbone/{name}" for name in named_variables(model)} <= set(ours)
        for name, variable in named_variables(model).items():
            assert ours[f"backbone/{name}"].shape == tuple(variable.shape)


def test_a_frozen_backbone_freezes_its_stem_and_first_stage():
    network = detectron2.describe(state(RegNetConfig(), live=False))
    assert (network["backbone.norm"], network["backbone.freeze_at"]) == ("frozen_bn", 2)
    assert any("RegNet models" in assumption for assumption in network.assumptions)


def test_a_name_of_no_layer_is_none_of_ours():
    assert regnet.our_name("s1.b1.f.d.weight") is None and regnet.our_name("head.fc.weight") is None


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("stem.conv.weight", (32, 3, 7, 7), "expected a 3x3"),
        ("s4.b1.f.a.weight", (1000, 560, 1, 1), "expected one ratio"),
    ],
)
def test_other_networks_are_refused(name, shape, message):
    with pytest.raises(WeightsError, match=message):
        detectron2.describe(state(RegNetConfig()) | {f"backbone.bottom_up.{name}": Shape(*shape)})


def test_squeezes_of_several_parts_are_refused():
    arrays = state(RegNetConfig(squeeze=0.25)) | {"backbone.bottom_up.s2.b3.f.se.f_ex.0.weight": Shape(7, 240, 1, 1)}
    with pytest.raises(WeightsError, match="parts of their channels that differ"):
        detectron2.describe(arrays)
