from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mrcnn.weights import detectron, detectron2, matterport, torchvision
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import WeightsError
from tests.reference.state_dicts import Shape, detectron_shapes, golden_shapes, narrow

# BaseConfig as Detectron writes them: YAML whose tags name Python classes.
CFG = (
    "!!python/object/new:detectron.utils.collections.AttrDict\ndictitems:\n  RESNETS: {NUM_GROUPS: 1, STRIDE_1X1: %s}\n"
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "detectron R-50-FPN, 80 classes, box + mask"),
        ({"mask": False}, "detectron R-50-FPN, 80 classes, box"),
        ({"kind": "c4"}, "detectron R-50-C4, 80 classes, box + mask"),
        ({"group_norm": True}, "detectron R-50-FPN GN, 80 classes, box + mask"),
        (
            {"classes": 2, "keypoints": True, "mask": False},
            "detectron R-50-FPN, 1 class, box + 17 keypoints",
        ),
    ],
)
def test_every_blob_of_a_published_network_becomes_one_of_ours(arguments: dict, said: str) -> None:
    arrays = detectron_shapes(**arguments)
    assert detectron.matches(arrays)
    assert not any(other.matches(arrays) for other in (detectron2, torchvision, matterport))
    network = detectron.describe(arrays)
    assert str(network) == said
    ours = detectron.to_ours(arrays, network)
    assert ours.unused == ()
    used = {source for key in ours for source in ours.source_of(key)}
    assert set(arrays) - used <= {"kps_score_w", "kps_score_b"}  # the fixed kernel that enlarges the heat maps


@pytest.mark.parametrize(
    ("arguments", "twin"),
    [({}, "d2_mask_r50_fpn"), ({"kind": "c4"}, "d2_mask_r50_c4"), ({"group_norm": True}, "d2_mask_r50_fpn_gn")],
)
def test_the_same_variables_as_the_twin_in_detectron2(arguments: dict, twin: str) -> None:
    arrays, others = detectron_shapes(**arguments), golden_shapes(twin)
    ours = detectron.to_ours(arrays, detectron.describe(arrays))
    theirs = detectron2.to_ours(others, detectron2.describe(others))
    assert {name: ours[name].shape for name in ours} == {name: theirs[name].shape for name in theirs}


def test_scale_and_shift_without_statistics() -> None:
    arrays = narrow(detectron_shapes())
    network = detectron.describe(arrays)
    assert (network["backbone.norm"], network["backbone.epsilon"]) == ("frozen_bn", 1e-5)
    ours = detectron.to_ours(arrays, network)
    layer = "backbone/stage2_block1_shortcut/norm"
    assert ours.source_of(f"{layer}/gamma") == ("res2_0_branch1_bn_s",)
    gamma, beta, mean, variance = (
        np.asarray(ours[f"{layer}/{leaf}"], np.float64) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    x = np.float64(1.7)
    normed = gamma * (x - mean) / np.sqrt(variance + network["backbone.epsilon"]) + beta
    np.testing.assert_allclose(normed, arrays["res2_0_branch1_bn_s"] * x + arrays["res2_0_branch1_bn_b"], rtol=1e-6)


def test_the_config_in_the_file_say_where_the_stride_is() -> None:
    arrays = detectron_shapes()
    for cfg, expected in (("true", True), ("false", False)):
        network = detectron.describe(arrays, {"cfg": CFG % cfg})
        assert network["backbone.stride_in_1x1"] is expected
        assert not any("stride" in assumption for assumption in network.assumptions)
    assert detectron.describe(arrays)["backbone.stride_in_1x1"]
    assert not detectron.describe(detectron_shapes(group_norm=True))["backbone.stride_in_1x1"]


def test_momentum_and_leftovers_of_pre_training_are_not_mentioned() -> None:
    arrays = detectron_shapes() | {"conv1_w_momentum": Shape(64, 3, 7, 7), "conv1_b": Shape(64), "fc1000_w": Shape(1)}
    ours = detectron.to_ours(arrays, detectron.describe(arrays))
    assert ours.unused == ()
    assert "backbone/stem_conv1/bias" not in ours


def test_class_agnostic_boxes_have_a_background() -> None:
    arrays = detectron_shapes() | {"bbox_pred_w": Shape(8, 1024), "bbox_pred_b": Shape(8)}
    network = detectron.describe(arrays)
    assert network["box_head.class_agnostic"]
    assert detectron.to_ours(arrays, network)["box_head/deltas/kernel"].shape == (1024, 4)


def test_from_a_pickle_of_the_zoo(tmp_path: Path) -> None:
    blobs = narrow(detectron_shapes(kind="c4"))
    contents = {"blobs": blobs | {"bbox_pred_w_momentum": np.zeros(1, np.float32)}, "cfg": CFG % "true"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(contents, protocol=2))
    read = read_arrays(tmp_path / "model_final.pkl")
    network = detectron.describe(read.arrays, read.metadata, "model_final.pkl")
    assert (network["neck"], network["backbone.stride_in_1x1"]) == ("c4", True)
    ours = detectron.to_ours(read.arrays, network)
    np.testing.assert_array_equal(np.asarray(ours["box_head/class_logits/bias"]), blobs["cls_score_b"])
    conv = np.asarray(ours["roi_stage/block2_conv2/kernel"])
    np.testing.assert_array_equal(conv.transpose(3, 2, 0, 1), blobs["res5_1_branch2b_w"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [("retnet_cls_pred_fpn3_w", "RetinaNet"), ("_[mask]_res5_0_branch2a_w", "mask and keypoint heads with a res5")],
)
def test_networks_that_are_not_supported_are_named(extra: str, message: str) -> None:
    with pytest.raises(WeightsError, match=f"^file.pkl: {message}"):
        detectron.describe(detectron_shapes() | {extra: Shape(1)}, source="file.pkl")


def test_an_imagenet_file_is_refused() -> None:
    arrays = {name: array for name, array in detectron_shapes().items() if name.startswith(("conv1", "res"))}
    with pytest.raises(WeightsError, match="not a whole Mask, Faster or Keypoint R-CNN"):
        detectron.describe(arrays)
