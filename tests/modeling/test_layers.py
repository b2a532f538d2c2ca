"""What holds for every backbone, neck, RPN, head, pooler, norm and convolution, and every field of their configs."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import mrcnn.modeling
from mrcnn.base_config import BaseConfig
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.function import CallableConfig
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig
from mrcnn.modeling.backbones.keras_hub import KerasHubConfig
from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.backbones.swin import MergeCells, PadToMultiple, SwinConfig, WindowAttention
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.drop_path import DropPath
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.cascade_mask import CascadeMaskHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.mlp_mask import MLPMaskHeadConfig
from mrcnn.modeling.layers import CellDense, ConvNorm, ConvStack, exact_gelu
from mrcnn.modeling.losses.base import MaskLoss
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.pass_through import PassThroughConfig
from mrcnn.modeling.non_local import NonLocalBlock, NonLocalConfig
from mrcnn.modeling.normalize import NormalizePixels, PixelNorm, make_norm
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.modeling.semantic_head import SemanticHeadConfig
from tests.config_fields import changed_fields
from tests.modeling import harness
from tests.modeling.harness import LayerCase

STRIDES = {"p2": 4, "p3": 8}
MOVING = ("moving_mean", "moving_variance")
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def built(layer: Any, shape: tuple[int | None, ...]) -> Any:
    layer.build(shape)
    return layer


# Maps


def conv(shape: tuple[int, ...], moving: tuple[str, ...] = (), **arguments: Any) -> LayerCase:
    def make() -> ConvNorm:
        return built(ConvNorm(name="conv", **arguments), (None, None, None, 8))

    return LayerCase(make, {"x": normal(2, 7, 6, 8)}, (shape,), moving=moving, saves=True)


def norm(kind: Any, moving: tuple[str, ...] = ()) -> LayerCase:
    x = 0.5 + normal(2, 5, 4, 6)
    return LayerCase(
        lambda: built(make_norm(kind, channels=6), (None, None, None, 6)),
        {"x": x},
        (x.shape,),
        moving=moving,
        saves=True,
    )


def own_layer(make: Callable[[], Any], shape: tuple[int, ...]) -> LayerCase:
    return LayerCase(lambda: built(make(), (None, None, None, 8)), {"x": normal(2, 7, 6, 8)}, (shape,), saves=True)


MAPS = {
    "ConvNorm": conv((2, 7, 6, 4), filters=4, kernel_size=3, activation="relu"),
    "ConvNorm, frozen_bn": conv((2, 4, 3, 4), filters=4, kernel_size=3, stride=2, norm="frozen_bn"),
    "ConvNorm, affine_bn": conv((2, 7, 6, 4), filters=4, norm="affine_bn", activation="relu6"),
    "ConvNorm, bn": conv((2, 7, 6, 4), MOVING, filters=4, norm="bn"),
    "ConvNorm, gn, groups": conv((2, 7, 6, 4), filters=4, kernel_size=3, groups=2, norm="gn"),
    "ConvNorm, dilated": conv((2, 7, 6, 4), filters=4, kernel_size=3, dilation=2),
    "ConvNorm, depthwise": conv((2, 4, 3, 8), filters=None, kernel_size=5, stride=2, padding="same", depthwise=True),
    "frozen_bn": norm("frozen_bn"),
    "affine_bn": norm("affine_bn"),
    "bn": norm("bn", MOVING),
    "sync_bn": norm("sync_bn", MOVING),
    "gn": norm("gn"),
    "ln": norm("ln"),
    "CellDense": own_layer(lambda: CellDense(5, exact_gelu), (2, 7, 6, 5)),
    "DropPath": own_layer(lambda: DropPath(0.5), (2, 7, 6, 8)),
    "PadToMultiple": own_layer(lambda: PadToMultiple(4), (2, 8, 8, 8)),
    "MergeCells": own_layer(MergeCells, (2, 4, 3, 32)),
    "WindowAttention": own_layer(lambda: WindowAttention(2, window=3), (2, 7, 6, 8)),
    "WindowAttention, shifted": own_layer(lambda: WindowAttention(4, window=4, shift=2), (2, 7, 6, 8)),
    "NormalizePixels": LayerCase(
        lambda: built(NormalizePixels(PixelNorm(bgr=True)), ()),
        {"image": 100 * np.abs(normal(1, 3, 4, 3))},
        ((1, 3, 4, 3),),
        call=lambda layer, inputs, training: layer(inputs["image"]),
        saves=True,
    ),
}


ATTENTION = NonLocalConfig(norm="none", subsample=False, scaled=True)


def trained(case: LayerCase) -> LayerCase:
    """With non-local blocks as after some training, for a new one is the identity, which has no gradient inside."""

    def make() -> Any:
        layer, rng = case.make(), np.random.default_rng(3)
        for variable in layer.trainable_variables:
            if "non_local" in variable.path:
                spread = variable.shape[-2] ** -0.5 if len(variable.shape) > 1 else 1.0
                variable.assign(rng.normal(0.0, spread, variable.shape))
        return layer

    return dataclasses.replace(case, make=make)


def non_local(moving: tuple[str, ...] = (), **changes: Any) -> LayerCase:
    def make() -> NonLocalBlock:
        return built(NonLocalBlock(NonLocalConfig(**changes), name="non_local"), (None, None, None, 8))

    return trained(LayerCase(make, {"x": normal(2, 5, 4, 8)}, ((2, 5, 4, 8),), moving=moving, saves=True))


MAPS |= {
    "NonLocal": non_local(),
    "NonLocal, bn, whole": non_local(MOVING, norm="bn", subsample=False, scaled=True),
}

# Necks

CHANNELS = {"c2": 3, "c3": 4, "c4": 5, "c5": 6}
IN_STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
BACKBONE_MAPS = {level: normal(2, -(-65 // s), -(-35 // s), CHANNELS[level]) for level, s in IN_STRIDES.items()}
PYRAMID = tuple((2, -(-65 // s), -(-35 // s), 8) for s in (4, 8, 16, 32, 64))
NECKS = {
    "FPN": LayerCase(
        lambda: FPNConfig(channels=8).build(CHANNELS, IN_STRIDES), {"features": BACKBONE_MAPS}, PYRAMID, saves=True
    ),
    "FPN, bn": LayerCase(
        lambda: FPNConfig(channels=8, norm="bn").build(CHANNELS, IN_STRIDES),
        {"features": BACKBONE_MAPS},
        PYRAMID,
        moving=MOVING,
        saves=True,
    ),
    "PassThrough": LayerCase(
        lambda: PassThroughConfig(("c5",)).build(CHANNELS, IN_STRIDES),
        {"features": BACKBONE_MAPS},
        ((2, 3, 2, 6),),
        saves=True,
    ),
}

# Backbones and stages


def backbone(config: Any, moving: tuple[str, ...] = (), height: int = 33, width: int = 65) -> LayerCase:
    shapes = tuple(
        (1, -(-height // stride), -(-width // stride), config.channels[level])
        for level, stride in sorted(config.strides.items())
    )
    return LayerCase(
        config.build, {"x": normal(1, height, width, 3)}, shapes, moving=moving, frozen=("stem_", "stage2_"), deep=True
    )


BACKBONES = {
    "EfficientNetLite": backbone(EfficientNetLiteConfig()),
    "Swin": backbone(
        SwinConfig(depths=(2, 1, 1, 1), num_heads=(1, 2, 4, 8), width=8, window=4, freeze_at=2, drop_path=0.2)
    ),
    "ResNet": trained(
        backbone(
            ResNetConfig(groups=1, width_per_group=4, last_stage=4, norm="bn", non_local=ATTENTION),
            MOVING,
        )
    ),
}
SLOW_BACKBONES = {
    "MobileNetV3": backbone(MobileNetV3Config(freeze_at=2)),
    "ResNet, dilated": backbone(ResNetConfig(groups=2, width_per_group=4, dilate_c5=True, norm="gn", freeze_at=0)),
    "KerasApplications": backbone(KerasApplicationsConfig(name="MobileNetV3Small", freeze_at=1), height=64, width=96),
}
STAGES = {
    "Res5": LayerCase(
        lambda: Res5Config(width_per_group=2, norm="gn").build(16), {"x": normal(3, 4, 4, 16)}, ((3, 2, 2, 2048),)
    ),
}

# RPN, pooler and heads

PYRAMID_MAPS = {level: normal(2, 64 // s, 64 // s, 4) for level, s in STRIDES.items()}
CORNERS = RNG.uniform(0, 40, (2, 5, 2))
ROIS = {
    "features": PYRAMID_MAPS,
    "boxes": np.concatenate([CORNERS, CORNERS + RNG.uniform(8, 24, (2, 5, 2))], -1).astype(np.float32),
    "valid": np.array([[True] * 5, [True] * 3 + [False] * 2]),
    "window": np.array([[0, 0, 64, 64]] * 2, np.float32),
}


def pooling(size: int) -> RoiPoolConfig:
    return RoiPoolConfig(size=size, levels=tuple(STRIDES))


def head(config: Any, *shapes: tuple[int, ...], moving: tuple[str, ...] = (), deep: bool = False) -> LayerCase:
    return LayerCase(
        lambda: config.build(3, RoiPooler(config.pool, STRIDES, 4), name="head"),
        ROIS,
        shapes,
        call=lambda layer, inputs, training: layer(**inputs, training=training),
        float32=True,
        moving=moving,
        empty=1,
        deep=deep,
    )


BOX, MASK = {"pool": pooling(3), "fc_dims": (8,)}, {"pool": pooling(3), "conv_dims": (8,), "deconv_dim": 8}
CASCADE = CascadeBoxHeadConfig(**BOX, stage_ious=(0.5, 0.6), stage_delta_weights=((10, 10, 5, 5), (20, 20, 10, 10)))
JOINTS: dict[str, Any] = {"pool": pooling(2), "conv_dims": (5, 4), "num_joints": 3}
HEADS = {
    "box": head(BoxHeadConfig(**BOX), (2, 5, 4), (2, 5, 4, 3)),
    "box, agnostic, convolution": head(
        BoxHeadConfig(**BOX, class_agnostic=True, conv_dims=(32,), conv_norm="gn"), (2, 5, 4), (2, 5, 4, 1)
    ),
    "box, batch norm": head(
        BoxHeadConfig(**BOX, conv_dims=(8,), conv_norm="bn", fc_norm="bn", reduce="mean"),
        (2, 5, 4),
        (2, 5, 4, 3),
        moving=MOVING,
        deep=True,  # normalized by what five RoIs give
    ),
    "cascade": head(CASCADE, *2 * [(2, 5, 4), (2, 5), (2, 5, 4), (2, 5, 4, 1)]),
    "cascade of masks": head(CascadeMaskHeadConfig(**MASK, stages=2), *2 * [(2, 5, 6, 6, 3)]),
    "mask": head(MaskHeadConfig(**MASK), (2, 5, 6, 6, 3)),
    "mask, agnostic": head(MaskHeadConfig(**MASK, class_agnostic=True), (2, 5, 6, 6, 1)),
    "mask, softmax": head(MaskHeadConfig(**MASK, activation="softmax"), (2, 5, 6, 6, 4)),
    "mask, perceptron": head(MLPMaskHeadConfig(pool=pooling(3), fc_dims=(8,), mask_size=6), (2, 5, 6, 6, 3)),
    "keypoint": head(KeypointHeadConfig(pool=pooling(2), conv_dims=(5,), num_joints=3), (2, 5, 8, 8, 3)),
    "keypoint, non-local": trained(head(KeypointHeadConfig(**JOINTS, non_local=ATTENTION), (2, 5, 8, 8, 3))),
}
STACKS = {
    "ConvStack": LayerCase(
        lambda: built(ConvStack((6, 5), "bn", name="convs"), (None, 3, 3, 4)),
        {"x": normal(5, 3, 3, 4), "valid": np.array([True] * 4 + [False])},
        ((5, 3, 3, 5),),
        call=lambda layer, inputs, training: layer(inputs["x"], inputs["valid"], training=training),
        moving=MOVING,
    ),
}
POOLERS = {
    op: LayerCase(
        lambda op=op: RoiPooler(dataclasses.replace(pooling(2), op=op), STRIDES, 4),
        {name: ROIS[name] for name in ("features", "boxes", "valid")},
        ((2, 5, 2, 2, 4),),
        call=lambda layer, inputs, training: layer(**inputs),
        empty=1,
    )
    for op in ("align", "pool", "warp", "crop")
}
ANCHORS = 256 + 64


def rpn(**changes: Any) -> LayerCase:
    config = RPNConfig(
        anchors=AnchorConfig(sizes=((8.0,), (16.0,)), ratios=(1.0,)), levels=("p2", "p3"), channels=8, **changes
    )
    return LayerCase(
        lambda: config.build(4, STRIDES),
        {"features": PYRAMID_MAPS},
        ((2, ANCHORS), (2, ANCHORS, 4), (ANCHORS, 4)),
        call=lambda layer, inputs, training: layer(inputs["features"], training=training)[:3],
        float32=True,
    )


SEMANTIC = {
    "semantic": LayerCase(
        lambda: SemanticHeadConfig(levels=tuple(STRIDES), channels=8).build(2, 4, STRIDES, name="head"),
        {"features": PYRAMID_MAPS},
        ((2, 16, 16, 3),),
        float32=True,
        saves=True,
    ),
}
RPNS = {"RPN": rpn(), "RPN, softmax, two convolutions": rpn(objectness="softmax", num_convs=2)}

WEIGHTLESS = ("NormalizePixels", "DropPath", "PadToMultiple", "MergeCells")
SMALL = MAPS | NECKS | HEADS | STACKS | POOLERS | RPNS | SEMANTIC
CASES = SMALL | BACKBONES | STAGES
TRAINED = {name: case for name, case in CASES.items() if name not in (*WEIGHTLESS, "PassThrough", *POOLERS)}
# What is like another case to the check at hand, and takes seconds.
ALIKE = {"ConvNorm, affine_bn", "ConvNorm, dilated", "FPN, bn", "box", "box, batch norm", "mask, agnostic"}
ALIKE |= {"mask, softmax", "keypoint, non-local", "NonLocal, bn, whole"}
ALIKE |= {"mask, softmax", "WindowAttention", "DropPath", "Swin"}
ALIKE |= {"mask, perceptron", "pool", "warp", "crop", "ConvStack", "RPN, softmax, two convolutions", "ResNet", "Res5"}


def cases(chosen: dict[str, LayerCase], slow: Iterable[str] = ()) -> pytest.MarkDecorator:
    marked = {name: [pytest.mark.slow] if name in {*slow, *SLOW_BACKBONES} else [] for name in chosen}
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=name, marks=marked[name]) for name, case in chosen.items()]
    )


@cases(CASES | SLOW_BACKBONES)
def test_weights_are_there_before_the_first_call(case: LayerCase) -> None:
    harness.check_build(case)


@cases(MAPS | NECKS | SEMANTIC)
def test_shapes_are_declared(case: LayerCase) -> None:
    harness.check_declared_shape(case)


@cases(CASES | SLOW_BACKBONES, ALIKE)
def test_a_graph_computes_the_same(case: LayerCase) -> None:
    harness.check_graph(case)


@cases(TRAINED | SLOW_BACKBONES, ["Res5", "ResNet"])
def test_a_step_changes_what_trains_and_nothing_else(case: LayerCase) -> None:
    harness.check_step(case)


@cases(CASES | SLOW_BACKBONES, {*ALIKE, *BACKBONES})
def test_half_precision_keeps_its_weights_in_float32(case: LayerCase) -> None:
    harness.check_half_precision(case, "mixed_bfloat16")


@cases(CASES | SLOW_BACKBONES, {*CASES} - {"ConvNorm", "ConvNorm, frozen_bn", "ConvNorm, depthwise", "gn"})
def test_float16_keeps_its_weights_in_float32(case: LayerCase) -> None:
    harness.check_half_precision(case, "mixed_float16")


@cases(SMALL, ALIKE)
def test_of_nothing_there_is_nothing(case: LayerCase) -> None:
    harness.check_empty(case)


@cases({name: case for name, case in CASES.items() if case.saves}, ["FPN, bn"])
def test_keras_writes_and_reads_it(case: LayerCase, tmp_path: Path) -> None:
    harness.check_saved(case, tmp_path)


@pytest.mark.parametrize("use_bias", [False, True])
def test_a_dense_layer_of_cells_is_that_of_keras(use_bias: bool) -> None:
    arguments = {"activation": exact_gelu, "use_bias": use_bias}
    mine, theirs = (built(make(3, **arguments), (None, None, None, 8)) for make in (CellDense, keras.layers.Dense))
    theirs.set_weights([normal(*weight.shape) for weight in theirs.weights])
    mine.set_weights(theirs.get_weights())
    x = normal(2, 4, 5, 8)
    np.testing.assert_allclose(mine(x), theirs(x), atol=1e-5)


def test_every_argument_of_a_convolution_is_in_its_config() -> None:
    plain, grouped = {"filters": 8, "kernel_size": 3}, {"filters": 8, "kernel_size": 3, "stride": 1}
    changes = {
        "filters": (plain, 4),
        "kernel_size": (plain, 5),
        "stride": (plain, 2),
        "padding": (plain, "same"),
        "depthwise": ({"filters": None}, True),
        "groups": (grouped, 4),
        "dilation": (grouped, 2),
        "norm": (plain, "gn"),
        "epsilon": (plain, 0.1),
        "momentum": (plain, 0.5),
        "activation": (plain, "relu6"),
        "kernel_initializer": (plain, "zeros"),
    }
    own = keras.layers.Layer(name="conv").get_config()
    default = ConvNorm(8, name="conv").get_config()
    assert set(default) - set(own) == set(changes)
    for name, (others, value) in changes.items():
        config = ConvNorm(**(others | {name: value}), name="conv").get_config()
        assert config[name] != default[name], name
        assert ConvNorm.from_config(config).get_config() == config


# Configs


def config_classes() -> list[type[BaseConfig]]:
    """Every config of the package `mrcnn.modeling` that stands for something."""
    classes: set[type[BaseConfig]] = set()
    for info in pkgutil.walk_packages(mrcnn.modeling.__path__, "mrcnn.modeling."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, BaseConfig) and not vars(value).get("abstract"):
                classes.add(value)
    return sorted(classes - {BaseConfig}, key=lambda cls: cls.__name__)


def one_map(image: Any) -> Any:
    raise NotImplementedError  # only named


def two_maps(image: Any) -> Any:
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SquaredMaskLoss(MaskLoss):
    """A loss of another package."""


# Values that no rule finds: names that exist elsewhere.
NAMED: dict[tuple[str, str], Any] = {
    ("CallableConfig", "function"): f"{__name__}:two_maps",
    ("KerasApplicationsConfig", "name"): "MobileNetV3Small",
    ("KerasHubConfig", "side"): 64,
    ("CascadeBoxHeadConfig", "stage_loss_weights"): (1.0, 0.5, 0.25),
    ("CascadeMaskHeadConfig", "loss"): SquaredMaskLoss(),
    ("CascadeMaskHeadConfig", "stage_loss_weights"): (1.0, 0.5, 0.25),
    ("MaskHeadConfig", "loss"): SquaredMaskLoss(),
    ("MLPMaskHeadConfig", "loss"): SquaredMaskLoss(),
    ("PointRendMaskHeadConfig", "loss"): SquaredMaskLoss(),
    ("MaskRCNNConfig", "roi_stage"): Res5Config(),
    ("KeypointHeadConfig", "non_local"): NonLocalConfig(scaled=True),
    ("ResNetConfig", "non_local"): NonLocalConfig(reduction=4),
    ("ResNetConfig", "deformable"): DeformableConfig(modulated=True),
}
# A box head's activation goes with its class loss (tests/modeling/losses/test_sigmoid.py has both changed). A cascade
# refines one box for all classes, whatever its config says; PointRend has a mask of each class; a ConvNeXt
# and transformers have layer norms; rotated anchors have no choices that reproduce other programs' aligned ones.
FIXED = {
    *((f"{kind}BoxHeadConfig", "activation") for kind in ("", "Cascade", "Rotated")),
    ("CascadeBoxHeadConfig", "class_agnostic"),
    ("CascadeBoxHeadConfig", "train_on_pred_boxes"),
    ("PointRendMaskHeadConfig", "activation"),
    ("PointRendMaskHeadConfig", "class_agnostic"),
    ("ConvNeXtConfig", "norm"),
    ("SwinConfig", "norm"),
    ("ViTConfig", "norm"),
    ("MViTConfig", "norm"),
    *(("RotatedAnchorConfig", name) for name in ("order", "rounding", "stride", "end_offset")),
    *(("RotatedRPNConfig", name) for name in ("allowed_border", "match_edges")),
}
# How a config is made that has no defaults, or whose fields differ from them together only.
ORDINARY: dict[str, Callable[[], BaseConfig]] = {
    "MaskRCNNConfig": lambda: MaskRCNNConfig(
        semantic_head=SemanticHeadConfig(), stuff_names=("grass",), stuff_category_ids=(7,)
    ),
    "CallableConfig": lambda: CallableConfig(one_map),
    "KerasHubConfig": lambda: KerasHubConfig(network="{}"),
}


@pytest.mark.parametrize("cls", config_classes(), ids=lambda cls: cls.__name__)
def test_every_field_of_a_config_survives(cls: type[BaseConfig]) -> None:
    config = ORDINARY.get(cls.__name__, cls)()
    bases = [base for base in cls.__mro__ if issubclass(base, BaseConfig) and base is not BaseConfig]
    fields = changed_fields(config)
    for name, candidates in fields.items():
        if (cls.__name__, name) in FIXED:
            continue
        if (cls.__name__, name) in NAMED:
            changed = dataclasses.replace(config, **{name: NAMED[cls.__name__, name]})
        else:
            other = next(candidates, None)
            assert other is not None, f"{cls.__name__}.{name}: give it another value in NAMED"
            changed = other
        plain = json.loads(json.dumps(changed.to_dict()))
        for base in bases:
            again = base.from_dict(plain)
            assert again == changed and again != config, name
            assert type(getattr(again, name)) is type(getattr(changed, name)), name
