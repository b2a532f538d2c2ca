"""Names and sizes of MViTv2."""

from __future__ import annotations

import pytest

from mrcnn.weights import detectron2, mvit
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.report import WeightsError
from tests.reference.state_dicts import Shape, golden_shapes

NAME = "d2_mask_mvitv2_t_fpn"
BLOCKS = "backbone.bottom_up.blocks."


def test_sizes_are_read_off_names_and_shapes():
    arrays = golden_shapes(NAME)
    network = detectron2.describe(arrays)
    assert str(network) == "detectron2 MViTv2 T-FPN, 80 classes, box + mask"
    config = PROFILES["detectron2"].model_config(network.overrides)
    assert (config.backbone.depths, config.backbone.grid, config.backbone.window) == ((1, 2, 5, 2), 56, 56)
    assert (config.input.canvas, config.input.short_side, config.box_head.conv_norm) == ("divisor", 800, "none")
    assert not config.backbone.pixel_norm.bgr
    assert detectron2.to_ours(arrays, network).unused == ()


def deeper() -> dict:
    """Two blocks more in the third of the stages, narrower by half, heads of half the width."""
    arrays = {}
    for name, value in golden_shapes(NAME).items():
        shape = value.shape
        if name.startswith("backbone.bottom_up") or "lateral" in name:
            shape = tuple(side // 2 if side % 96 == 0 else side for side in shape)
        if ".attn.pool_" in name or ".attn.norm_" in name or ".rel_pos_" in name:
            shape = tuple(24 if side == 48 else side for side in shape)
        numbers = [None]
        if name.startswith(BLOCKS):
            number = int(name.removeprefix(BLOCKS).split(".")[0])
            numbers = [4, 5, 6] if number == 4 else [number + 2 * (number > 4)]
        for number in numbers:
            rest = name.removeprefix(BLOCKS).partition(".")[2]
            arrays[name if number is None else f"{BLOCKS}{number}.{rest}"] = Shape(*shape)
    return arrays


def test_other_sizes():
    arrays = deeper()
    network = detectron2.describe(arrays)
    backbone = PROFILES["detectron2"].model_config(network.overrides).backbone
    assert (backbone.depths, backbone.width, backbone.num_heads) == ((1, 2, 7, 2), 48, 2)
    assert detectron2.to_ours(arrays, network).unused == ()


def test_a_cascade_has_synchronized_batch_norm_in_its_heads_and_no_square():
    """Ref: detectron2, projects/MViTv2/configs/cascade_mask_rcnn_mvitv2_t_3x.py."""
    arrays = {k: v for k, v in golden_shapes(NAME).items() if not k.startswith("roi_heads.box")}
    arrays |= {k: v for k, v in golden_shapes("d2_cascade_r50_fpn").items() if k.startswith("roi_heads.box_predictor")}
    convs = [f"roi_heads.mask_head.mask_fcn{i}" for i in (1, 2, 3, 4)]
    for stage in range(3):
        head = f"roi_heads.box_head.{stage}"
        arrays |= {f"{head}.fc1.weight": Shape(1024, 256 * 49), f"{head}.fc1.bias": Shape(1024)}
        convs += [f"{head}.conv{i}" for i in (1, 2, 3, 4)]
    for conv in convs:
        arrays.pop(f"{conv}.bias", None)
        arrays[f"{conv}.weight"] = Shape(256, 256, 3, 3)
        arrays |= {f"{conv}.norm.{leaf}": Shape(256) for leaf in ("weight", "bias", "running_mean", "running_var")}
    network = detectron2.describe(arrays)
    assert detectron2.to_ours(arrays, network).unused == ()
    config = PROFILES["detectron2"].model_config(network.overrides)
    assert (config.box_head.num_stages, config.box_head.conv_norm, config.heads[0].conv_norm) == (
        3,
        "sync_bn",
        "sync_bn",
    )
    assert (config.input.canvas, config.neck.norm) == ("divisor", "none")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (f"{BLOCKS}0.attn.rel_pos_h", (110, 96), "an odd number"),
        (f"{BLOCKS}4.attn.pool_q.weight", (96, 1, 5, 5), "3x3 convolution"),
        ("backbone.bottom_up.patch_embed.proj.weight", (96, 3, 4, 4), "expected 7 x 7"),
        ("backbone.bottom_up.scale4_norm.weight", (192,), "twice those before"),
        ("backbone.bottom_up.pos_embed", (1, 3137, 96), "absolute positions"),
    ],
)
def test_shapes_that_contradict_each_other(name, shape, message):
    with pytest.raises(WeightsError, match=message):
        detectron2.describe(golden_shapes(NAME) | {name: Shape(*shape)})


def test_names_by_hand():
    names = ["blocks.0.norm1.bias", "blocks.1.proj.bias", "blocks.1.attn.norm_v.weight", "blocks.1.other.bias", "head"]
    assert [mvit.namer(names)(name) for name in names] == [
        "stage2_block1_norm1/beta",
        "stage3_block1_skip/bias",
        "stage3_block1_attention/values_depthwise/norm/gamma",
        None,
        None,
    ]
