from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mrcnn.weights import matterport
from mrcnn.weights.network import Network
from mrcnn.weights.profiles import MATTERPORT
from mrcnn.weights.report import WeightsError

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "mp_mask_r50.npz"
RNG = np.random.default_rng(0)


def _state(num_classes: int = 81, **changes: tuple[int, ...] | None) -> dict[str, np.ndarray]:
    """All arrays of the reference's ResNet-50 network, without memory; changes by name with "__" for "/"."""
    shapes = {name: tuple(shape) for name, shape in json.loads(str(np.load(GOLDEN)["meta"]))["state"].items()}
    for name in ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"):
        for leaf in ("kernel", "bias"):
            *rest, last = shapes[f"{name}/{leaf}"]
            shapes[f"{name}/{leaf}"] = (*rest, last // 81 * num_classes)
    for name, shape in changes.items():
        shapes[name.replace("__", "/")] = shape
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items() if shape is not None}


def test_architecture_of_the_reference() -> None:
    arrays = _state()
    assert matterport.matches(arrays)
    result = matterport.describe(arrays)
    assert result.family == "matterport" and result.num_classes == 80
    model = MATTERPORT.model_config(result.overrides)
    backbone = model.backbone
    assert (backbone.depth, backbone.groups, backbone.width_per_group) == (50, 1, 64)
    assert (backbone.norm, backbone.epsilon, backbone.stride_in_1x1) == ("affine_bn", 1e-3, True)
    assert (result["neck"], result["neck.channels"]) == ("fpn", 256)
    assert model.rpn.objectness == "softmax"
    assert (result.anchors_per_cell, model.rpn.num_convs, result["rpn.channels"]) == (3, 1, 512)
    box = model.box_head
    assert (box.fc_dims, box.fc_norm, box.norm_epsilon) == ((1024, 1024), "affine_bn", 1e-3)
    assert (box.conv_dims, box.conv_norm, box.pool.size, box.class_agnostic) == ((), "none", 7, False)
    (mask,) = model.heads
    assert (mask.conv_dims, mask.conv_norm, mask.norm_epsilon) == ((256,) * 4, "affine_bn", 1e-3)
    assert (mask.deconv_dim, mask.class_agnostic) == (256, False)
    assert result.class_names[0] == "person" and result.category_ids[-1] == 90


def test_own_classes_and_deeper_backbones() -> None:
    arrays = _state(num_classes=2)
    for block in "ghijklmnopqrstuvw":
        for name in [name for name in arrays if "4b_branch" in name]:
            arrays[name.replace("4b_branch", f"4{block}_branch")] = arrays[name]
    result = matterport.describe(arrays)
    assert result.num_classes == 1 and result.class_names is None and result["backbone.depth"] == 101


def test_every_array_is_used_and_shapes_are_ours() -> None:
    arrays = _state()
    arrays["anchors/Variable"] = np.zeros((2, 4), np.float32)
    ours = matterport.to_ours(arrays, matterport.describe(arrays))
    assert not ours.unused
    for name, shape in {
        "backbone/stem_conv1/kernel": (7, 7, 3, 64),
        "backbone/stem_conv1/norm/moving_mean": (64,),
        "backbone/stage4_block6_conv3/kernel": (1, 1, 256, 1024),
        "backbone/stage5_block1_shortcut/norm/gamma": (2048,),
        "fpn/lateral5/bias": (256,),
        "fpn/output2/kernel": (3, 3, 256, 256),
        "rpn/conv/kernel": (3, 3, 256, 512),
        "rpn/objectness/kernel": (1, 1, 512, 6),
        "rpn/objectness/bias": (6,),
        "rpn/deltas/kernel": (1, 1, 512, 12),
        "box_head/fc1/kernel": (7 * 7 * 256, 1024),
        "box_head/fc2_norm/moving_variance": (1024,),
        "box_head/class_logits/kernel": (1024, 81),
        "box_head/deltas/kernel": (1024, 4 * 80),
        "box_head/deltas/bias": (4 * 80,),
        "mask_head/convs/conv4/norm/beta": (256,),
        "mask_head/deconv/kernel": (2, 2, 256, 256),
        "mask_head/mask_logits/kernel": (1, 1, 256, 80),
        "mask_head/mask_logits/bias": (80,),
    }.items():
        assert ours[name].shape == shape, name
    assert "backbone/stem_conv1/bias" not in ours and "box_head/fc1/bias" not in ours
    assert ours.source_of("box_head/fc1_norm/moving_mean") == ("mrcnn_class_bn1/moving_mean",)
    assert ours.source_of("box_head/fc1_norm/bias") == ("mrcnn_class_conv1/bias",)
    ours = matterport.to_ours(arrays, _plain(arrays))
    assert not ours.unused and ours["rpn/objectness/kernel"].shape == (1, 1, 512, 3)
    assert ours.source_of("box_head/fc1_norm/moving_mean") == (
        "mrcnn_class_bn1/moving_mean",
        "mrcnn_class_conv1/bias",
    )


def _plain(arrays: dict[str, np.ndarray]) -> Network:
    """The network of a model with frozen norms and one objectness logit, as the paper's recipes have them."""
    model = {"rpn/objectness/bias": np.zeros(3), "backbone/stem_conv1/norm/gamma": np.zeros(64)}
    return matterport.fitted(matterport.describe(arrays), model)


def _drawn(**values: np.ndarray) -> dict[str, np.ndarray]:
    return {**_state(), **{name.replace("__", "/"): value for name, value in values.items()}}


def test_bias_before_a_norm_moves_into_its_mean() -> None:
    bias, mean = np.arange(64, dtype=np.float32), np.full(64, 10, np.float32)
    arrays = _drawn(conv1__bias=bias, bn_conv1__moving_mean=mean)
    ours = matterport.to_ours(arrays, _plain(arrays))
    np.testing.assert_array_equal(ours["backbone/stem_conv1/norm/moving_mean"], mean - bias)
    del arrays["conv1/bias"]
    ours = matterport.to_ours(arrays, _plain(arrays))
    np.testing.assert_array_equal(ours["backbone/stem_conv1/norm/moving_mean"], mean)


def test_bias_before_a_norm_that_trains_stays_a_parameter() -> None:
    bias, mean = np.arange(64, dtype=np.float32), np.full(64, 10, np.float32)
    arrays = _drawn(conv1__bias=bias, bn_conv1__moving_mean=mean)
    ours = matterport.to_ours(arrays, matterport.describe(arrays))
    np.testing.assert_array_equal(ours["backbone/stem_conv1/norm/moving_mean"], mean)
    np.testing.assert_array_equal(ours["backbone/stem_conv1/norm/bias"], bias)
    del arrays["conv1/bias"]
    ours = matterport.to_ours(arrays, matterport.describe(arrays))
    np.testing.assert_array_equal(ours["backbone/stem_conv1/norm/bias"], np.zeros(64))


def test_fitted_keeps_what_the_model_has() -> None:
    result = matterport.describe(_state())
    same = {"rpn/objectness/bias": np.zeros(6), "backbone/stem_conv1/norm/bias": np.zeros(64)}
    assert matterport.fitted(result, same) == result
    plain = _plain(_state())
    assert (plain["backbone.norm"], plain["rpn.objectness"]) == ("frozen_bn", "sigmoid")


def test_two_scores_per_anchor_become_one_logit_of_the_same_probability() -> None:
    bias = RNG.normal(size=6).astype(np.float32)
    arrays = _drawn(rpn_class_raw__bias=bias)
    logits = np.asarray(matterport.to_ours(arrays, _plain(arrays))["rpn/objectness/bias"])
    exponentials = np.exp(bias.reshape(3, 2).astype(np.float64))
    softmax = exponentials[:, 1] / exponentials.sum(1)  # background first
    np.testing.assert_allclose(1 / (1 + np.exp(-logits.astype(np.float64))), softmax, rtol=1e-6)
    np.testing.assert_array_equal(matterport.to_ours(arrays, matterport.describe(arrays))["rpn/objectness/bias"], bias)


def test_box_values_lose_the_background_and_group_by_coordinate() -> None:
    bias = np.arange(4 * 81, dtype=np.float32)  # class c has 4c (dy), 4c + 1 (dx), 4c + 2 (dh), 4c + 3 (dw)
    arrays = _drawn(mrcnn_bbox_fc__bias=bias)
    ours = np.asarray(matterport.to_ours(arrays, matterport.describe(arrays))["box_head/deltas/bias"])
    for k in range(4):
        np.testing.assert_array_equal(ours[80 * k : 80 * (k + 1)], 4 * np.arange(1, 81) + k)


def test_masks_lose_the_background() -> None:
    arrays = _drawn(mrcnn_mask__bias=np.arange(81, dtype=np.float32))
    ours = matterport.to_ours(arrays, matterport.describe(arrays))["mask_head/mask_logits/bias"]
    np.testing.assert_array_equal(ours, np.arange(1, 81))


def test_convolution_over_the_roi_as_a_dense_layer() -> None:
    kernel = RNG.normal(size=(7, 7, 256, 4)).astype(np.float32)
    roi = RNG.normal(size=(7, 7, 256)).astype(np.float32)
    ours = matterport.to_ours({"mrcnn_class_conv1/kernel": kernel}, matterport.describe(_state()))[
        "box_head/fc1/kernel"
    ]
    expected = np.einsum("yxi,yxio->o", roi, kernel)
    np.testing.assert_allclose(roi.reshape(-1) @ np.asarray(ours), expected, rtol=1e-4, atol=1e-4)


def test_a_network_without_masks() -> None:
    arrays = {name: value for name, value in _state().items() if not name.startswith("mrcnn_mask")}
    assert not matterport.describe(arrays).has_head("mask_head")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rpn_conv_shared__kernel": None}, r"1 arrays are missing: rpn_conv_shared/kernel"),
        ({"bn4c_branch2b__gamma": None}, r"missing: bn4c_branch2b/gamma"),
        (
            {"mrcnn_class_logits__kernel": (81, 1024)},
            r"mrcnn_class_logits/kernel is \[81, 1024\], expected \[1024, any\]",
        ),
        ({"mrcnn_bbox_fc__kernel": (1024, 320)}, r"mrcnn_bbox_fc/kernel is \[1024, 320\], expected \[1024, 324\]"),
        ({"mrcnn_mask__kernel": (1, 1, 256, 80)}, r"mrcnn_mask/kernel is .*expected \[1, 1, 256, 81\]"),
        ({"rpn_class_raw__kernel": (1, 1, 512, 3)}, r"rpn_class_raw/kernel is"),
        (
            {"res6a_branch2a__kernel": (1,), "res5d_branch2a__kernel": (1, 1, 2048, 512)},
            r"stages of \[3, 4, 6, 4\] blocks",
        ),
    ],
)
def test_incomplete_and_contradictory_files(changes: dict, message: str) -> None:
    with pytest.raises(WeightsError, match=rf"coco\.h5: .*{message}"):
        matterport.describe(_state(**changes), source="coco.h5")


def test_imagenet_weights_are_not_taken_for_a_detector() -> None:
    assert not matterport.matches({"conv1/kernel": 0, "res2a_branch2a/kernel": 0})
