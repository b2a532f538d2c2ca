from __future__ import annotations

import copy

import numpy as np
import pytest

from mrcnn import recipes
from mrcnn.config import Config
from mrcnn.matterport import native_config
from mrcnn.weights.profiles import MATTERPORT
from tests.modeling import backbone_functions


class ShapesConfig(Config):
    NAME = "shapes"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 8
    NUM_CLASSES = 1 + 3
    BACKBONE = "resnet50"
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 32
    STEPS_PER_EPOCH = 100
    DEFAULT_LOGS_DIR = "logs"  # an attribute of the script's own
    BATCH_SIZE = 99  # made anew on construction


def test_sizes_follow_from_the_other_attributes():
    config = ShapesConfig()
    assert config.BATCH_SIZE == 8
    np.testing.assert_array_equal(config.IMAGE_SHAPE, [128, 128, 3])
    assert isinstance(config.IMAGE_SHAPE, np.ndarray)
    assert config.IMAGE_META_SIZE == 12 + 4
    config.GPU_COUNT = 2
    assert config.BATCH_SIZE == 8
    assert Config.IMAGE_MAX_DIM == 1024


def test_crop_mode_takes_the_shorter_side():
    class Crop(Config):
        IMAGE_RESIZE_MODE, IMAGE_MIN_DIM, IMAGE_MAX_DIM = "crop", 256, 512

    np.testing.assert_array_equal(Crop().IMAGE_SHAPE, [256, 256, 3])


def test_attributes_set_before_the_base_is_built_count():
    class FromDict(Config):
        def __init__(self, values):
            for name, value in values.items():
                setattr(self, name, value)
            super().__init__()

    config = FromDict({"NUM_CLASSES": 5, "IMAGES_PER_GPU": 1, "IMAGE_MAX_DIM": 512})
    assert (config.BATCH_SIZE, config.IMAGE_META_SIZE, config.IMAGE_SHAPE[0]) == (1, 17, 512)

    class Inference(config.__class__):
        GPU_COUNT = 1

    assert copy.deepcopy(Inference({})).NUM_CLASSES == 1


def test_display_prints_all_attributes_in_order(capsys):
    ShapesConfig().display()
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[:2] == ["", "Configurations:"] and out.endswith("\n\n\n")
    assert f"{'BATCH_SIZE':30} 8" in lines
    assert f"{'DEFAULT_LOGS_DIR':30} logs" in lines
    assert f"{'IMAGE_SHAPE':30} [128 128   3]" in lines
    names = [line[:30].strip() for line in lines if line[:1].isupper() and not line.startswith("Conf")]
    assert names == sorted(names) and "display" not in names


def test_defaults_are_the_profile_of_matterports_weights():
    class Coco(Config):
        NUM_CLASSES = 81
        BACKBONE = "resnet50"

    made = native_config.model_config(Coco())
    profile = MATTERPORT.model_config(native_config.network(Coco()).overrides)
    assert made.override({"heads.0.num_foreground": 128}) == profile
    assert made.profile == "matterport" and made.backbone.stride_in_1x1 and made.backbone.epsilon == 1e-3


def test_attributes_reach_the_rooms():
    class Own(ShapesConfig):
        DETECTION_MIN_CONFIDENCE = 0.9
        DETECTION_NMS_THRESHOLD = 0.2
        DETECTION_MAX_INSTANCES = 7
        POST_NMS_ROIS_INFERENCE = 50
        POST_NMS_ROIS_TRAINING = 60
        PRE_NMS_LIMIT = 70
        RPN_ANCHOR_RATIOS = (1, 2)
        MEAN_PIXEL = np.array([1.0, 2.0, 3.0])
        RPN_BBOX_STD_DEV = np.array([0.2, 0.2, 0.5, 0.5])
        TOP_DOWN_PYRAMID_SIZE = 64
        FPN_CLASSIF_FC_LAYERS_SIZE = 128
        TRAIN_BN = True
        LOSS_WEIGHTS = {"mrcnn_mask_loss": 2.0}  # noqa: RUF012

    made = native_config.model_config(Own())
    assert made.num_classes == 3 and made.backbone.depth == 50 and made.backbone.norm == "bn"
    assert (made.box_head.score_threshold, made.box_head.nms_iou, made.box_head.max_detections) == (0.9, 0.2, 7)
    assert (made.rpn.post_nms_test, made.rpn.post_nms_train, made.rpn.pre_nms_test) == (50, 60, 70)
    assert made.rpn.anchors.sizes == ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))
    assert made.rpn.anchors.ratios == (1.0, 2.0) and made.rpn.delta_weights == (5.0, 5.0, 2.0, 2.0)
    assert made.backbone.pixel_norm.mean == (1.0, 2.0, 3.0)
    assert made.neck.channels == 64 and made.box_head.fc_dims == (128, 128)
    assert made.heads[0].loss_weight == 2.0 and made.rpn.loss_weight == 1.0
    assert made.input.content_size(64, 32) == (128, 64) and made.input.canvas_size(128, 64) == (128, 128)


@pytest.mark.parametrize(
    "mode, size, canvas",
    [("square", (100, 50), (128, 128)), ("none", (100, 50), (128, 64)), ("pad64", (128, 64), (128, 64))],
)
def test_resize_modes(mode, size, canvas):
    class Mode(ShapesConfig):
        IMAGE_RESIZE_MODE, IMAGE_MIN_DIM, IMAGE_MAX_DIM = mode, 64 if mode == "pad64" else 0, 128

    made = native_config.model_config(Mode()).input
    assert made.content_size(100, 50) == size and made.canvas_size(*size) == canvas


def test_paper_takes_the_papers_network_and_what_was_changed():
    class Paper(Config):
        PAPER = True
        NUM_CLASSES = 4
        BACKBONE = "resnet101"
        DETECTION_MAX_INSTANCES = 7

    made = native_config.model_config(Paper())
    paper = recipes.get("mask_rcnn_r101_fpn").model
    assert made == paper.override({"num_classes": 3, "box_head.max_detections": 7})
    Paper.PAPER = "mask_rcnn_r50_fpn_gn"
    assert native_config.model_config(Paper()).backbone.norm == "gn"


@pytest.mark.parametrize(
    "name, value",
    [
        ("BACKBONE", "resnet18"),
        ("NUM_CLASSES", 1),
        ("RPN_ANCHOR_SCALES", (8, 16)),
        ("IMAGE_CHANNEL_COUNT", 2),
        ("BACKBONE_STRIDES", [4, 8, 16, 32]),
        ("IMAGE_RESIZE_MODE", "stretch"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(name, value):
    config = ShapesConfig()
    setattr(config, name, value)
    with pytest.raises(ValueError, match=name):
        native_config.model_config(config)


@pytest.mark.parametrize("train_bn, norm", [(False, "none"), (None, "bn"), (True, "bn")])
def test_a_function_is_a_backbone(train_bn, norm):
    class Own(ShapesConfig):
        BACKBONE = staticmethod(backbone_functions.as_matterport)
        TRAIN_BN = train_bn
        MEAN_PIXEL = np.array([1.0, 2.0, 3.0])

    made = native_config.model_config(Own())
    assert made.backbone.function == "tests.modeling.backbone_functions:as_matterport"
    assert made.backbone.norm == norm and made.backbone.pixel_norm.mean == (1.0, 2.0, 3.0)
    assert made.backbone.channels == {"c2": 8, "c3": 12, "c4": 16, "c5": 20}
    assert made.neck == native_config.model_config(ShapesConfig()).neck


def test_training_config():
    recipe = native_config.recipe(ShapesConfig(), learning_rate=0.001)
    assert recipe.train.learning_rate * 8 / 16 == pytest.approx(0.001)
    assert recipe.data.max_instances == 100 and recipe.data.mask_side == 56
    assert recipe.train.schedule == "constant" and recipe.train.clip_norm == 5.0
    assert (recipe.train.decay, recipe.train.weight_decay) == ("mean_square", 1e-4)
    assert recipe.model.rpn.normalizer == "means" and recipe.model.box_head.box_normalizer == "elements"
    paper = type("Paper", (ShapesConfig,), {"PAPER": True})()
    recipe = native_config.recipe(paper, learning_rate=0.001)
    assert recipe.train.decay == "l2" and recipe.model.backbone.norm == "frozen_bn"
    assert recipe.model.rpn.normalizer == "batch_per_image" and recipe.model.box_head.box_normalizer == "rois"
    assert recipe.model.roi_sampler.append_gt and recipe.model.roi_sampler.background == "fill"


def test_recipe_in_the_migration_guide():
    assert recipes.get("mask_rcnn_r50_fpn").override({"model.rpn.nms_iou": 0.6}).model.rpn.nms_iou == 0.6
