from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.losses.sigmoid import ClassFederated
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights import detectron, detectron2, matterport, torchvision
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.report import WeightsError
from tests.reference.containers import write_torch_zip
from tests.reference.state_dicts import Shape, golden_shapes, narrow, of_classes

GOLDENS = {
    "d2_mask_r50_fpn": "detectron2 R-50-FPN, 80 classes, box + mask",
    "d2_mask_r50_fpn_roipool": "detectron2 R-50-FPN, 80 classes, box + mask",
    "d2_mask_r50_fpn_agnostic": "detectron2 R-50-FPN, 80 classes, box + mask",
    "d2_mask_r50_fpn_gn": "detectron2 R-50-FPN GN, 80 classes, box + mask",
    "d2_mask_r50_fpn_lsj": "detectron2 R-50-FPN SyncBN, 80 classes, box + mask",
    "d2_mask_regnetx_4gf_fpn_lsj": "detectron2_imagenet_pixels RegNetX 4GF-FPN SyncBN, 80 classes, box + mask",
    "d2_pointrend_r50_fpn": "detectron2 R-50-FPN, 80 classes, box + PointRend mask",
    "d2_mask_r50_c4": "detectron2 R-50-C4, 80 classes, box + mask",
    "d2_mask_r50_dc5": "detectron2 R-50-DC5, 80 classes, box + mask",
    "d2_mask_x50_32x4d_fpn": "detectron2_imagenet_pixels X-50-32x4d-FPN, 80 classes, box + mask",
    "d2_keypoint_r50_fpn": "detectron2 R-50-FPN, 1 class, box + 17 keypoints",
    "d2_mask_swin_t_fpn": "detectron2 Swin T-FPN, 80 classes, box + mask",
    "d2_panoptic_r50_fpn": "detectron2 R-50-FPN, 80 classes, box + mask + semantic",
    "d2_mask_r50_fpn_dconv": "detectron2 R-50-DCNv1-FPN, 80 classes, box + mask",
    "d2_mask_r50_fpn_dconv_v2": "detectron2 R-50-DCNv2-FPN, 80 classes, box + mask",
    "d2_cascade_r50_fpn": "detectron2 R-50-FPN, 80 classes, cascade box + mask",
    "d2_mask_mvitv2_t_fpn": "detectron2 MViTv2 T-FPN, 80 classes, box + mask",
    "d2_mask_vitdet": "detectron2 ViT Ti-simple FPN, 80 classes, box + mask",
    "d2_cascade_vitdet": "detectron2 ViT Ti-simple FPN, 80 classes, cascade box + mask",
}


@pytest.mark.parametrize("name", GOLDENS)
def test_every_array_of_a_published_network_becomes_one_of_ours(name: str) -> None:
    arrays = golden_shapes(name)
    assert detectron2.matches(arrays)
    assert not any(other.matches(arrays) for other in (torchvision, detectron, matterport))
    network = detectron2.describe(arrays)
    assert str(network) == GOLDENS[name]
    ours = detectron2.to_ours(arrays, network)
    assert ours.unused == ()
    assert sorted(source for key in ours for source in ours.source_of(key)) == sorted(arrays)


def test_feature_pyramid() -> None:
    network = detectron2.describe(golden_shapes("d2_mask_r50_fpn"))
    assert network["backbone.norm"] == "frozen_bn"
    assert network["backbone.stride_in_1x1"]
    assert (network.anchors_per_cell, network["rpn.num_convs"], network["rpn.channels"]) == (3, 1, 256)
    assert network["box_head.fc_dims"] == (1024, 1024)
    assert (network["box_head.pool.size"], network["box_head.class_agnostic"]) == (7, False)
    assert network["mask_head.conv_dims"] == (256,) * 4
    assert not network.has_head("keypoint_head")
    assert network.class_names[0] == "person"
    assert network.class_names[79] == "toothbrush"
    assert network.category_ids[79] == 90
    assert any("1x1" in assumption for assumption in network.assumptions)


def test_c4_runs_res5_on_rois() -> None:
    network = detectron2.describe(golden_shapes("d2_mask_r50_c4"))
    assert (network["neck"], network["neck.channels"]) == ("c4", 1024)
    assert network.anchors_per_cell == 15
    assert network["box_head.fc_dims"] == ()
    assert network["mask_head.conv_dims"] == ()
    ours = detectron2.to_ours(golden_shapes("d2_mask_r50_c4"), network)
    assert ours["roi_stage/block1_shortcut/kernel"].shape == (1, 1, 1024, 2048)
    assert ours.source_of("roi_stage/block3_conv2/norm/gamma") == ("roi_heads.res5.2.conv2.norm.weight",)


def test_dilated_c5() -> None:
    network = detectron2.describe(golden_shapes("d2_mask_r50_dc5"))
    assert (network["neck"], network["neck.channels"], network.anchors_per_cell) == ("dc5", 2048, 15)
    assert network["box_head.pool.size"] == 7


def test_group_norm_has_its_stride_in_the_3x3() -> None:
    network = detectron2.describe(golden_shapes("d2_mask_r50_fpn_gn"))
    assert (network["backbone.norm"], network["backbone.stride_in_1x1"]) == ("gn", False)
    assert (network["neck.norm"], network["box_head.conv_norm"], network["mask_head.conv_norm"]) == ("gn", "gn", "gn")
    assert (network["box_head.conv_dims"], network["box_head.fc_dims"]) == ((256,) * 4, (1024,))


def test_resnext_has_other_pixels() -> None:
    arrays = golden_shapes("d2_mask_x50_32x4d_fpn")
    network = detectron2.describe(arrays)
    assert (network["backbone.groups"], network["backbone.width_per_group"]) == (32, 4)
    assert not network["backbone.stride_in_1x1"]
    assert detectron2.to_ours(arrays, network)["backbone/stage2_block1_conv2/kernel"].shape == (3, 3, 4, 128)


@pytest.mark.parametrize(("std", "family"), [(1.0, "detectron2"), (57.0, "detectron2_imagenet_pixels")])
def test_pixels_that_a_file_states_are_believed(std: float, family: str) -> None:
    arrays = golden_shapes("d2_mask_r50_fpn") | {
        "pixel_std": np.full((3, 1, 1), std),
        "pixel_mean": np.zeros((3, 1, 1)),
    }
    network = detectron2.describe(arrays)
    assert network.family == family
    assert detectron2.to_ours(arrays, network).unused == ()


def test_agnostic_heads() -> None:
    network = detectron2.describe(golden_shapes("d2_mask_r50_fpn_agnostic"))
    assert network["box_head.class_agnostic"]
    assert network["mask_head.class_agnostic"]


def test_panoptic_has_names_of_stuff() -> None:
    network = detectron2.describe(golden_shapes("d2_panoptic_r50_fpn"))
    assert network["semantic_head.levels"] == ("p2", "p3", "p4", "p5")
    assert (network["semantic_head.channels"], network["semantic_head.norm"]) == (128, "gn")
    assert network["semantic_head.common_stride"] == 4
    assert network["stuff_names"][::52] == ("banner", "rug-merged") and network["stuff_category_ids"][-1] == 200
    config = PROFILES[network.family].model_config(network.overrides)
    assert config.semantic_head.loss_weight == 0.5 and len(config.stuff_names) == 53


def test_a_panoptic_cascade_with_group_norm_and_deformable_convolutions() -> None:
    """As configs/Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x has them, with fewer blocks."""
    arrays = {k: v for k, v in golden_shapes("d2_mask_r50_fpn_gn").items() if not k.startswith("roi_heads.box")}
    arrays |= {k: v for k, v in golden_shapes("d2_cascade_r50_fpn").items() if k.startswith("roi_heads.box")}
    arrays |= {k: v for k, v in golden_shapes("d2_panoptic_r50_fpn").items() if k.startswith("sem_seg_head")}
    arrays |= {k: v for k, v in deformable_shapes().items() if ".conv2_offset." in k}
    network = detectron2.describe(arrays)
    assert detectron2.to_ours(arrays, network).unused == ()
    config = PROFILES[network.family].model_config(network.overrides)
    assert (config.box_head.num_stages, config.neck.norm, config.semantic_head.norm) == (3, "gn", "gn")
    assert (config.backbone.deformable, config.backbone.stride_in_1x1) == (DeformableConfig(), False)


def test_another_semantic_branch() -> None:
    whole = golden_shapes("d2_panoptic_r50_fpn")
    arrays = {name: array for name, array in whole.items() if not name.startswith("sem_seg_head.")}
    for conv, channels in (("p4.0", 256), ("p5.0", 256), ("p5.2", 64)):
        arrays[f"sem_seg_head.{conv}.weight"] = Shape(64, channels, 3, 3)
        arrays[f"sem_seg_head.{conv}.bias"] = Shape(64)
    arrays |= {"sem_seg_head.predictor.weight": Shape(8, 64, 1, 1), "sem_seg_head.predictor.bias": Shape(8)}
    network = detectron2.describe(arrays)
    assert (network["semantic_head.levels"], network["semantic_head.common_stride"]) == (("p4", "p5"), 8)
    assert (network["semantic_head.channels"], network["semantic_head.norm"]) == (64, "none")
    assert (len(network["stuff_names"]), network["stuff_names"][6]) == (7, "stuff 7")
    assert detectron2.to_ours(arrays, network).unused == ()
    incomplete = {name: array for name, array in whole.items() if not name.startswith("sem_seg_head.p4.2")}
    with pytest.raises(WeightsError, match=r"a semantic branch with .*'p4': 1, .* convolutions, expected .*'p4': 2"):
        detectron2.describe(incomplete)


def test_cascade() -> None:
    arrays = golden_shapes("d2_cascade_r50_fpn")
    network = detectron2.describe(arrays)
    assert (network["box_head.num_stages"], network["box_head.class_agnostic"]) == (3, True)
    ours = detectron2.to_ours(arrays, network)
    assert ours["box_head/stage3/fc1/kernel"].shape == (12544, 1024)
    assert ours.source_of("box_head/stage1/deltas/bias") == ("roi_heads.box_predictor.0.bbox_pred.bias",)


def test_keypoints() -> None:
    network = detectron2.describe(golden_shapes("d2_keypoint_r50_fpn"))
    assert (network.class_names, network.category_ids) == (("person",), (1,))
    assert network["keypoint_head.conv_dims"] == (512,) * 8
    assert not network["box_head.class_agnostic"]  # one class: the question does not arise


def test_synchronized_norms_and_two_rpn_convolutions() -> None:
    arrays = golden_shapes("d2_mask_r50_fpn_gn")
    for name in [name for name in arrays if name.endswith("norm.weight")]:
        for leaf in ("running_mean", "running_var"):
            arrays[name.replace("norm.weight", f"norm.{leaf}")] = arrays[name]
        arrays[name.replace("norm.weight", "norm.num_batches_tracked")] = Shape()
    for leaf in ("weight", "bias"):
        shape = arrays.pop(f"proposal_generator.rpn_head.conv.{leaf}")
        for i in (0, 1):
            arrays[f"proposal_generator.rpn_head.conv.conv{i}.{leaf}"] = shape
    network = detectron2.describe(arrays)
    assert (network["backbone.norm"], network["neck.norm"], network["box_head.conv_norm"]) == ("sync_bn",) * 3
    assert (network["rpn.num_convs"], network["backbone.stride_in_1x1"]) == (2, True)
    ours = detectron2.to_ours(arrays, network)
    assert ours.source_of("rpn/conv2/kernel") == ("proposal_generator.rpn_head.conv.conv1.weight",)
    assert ours.unused == ()


def test_early_files_without_statistics() -> None:
    arrays = {k: v for k, v in narrow(golden_shapes("d2_mask_r50_fpn")).items() if "running" not in k}
    network = detectron2.describe(arrays)
    assert network["backbone.norm"] == "frozen_bn"
    variance = detectron2.to_ours(arrays, network)["backbone/stem_conv1/norm/moving_variance"]
    np.testing.assert_allclose(np.asarray(variance), 1, atol=1e-4)


def test_a_swin_is_as_in_the_vitdet_project() -> None:
    network = detectron2.describe(golden_shapes("d2_mask_swin_t_fpn"))
    config = PROFILES["detectron2"].model_config(network.overrides)
    assert config.backbone.pixel_norm == PixelNorm()
    assert (config.input.short_side, config.input.canvas, config.input.square_side) == (1024, "square", 1024)
    assert (config.neck.norm, config.neck.epsilon) == ("ln", 1e-6)
    assert (config.box_head.conv_norm, config.box_head.norm_epsilon, config.box_head.fc_norm) == ("ln", 1e-6, "none")
    assert (config.heads[0].conv_norm, config.rpn.num_convs) == ("ln", 2)
    assert (config.backbone.epsilon, config.backbone.drop_path) == (1e-5, 0.0)


def cascade_of(arrays: dict) -> dict:
    """Three box heads in place of one; a refined box for all classes."""
    split = r"(roi_heads\.box_(?:head|predictor))\.(.*)"
    cascade = {name: shape for name, shape in arrays.items() if not re.match(split, name)}
    for name, array in arrays.items():
        match = re.match(split, name)
        if match:
            shape = Shape(4, *array.shape[1:]) if "bbox_pred" in name else array
            cascade |= {f"{match[1]}.{stage}.{match[2]}": shape for stage in range(3)}
    return cascade


def test_a_cascade_on_a_swin() -> None:
    arrays = cascade_of(golden_shapes("d2_mask_swin_t_fpn"))
    network = detectron2.describe(arrays)
    assert str(network) == "detectron2 Swin T-FPN, 80 classes, cascade box + mask"
    ours = detectron2.to_ours(arrays, network)
    assert ours.unused == ()
    assert ours.source_of("box_head/stage2/convs/conv3/norm/beta") == ("roi_heads.box_head.1.conv3.norm.bias",)
    assert PROFILES["detectron2"].model_config(network.overrides).box_head.conv_norm == "ln"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone.bottom_up.absolute_pos_embed", "absolute positions"),
        ("backbone.bottom_up.pos_embed", "MViTs with absolute positions"),
        ("backbone.bottom_up.net.blocks.0.norm1.weight", "only ResNet, ResNeXt, RegNet, Swin, MViTv2 and plain ViT"),
        ("backbone.net.blocks.2.residual.conv1.weight", "convolutional blocks"),
        ("roi_heads.densepose_head.body_conv_fcn1.weight", "DensePose"),
        ("roi_heads.decoder.scale_heads.0.0.weight", "DensePose"),
        ("backbone.trident.conv.weight", "TridentNet"),
        ("head.mask_subnet.0.weight", "TensorMask"),
        ("ins_embed_head.center_predictor.weight", "Panoptic-DeepLab"),
    ],
)
def test_other_projects_are_refused(name: str, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        detectron2.describe(golden_shapes("d2_mask_swin_t_fpn") | {name: Shape(1)})


def test_a_tensor_mask_is_no_retinanet() -> None:
    """Ref: detectron2, projects/TensorMask: its head has RetinaNet's names and more."""
    names = [f"head.{part}.weight" for part in ("cls_subnet.0", "bbox_subnet.0", "bbox_pred", "mask_pred_15")]
    with pytest.raises(WeightsError, match="TensorMask is not supported"):
        detectron2.describe({name: Shape(1) for name in ("backbone.fpn_lateral3.weight", *names)})


def test_what_arrays_do_not_tell_is_said() -> None:
    """The branches of a TridentNet share their kernels: its arrays are those of a C4 network."""
    network = detectron2.describe(golden_shapes("d2_mask_r50_c4"))
    assert any("TridentNet" in sentence for sentence in network.assumptions)


def test_a_semantic_branch_without_its_convolutions() -> None:
    arrays = golden_shapes("d2_mask_r50_fpn")
    arrays["sem_seg_head.predictor.weight"] = Shape(54, 128, 1, 1)
    with pytest.raises(WeightsError, match="a semantic branch without convolutions of a level"):
        detectron2.describe(arrays)


def with_anchors(arrays: dict, sizes: list[list[float]], ratios: list[float]) -> dict:
    """As detectron2 stores them: boxes around the corner of a cell, sizes slow, ratios fast."""
    for level, of_level in enumerate(sizes):
        sides = [(size / ratio**0.5, size * ratio**0.5) for size in of_level for ratio in ratios]
        boxes = np.array([(-w / 2, -h / 2, w / 2, h / 2) for w, h in sides], np.float32)
        arrays[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = boxes
    return arrays


def test_anchors_that_a_file_states_are_read() -> None:
    sizes, ratios = [[20.0], [40.0], [80.0], [160.0], [320.0]], [0.5, 1.0, 3.0]
    arrays = with_anchors(golden_shapes("d2_mask_r50_fpn"), sizes, ratios)
    network = detectron2.describe(arrays)
    assert network["rpn.anchors.sizes"] == ((20.0,), (40.0,), (80.0,), (160.0,), (320.0,))
    assert network["rpn.anchors.ratios"] == (0.5, 1.0, 3.0)
    assert detectron2.to_ours(arrays, network).unused == ()
    single = with_anchors(golden_shapes("d2_mask_r50_c4"), [[32.0, 64.0, 128.0, 256.0, 512.0]], [0.5, 1.0, 2.0])
    assert detectron2.describe(single)["rpn.anchors.sizes"] == ((32.0, 64.0, 128.0, 256.0, 512.0),)


def test_anchors_that_contradict_the_shapes() -> None:
    arrays = with_anchors(golden_shapes("d2_mask_r50_fpn"), [[20.0, 30.0]], [0.5, 1.0, 2.0])
    with pytest.raises(WeightsError, match=r"cell_anchors\.0 has 6 anchors, expected 3"):
        detectron2.describe(arrays)


def test_unknown_anchors_are_refused() -> None:
    arrays = golden_shapes("d2_mask_r50_fpn")
    for leaf, sides in {"weight": (256, 1, 1), "bias": ()}.items():
        arrays[f"proposal_generator.rpn_head.objectness_logits.{leaf}"] = Shape(9, *sides)
        arrays[f"proposal_generator.rpn_head.anchor_deltas.{leaf}"] = Shape(36, *sides)
    with pytest.raises(WeightsError, match="9 anchors per cell, expected 3"):
        detectron2.describe(arrays)


def test_a_cascade_of_two_stages_is_refused() -> None:
    arrays = {
        k: v for k, v in golden_shapes("d2_cascade_r50_fpn").items() if not re.match(r"roi_heads\.box_.*\.2\.", k)
    }
    with pytest.raises(WeightsError, match="a cascade of 2 stages, expected 3"):
        detectron2.describe(arrays)


def test_another_number_of_classes_has_no_names() -> None:
    arrays = golden_shapes("d2_mask_r50_fpn")
    for leaf, sides in {"weight": (1024,), "bias": ()}.items():
        arrays[f"roi_heads.box_predictor.cls_score.{leaf}"] = Shape(9, *sides)
        arrays[f"roi_heads.box_predictor.bbox_pred.{leaf}"] = Shape(32, *sides)
    arrays["roi_heads.mask_head.predictor.weight"] = Shape(8, 256, 1, 1)
    network = detectron2.describe(arrays)
    assert (network.num_classes, network.class_names) == (8, None)


def zoo_pickle(path: Path, state: dict[str, np.ndarray]) -> None:
    path.write_bytes(pickle.dumps({"model": state, "__author__": "Detectron2 Model Zoo"}, protocol=2))


@pytest.mark.parametrize(
    ("name", "write"), [("model.pkl", zoo_pickle), ("model.pth", write_torch_zip)], ids=["pickle", "torch"]
)
def test_from_the_containers_of_the_zoo(tmp_path: Path, name: str, write) -> None:
    state = narrow(golden_shapes("d2_mask_r50_fpn"))
    write(tmp_path / name, state)
    contents = read_arrays(tmp_path / name)
    network = detectron2.describe(contents.arrays, contents.metadata, name)
    ours = detectron2.to_ours(contents.arrays, network)
    assert len(ours) == len(state)
    score = state["roi_heads.box_predictor.cls_score.weight"]  # [81, 16], background last
    np.testing.assert_array_equal(np.asarray(ours["box_head/class_logits/kernel"])[:, 1:], score[:-1].T)
    np.testing.assert_array_equal(np.asarray(ours["box_head/class_logits/kernel"])[:, 0], score[-1])
    mean = "backbone.bottom_up.res3.1.conv2.norm.running_mean"
    np.testing.assert_array_equal(np.asarray(ours["backbone/stage3_block2_conv2/norm/moving_mean"]), state[mean])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("roi_heads.res5.0.conv2_offset.weight", "deformable convolutions on RoIs"),
        ("roi_heads.mask_head.parameter_head.fc1.weight", "implicit PointRend"),
        ("head.cls_subnet.0.weight", "RetinaNet"),
        ("head.bbox_pred.weight", "RetinaNet"),
        ("backbone.bottom_up.s1.b1.a.weight", "only RegNets of bottleneck"),
    ],
)
def test_networks_that_are_not_supported_are_named(extra: str, message: str) -> None:
    arrays = golden_shapes("d2_mask_r50_fpn") | {extra: Shape(1)}
    with pytest.raises(WeightsError, match=f"^file.pkl: {message}.*{extra}"):
        detectron2.describe(arrays, source="file.pkl")


def deformable_shapes(stages=(3, 4, 5), channels=18, name="d2_mask_r50_fpn") -> dict[str, Shape]:
    """A checkpoint's arrays, the 3x3 convolutions of some stages deformable."""
    arrays = golden_shapes(name)
    for key in list(arrays):
        if (match := re.fullmatch(r"(.*\.res(\d)\.\d+\.conv2)\.weight", key)) and int(match[2]) in stages:
            arrays[f"{match[1]}_offset.weight"] = Shape(channels, arrays[key].shape[0], 3, 3)
            arrays[f"{match[1]}_offset.bias"] = Shape(channels)
    return arrays


@pytest.mark.parametrize(
    ("stages", "channels", "expected"),
    [
        ((3, 4, 5), 18, DeformableConfig()),
        ((5,), 27, DeformableConfig((5,), modulated=True)),
        ((4, 5), 36, DeformableConfig((4, 5), groups=2)),
        ((2, 3, 4, 5), 54, DeformableConfig((2, 3, 4, 5), modulated=True, groups=2)),
        ((3,), 72, DeformableConfig((3,), groups=4)),
        ((3,), 108, DeformableConfig((3,), modulated=True, groups=4)),
    ],
)
def test_kinds_of_deformable_convolution(stages, channels, expected) -> None:
    arrays = deformable_shapes(stages, channels)
    network = detectron2.describe(arrays)
    assert network["backbone.deformable"] == expected
    assert detectron2.to_ours(arrays, network).unused == ()


def test_deformable_convolutions_that_contradict_each_other() -> None:
    arrays = deformable_shapes() | deformable_shapes((4,), 27)
    with pytest.raises(WeightsError, match="of several kinds, expected the same in all stages"):
        detectron2.describe(arrays)
    arrays = {key: value for key, value in deformable_shapes().items() if "res4.5.conv2_offset" not in key}
    with pytest.raises(
        WeightsError, match="5 of 6 blocks of stage 4 have deformable convolutions, expected all or none"
    ):
        detectron2.describe(arrays)
    with pytest.raises(
        WeightsError, match="has 20 channels, expected 18, or 27 with modulation, for each group of 128"
    ):
        detectron2.describe(deformable_shapes(channels=20))


def test_a_deformable_resnext_divides_pixels_unless_it_is_the_published_one_of_152() -> None:
    arrays = deformable_shapes(name="d2_mask_x50_32x4d_fpn")
    assert detectron2.describe(arrays).family == "detectron2_imagenet_pixels"
    counts = {"3": 8, "4": 36}
    for key in list(arrays):
        if (match := re.fullmatch(r"(backbone\.bottom_up\.res)([34])\.1\.(.*)", key)) is not None:
            for block in range(2, counts[match[2]]):
                arrays[f"{match[1]}{match[2]}.{block}.{match[3]}"] = arrays[key]
    network = detectron2.describe(arrays)
    assert (network.family, network["backbone.depth"], network["backbone.stride_in_1x1"]) == ("detectron2", 152, False)
    assert any("cascade_mask_rcnn_X_152" in assumption for assumption in network.assumptions)


def test_a_network_without_rpn_is_refused() -> None:
    arrays = {k: v for k, v in golden_shapes("d2_mask_r50_fpn").items() if not k.startswith("proposal_generator")}
    with pytest.raises(WeightsError, match=r"not a whole Mask, Faster or Keypoint R-CNN.*rpn/objectness"):
        detectron2.describe(arrays)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("backbone.bottom_up.stem.conv1.weight", (32, 3, 3, 3), r"the stem is \[32, 3, 3, 3\]"),
        ("roi_heads.box_predictor.bbox_pred.weight", (100, 1024), "100 box values for 80 classes"),
        ("roi_heads.mask_head.predictor.weight", (79, 256, 1, 1), "79 masks for 80 classes"),
        ("proposal_generator.rpn_head.anchor_deltas.weight", (15, 256, 1, 1), r"\[15, 256, 1, 1\], expected 12"),
        ("roi_heads.box_head.fc1.weight", (1024, 12545), "a square of bins"),
    ],
)
def test_shapes_that_contradict_each_other(name: str, shape: tuple[int, ...], message: str) -> None:
    arrays = golden_shapes("d2_mask_r50_fpn") | {name: Shape(*shape)}
    with pytest.raises(WeightsError, match=message):
        detectron2.describe(arrays)


def test_a_gap_in_a_row_of_layers_is_refused() -> None:
    arrays = {k: v for k, v in golden_shapes("d2_mask_r50_fpn").items() if "mask_fcn2" not in k}
    with pytest.raises(WeightsError, match=r"mask_head/convs/conv2/kernel is missing, later ones are there"):
        detectron2.describe(arrays)


def test_another_depth_is_refused() -> None:
    arrays = {k: v for k, v in golden_shapes("d2_mask_r50_fpn").items() if ".res4.5." not in k}
    with pytest.raises(WeightsError, match=r"stages of \[3, 4, 5, 3\] blocks"):
        detectron2.describe(arrays)


@pytest.mark.parametrize(("classes", "first"), [(1203, "aerosol_can"), (1230, "acorn")])
def test_networks_of_lvis_give_as_many_detections_as_it_counts(classes: int, first: str) -> None:
    network = detectron2.describe(of_classes(golden_shapes("d2_mask_r50_fpn"), classes))
    head = PROFILES[network.family].model_config(network.overrides).box_head
    assert (head.max_detections, head.score_threshold, head.activation) == (300, 1e-4, "softmax")
    assert (network.class_names[0], network.class_names[-1]) == (first, "zucchini")
    assert network.category_ids == tuple(range(1, classes + 1))
    assert "class scores by softmax, as in the published models of LVIS" in network.assumptions


@pytest.mark.parametrize("name", ["d2_mask_vitdet", "d2_mask_swin_t_fpn", "d2_cascade_vitdet"])
def test_the_vitdet_project_has_sigmoids_for_lvis(name: str) -> None:
    network = detectron2.describe(of_classes(golden_shapes(name), 1203))
    head = PROFILES[network.family].model_config(network.overrides).box_head
    assert (head.activation, head.class_loss) == ("sigmoid", ClassFederated(image_counts="lvis_v1"))
    assert (head.max_detections, head.score_threshold, network.class_names[0]) == (300, 0.02, "aerosol_can")
    assert "class scores by sigmoid, as in projects/ViTDet/configs/LVIS" in network.assumptions
    of_coco = detectron2.describe(golden_shapes(name))
    assert PROFILES[of_coco.family].model_config(of_coco.overrides).box_head.activation == "softmax"
