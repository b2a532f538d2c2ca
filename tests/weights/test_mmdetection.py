from __future__ import annotations

import json

import numpy as np
import pytest

from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights import detectron, detectron2, matterport, mmdetection, torchvision
from mrcnn.weights.coco_classes import CATEGORIES
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.report import WeightsError
from tests.conftest import ASSETS
from tests.golden.case import Golden
from tests.reference.drawn_weights import draw
from tests.reference.state_dicts import Shape, golden_shapes

GOLDENS = {
    "mm_faster_r50_fpn": "mmdetection R-50-FPN, 80 classes, box",
    "mm_mask_r50_fpn": "mmdetection R-50-FPN, 80 classes, box + mask",
    "mm_mask_r50_caffe_fpn": "mmdetection R-50-FPN, 80 classes, box + mask",
    "mm_mask_r50_fpn_gn": "mmdetection R-50-FPN GN, 80 classes, box + mask",
    "mm_mask_convnext_t_fpn": "mmdetection ConvNeXt T-FPN, 80 classes, box + mask",
    "mm_cascade_mask_r50_fpn": "mmdetection R-50-FPN, 80 classes, cascade box + cascade mask",
    "mm_mask_swin_t_fpn": "mmdetection Swin T-FPN, 80 classes, box + mask",
    "mm_mask_x50_32x4d_fpn": "mmdetection X-50-32x4d-FPN, 80 classes, box + mask",
}
CONFIG = """
model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(depth=50, frozen_stages=1, style='caffe', norm_cfg=dict(type='BN', requires_grad=False)),
    rpn_head=dict(
        anchor_generator=dict(scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        loss_bbox=dict(type='SmoothL1Loss', beta=0.25)),
    roi_head=dict(bbox_head=dict(loss_bbox=dict(type='L1Loss', loss_weight=1.0))),
    train_cfg=dict(rpn=dict(allowed_border=0), rcnn=dict(assigner=dict(match_low_quality=False))),
    test_cfg=dict(rcnn=dict(score_thr=0.01, max_per_img=7, nms=dict(type='nms', iou_threshold=0.6))))
"""


def arrays_of(name: str) -> dict:
    """Shapes of a golden file's arrays; the stem itself, which decides about the pixels."""
    meta, shapes = Golden(name).meta, golden_shapes(name)
    stem = {
        key: draw(key, shape.shape, meta["seed"], meta["cls_gain"], meta["gains"])
        for key, shape in shapes.items()
        if key.startswith(("backbone.conv1.", "backbone.bn1."))
    }
    return shapes | stem


@pytest.mark.parametrize("name", GOLDENS)
def test_every_array_of_a_published_network_becomes_one_of_ours(name: str) -> None:
    arrays = arrays_of(name)
    assert mmdetection.matches(arrays)
    assert not any(other.matches(arrays) for other in (torchvision, detectron2, detectron, matterport))
    network = mmdetection.describe(arrays)
    assert str(network) == GOLDENS[name]
    ours = mmdetection.to_ours(arrays, network)
    assert ours.unused == ()
    assert sorted(source for key in ours for source in ours.source_of(key)) == sorted(arrays)


@pytest.mark.parametrize("name", GOLDENS)
def test_pixels_and_strides_are_those_of_the_reference(name: str) -> None:
    stated = Golden(name).meta["conventions"]
    network = mmdetection.describe(arrays_of(name))
    pixels = stated["data_preprocessor"]
    mean, std = tuple(pixels["mean"]), tuple(pixels["std"])
    rgb = PixelNorm(mean, std) if pixels["bgr_to_rgb"] else PixelNorm(mean[::-1], std[::-1], bgr=True)
    assert network["backbone.pixel_norm"] == rgb
    assert network.overrides.get("backbone.stride_in_1x1", False) == (stated["style"] == "caffe")
    config = PROFILES["mmdetection"].model_config(network.overrides)
    assert config.roi_sampler.best_belongs == stated["rcnn_match_low_quality"][0]
    border = stated["rpn_allowed_border"]
    assert config.rpn.allowed_border == (None if border < 0 else border)
    assert config.rpn.smooth_l1_beta == stated["losses"]["rpn_bbox"].get("beta", 0.0)
    assert config.box_head.score_threshold == stated["test_cfg"]["rcnn"]["score_thr"]


def test_its_own_configuration_decides() -> None:
    network = mmdetection.describe(arrays_of("mm_mask_r50_fpn"), {"meta.cfg": CONFIG})
    config = PROFILES["mmdetection"].model_config(network.overrides)
    assert config.backbone.pixel_norm == mmdetection.CAFFE_PIXELS
    assert (config.backbone.stride_in_1x1, config.backbone.freeze_at, config.backbone.norm) == (True, 2, "frozen_bn")
    assert config.rpn.anchors.sizes == ((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))
    assert (config.rpn.smooth_l1_beta, config.rpn.allowed_border) == (0.25, 0.0)
    assert (config.box_head.box_loss, config.roi_sampler.best_belongs) == (SmoothL1(0.0), False)
    assert (config.box_head.score_threshold, config.box_head.max_detections, config.box_head.nms_iou) == (0.01, 7, 0.6)


def test_a_cascade_has_its_own_conventions() -> None:
    stated = Golden("mm_cascade_mask_r50_fpn").meta["conventions"]
    arrays = arrays_of("mm_cascade_mask_r50_fpn")
    config = PROFILES["mmdetection"].model_config(mmdetection.describe(arrays).overrides)
    box, (mask,) = config.box_head, config.heads
    for weights, (_, (x, y, w, h)) in zip(box.stage_delta_weights, stated["box_coder"], strict=True):
        assert weights == (1 / y, 1 / x, 1 / h, 1 / w)
    assert list(box.stage_loss_weights) == list(mask.stage_loss_weights) == stated["stage_loss_weights"]
    assert (box.scores, box.stage_rois, box.feature_gradient) == ("logits", "sample", "sum")
    assert box.box_loss == SmoothL1(stated["losses"]["bbox"][0]["beta"])
    assert config.rpn.post_nms_train == 2000


def test_the_stages_of_its_own_configuration_decide() -> None:
    stage = "dict(bbox_coder=dict(target_stds=[{}, {}, 0.5, 0.25]))"
    heads = ", ".join(stage.format(*stds) for stds in ((0.1, 0.2), (0.05, 0.1), (0.01, 0.04)))
    ious = ", ".join(f"dict(assigner=dict(pos_iou_thr={iou}))" for iou in (0.45, 0.55, 0.65))
    text = f"""model = dict(
        roi_head=dict(stage_loss_weights=[1, 2, 3], bbox_head=[{heads}]), train_cfg=dict(rcnn=[{ious}]))"""
    network = mmdetection.describe(arrays_of("mm_cascade_mask_r50_fpn"), {"meta.cfg": text})
    config = PROFILES["mmdetection"].model_config(network.overrides)
    assert config.box_head.stage_loss_weights == config.heads[0].stage_loss_weights == (1.0, 2.0, 3.0)
    assert config.box_head.stage_delta_weights == (
        (5.0, 10.0, 4.0, 2.0),
        (10.0, 20.0, 4.0, 2.0),
        (25.0, 100.0, 4.0, 2.0),
    )
    assert config.box_head.stage_ious == (0.45, 0.55, 0.65)
    assert config.roi_sampler.fg_iou == 0.45


def test_masks_of_some_stages_only_are_refused() -> None:
    arrays = {k: v for k, v in arrays_of("mm_cascade_mask_r50_fpn").items() if not k.startswith("roi_head.mask_head.2")}
    with pytest.raises(WeightsError, match="mask heads for 2 stages, expected 1 or 3"):
        mmdetection.describe(arrays)


def test_a_swins_configuration_states_its_stochastic_depth() -> None:
    arrays = arrays_of("mm_mask_swin_t_fpn")
    assert "backbone.drop_path" not in mmdetection.describe(arrays).overrides
    text = "model = dict(backbone=dict(type='SwinTransformer', drop_path_rate=0.2, frozen_stages=-1))"
    network = mmdetection.describe(arrays, {"meta.config": text})
    backbone = PROFILES["mmdetection"].model_config(network.overrides).backbone
    assert (backbone.drop_path, backbone.freeze_at) == (0.2, 0)


def test_so_does_that_of_a_convnext() -> None:
    text = "model = dict(backbone=dict(type='mmpretrain.ConvNeXt', drop_path_rate=0.4))"
    network = mmdetection.describe(arrays_of("mm_mask_convnext_t_fpn"), {"meta.config": text})
    assert PROFILES["mmdetection"].model_config(network.overrides).backbone.drop_path == 0.4


def test_version_2_states_pixels_beside_the_model() -> None:
    text = "img_norm_cfg = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)\nmodel = dict(backbone=dict())"
    network = mmdetection.describe(arrays_of("mm_mask_r50_fpn"), {"meta.config": text})
    assert network["backbone.pixel_norm"] == PixelNorm((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


@pytest.mark.parametrize(
    "text", ["model = dict(backbone=", "model = [" * 500, "\0", "model = 'x'", "model = dict(backbone=7)"]
)
def test_a_configuration_that_says_nothing_leaves_what_is_usual(text: str) -> None:
    usual = mmdetection.describe(arrays_of("mm_mask_r50_fpn"))
    assert mmdetection.describe(arrays_of("mm_mask_r50_fpn"), {"meta.cfg": text}).overrides == usual.overrides


def test_classes_come_from_meta() -> None:
    arrays = arrays_of("mm_faster_r50_fpn")
    assert mmdetection.describe(arrays).class_names == tuple(CATEGORIES.values())
    for width, shape in ((81, 3), (320, 8)):
        for name, array in arrays.items():
            if array.shape[0] == width:
                arrays[name] = Shape(shape, *array.shape[1:])
    own = {"meta.dataset_meta.classes.0": "leaf", "meta.dataset_meta.classes.1": "stem"}
    assert mmdetection.describe(arrays, own).class_names == ("leaf", "stem")
    old = {"meta.CLASSES.0": "cat", "meta.CLASSES.1": "dog"}
    assert mmdetection.describe(arrays, old).category_ids == (17, 18)
    assert mmdetection.describe(arrays, {**own, "meta.dataset_meta.classes.2": "too many"}).class_names is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone.layer2.0.conv2.conv_offset.weight", "deformable"),
        ("backbone.absolute_pos_embed", "absolute positions"),
        ("roi_head.mask_iou_head.fcs.0.weight", "only box and mask heads"),
        ("roi_head.bbox_head.cls_convs.0.conv.weight", "for class or box alone"),
        ("backbone.stem.0.weight", "stems"),
        ("neck.1.convs.0.weight", "plain feature pyramid"),
    ],
)
def test_other_networks_are_refused(name: str, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        mmdetection.describe(arrays_of("mm_mask_r50_fpn") | {name: Shape(1)})


@pytest.mark.parametrize("name", ["runner", "published"])
def test_checkpoints_of_mmengine_are_read_without_it(name: str) -> None:
    """A runner's checkpoint holds an optimizer, mmengine's own classes, and averaged and plain weights."""
    folder = ASSETS / "mmengine"
    expected = np.load(folder / "mm_container_expected.npz")
    contents = read_arrays(folder / f"mm_container_{name}.pth")
    assert set(contents.arrays) == {key for key in expected.files if key != "meta" and not key.startswith("raw/")}
    for key, array in contents.arrays.items():
        np.testing.assert_array_equal(np.asarray(array), expected[key])
    stated = json.loads(str(expected["meta"]))["dataset_meta"]["classes"]
    assert [contents.metadata[f"meta.dataset_meta.classes.{i}"] for i in range(3)] == stated
    assert (name == "runner") == ("ema_state_dict.module.backbone.conv1.weight" in contents.left_out)
