from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mrcnn.weights import detectron, detectron2, matterport, torchvision
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.profiles import TORCHVISION
from mrcnn.weights.report import WeightsError
from tests.reference.containers import write_torch_legacy, write_torch_zip
from tests.reference.state_dicts import Shape, golden_shapes, narrow

GOLDENS = {
    "tv_mask_r50_fpn": "torchvision R-50-FPN, 90 classes, box + mask",
    "tv_box_r50_fpn": "torchvision R-50-FPN, 90 classes, box",
    "tv_box_mobilenet_v3_large_fpn": "torchvision MobileNetV3-Large-FPN, 90 classes, box",
    "tv_keypoint_r50_fpn": "torchvision R-50-FPN, 1 class, box + 17 keypoints",
    "tv_mask_r50_fpn_v2": "torchvision_v2 R-50-FPN BN, 90 classes, box + mask",
}


def old_names(arrays: dict) -> dict:
    """The names of files from before torchvision 0.14, the published COCO_V1 weights among them."""
    renamed = {}
    for name, array in arrays.items():
        new = re.sub(r"(inner_blocks|layer_blocks)\.(\d)\.0\.", r"\1.\2.", name)
        new = new.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        new = re.sub(r"roi_heads\.mask_head\.(\d)\.0\.", lambda m: f"roi_heads.mask_head.mask_fcn{int(m[1]) + 1}.", new)
        renamed[new] = array
    return renamed


@pytest.mark.parametrize("name", GOLDENS)
def test_every_array_of_a_published_network_becomes_one_of_ours(name: str) -> None:
    arrays = golden_shapes(name)
    assert torchvision.matches(arrays)
    assert not any(other.matches(arrays) for other in (detectron2, detectron, matterport))
    network = torchvision.describe(arrays)
    assert str(network) == GOLDENS[name]
    ours = torchvision.to_ours(arrays, network)
    assert ours.unused == ()
    assert sorted(source for key in ours for source in ours.source_of(key)) == sorted(arrays)


@pytest.mark.parametrize("name", ["tv_mask_r50_fpn", "tv_keypoint_r50_fpn"])
def test_old_and_new_names_mean_the_same(name: str) -> None:
    new = golden_shapes(name)
    old = old_names(new)
    assert set(old) != set(new)
    assert torchvision.describe(old) == torchvision.describe(new)
    theirs = torchvision.to_ours(old, torchvision.describe(old))
    assert theirs.unused == ()
    assert set(theirs) == set(torchvision.to_ours(new, torchvision.describe(new)))


def test_mobilenet_of_both_sizes() -> None:
    arrays = golden_shapes("tv_box_mobilenet_v3_large_fpn")
    large, small = (
        TORCHVISION.model_config(torchvision.describe(arrays, None, source).overrides)
        for source in ("models/fasterrcnn_mobilenet_v3_large_fpn.pth", "x/fasterrcnn_mobilenet_v3_large_320_fpn.pth")
    )
    assert (large.input.short_side, large.input.long_side, large.rpn.post_nms_test) == (800, 1333, 1000)
    assert (small.input.short_side, small.input.long_side) == (320, 640)
    assert (small.rpn.pre_nms_test, small.rpn.post_nms_test) == (150, 150)
    for config in (large, small):
        assert (config.rpn.score_threshold, config.rpn.levels) == (0.05, ("p5", "p6", "p7"))
        assert config.rpn.anchors.sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),) * 3
        assert config.box_head.pool.levels == ("p5",)
        assert (config.backbone.norm, config.backbone.epsilon, config.backbone.freeze_at) == ("frozen_bn", 1e-5, 3)


def test_old_names_of_a_mobilenet_mean_the_same() -> None:
    new = golden_shapes("tv_box_mobilenet_v3_large_fpn")
    network = torchvision.describe(old_names(new))
    assert network == torchvision.describe(new)
    assert torchvision.to_ours(old_names(new), network).unused == ()


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("backbone.body.15.block.3.0.weight", (96, 960, 1, 1), "expected 160 .MobileNetV3-Large"),
        ("rpn.head.cls_logits.weight", (3, 256, 1, 1), "for each of 3 anchors"),
    ],
)
def test_other_mobilenets_are_refused(name: str, shape: tuple[int, ...], expected: str) -> None:
    arrays = golden_shapes("tv_box_mobilenet_v3_large_fpn") | {name: Shape(*shape)}
    with pytest.raises(WeightsError, match=expected):
        torchvision.describe(arrays)


def test_version_1() -> None:
    network = torchvision.describe(golden_shapes("tv_mask_r50_fpn"))
    assert (network["backbone.norm"], network["backbone.epsilon"]) == ("frozen_bn", 0.0)
    assert not network["backbone.stride_in_1x1"]
    assert (network["rpn.num_convs"], network["neck.norm"]) == (1, "none")
    assert (network["box_head.conv_dims"], network["box_head.fc_dims"]) == ((), (1024, 1024))
    assert len(network.class_names) == 90
    assert network.class_names.count("N/A") == 10
    assert network.class_names[89] == "toothbrush"
    assert network.category_ids == tuple(range(1, 91))


def test_version_2() -> None:
    arrays = golden_shapes("tv_mask_r50_fpn_v2")
    network = torchvision.describe(arrays)
    assert (network["backbone.norm"], network["backbone.epsilon"]) == ("bn", 1e-5)
    assert (network["neck.norm"], network["box_head.conv_norm"], network["mask_head.conv_norm"]) == ("bn", "bn", "bn")
    assert network["rpn.num_convs"] == 2
    assert (network["box_head.conv_dims"], network["box_head.fc_dims"]) == ((256,) * 4, (1024,))
    ours = torchvision.to_ours(arrays, network)
    assert ours.source_of("box_head/fc1/kernel") == ("roi_heads.box_head.5.weight",)
    assert ours.source_of("rpn/conv2/bias") == ("rpn.head.conv.1.0.bias",)
    assert ours.source_of("fpn/lateral3/norm/gamma") == ("backbone.fpn.inner_blocks.1.1.weight",)
    assert "fpn/lateral3/bias" not in ours


def test_names_back_to_the_file() -> None:
    arrays = golden_shapes("tv_mask_r50_fpn")
    ours = torchvision.to_ours(arrays, torchvision.describe(arrays))
    assert ours.source_of("backbone/stage3_block1_shortcut/norm/beta") == ("backbone.body.layer2.0.downsample.1.bias",)
    assert ours.source_of("mask_head/convs/conv4/kernel") == ("roi_heads.mask_head.3.0.weight",)


def test_keypoint_convolutions_are_every_second_module() -> None:
    arrays = golden_shapes("tv_keypoint_r50_fpn")
    ours = torchvision.to_ours(arrays, torchvision.describe(arrays))
    assert ours.source_of("keypoint_head/convs/conv8/kernel") == ("roi_heads.keypoint_head.14.weight",)
    assert ours["keypoint_head/deconv/kernel"].shape == (4, 4, 17, 512)


def test_a_file_that_counts_batches_has_live_norms() -> None:
    arrays = golden_shapes("tv_mask_r50_fpn") | {"backbone.body.bn1.num_batches_tracked": Shape()}
    network = torchvision.describe(arrays)
    assert (network.family, network["backbone.norm"], network["backbone.epsilon"]) == ("torchvision", "bn", 1e-5)
    assert torchvision.to_ours(arrays, network).unused == ()


@pytest.mark.parametrize("write", [write_torch_zip, write_torch_legacy])
def test_from_the_containers_of_torch(tmp_path: Path, write) -> None:
    state = old_names(narrow(golden_shapes("tv_mask_r50_fpn")))
    write(tmp_path / "maskrcnn.pth", state)
    contents = read_arrays(tmp_path / "maskrcnn.pth")
    network = torchvision.describe(contents.arrays, contents.metadata, "maskrcnn.pth")
    ours = torchvision.to_ours(contents.arrays, network)
    assert len(ours) == len(state)
    deltas = state["roi_heads.box_predictor.bbox_pred.bias"].reshape(91, 4)  # x y w h; background first
    result = np.asarray(ours["box_head/deltas/bias"]).reshape(4, 90)
    np.testing.assert_array_equal(result, deltas[1:, [1, 0, 3, 2]].T)
    masks = state["roi_heads.mask_predictor.mask_fcn_logits.bias"]
    np.testing.assert_array_equal(np.asarray(ours["mask_head/mask_logits/bias"]), masks[1:])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("head.classification_head.cls_logits.weight", "RetinaNet, FCOS and SSD"),
        ("backbone.body.0.0.weight", "only ResNet"),
        ("backbone.fpn.extra_blocks.p6.weight", "further convolutions"),
    ],
)
def test_networks_that_are_not_supported_are_named(extra: str, message: str) -> None:
    arrays = golden_shapes("tv_box_r50_fpn") | {extra: Shape(1)}
    with pytest.raises(WeightsError, match=f"^file.pth: .*{message}.*{extra}"):
        torchvision.describe(arrays, source="file.pth")


def test_a_damaged_set_of_names_is_refused() -> None:
    arrays = golden_shapes("tv_mask_r50_fpn")
    del arrays["roi_heads.mask_predictor.conv5_mask.weight"]
    with pytest.raises(WeightsError, match="mask_head/deconv/kernel is missing"):
        torchvision.describe(arrays)
