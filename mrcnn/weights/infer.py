"""The network behind a set of our variable names with PyTorch's shapes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from mrcnn.modeling.backbones import mobilenet_v3
from mrcnn.modeling.backbones.resnet import BLOCKS
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.normalize import NormKind
from mrcnn.modeling.semantic_head import SemanticHeadConfig
from mrcnn.weights import mvit, point_rend, regnet, vit
from mrcnn.weights.coco_classes import stuff_classes
from mrcnn.weights.name_map import ROI_STAGE
from mrcnn.weights.network import Network
from mrcnn.weights.report import WeightsError

_MEAN = "norm/moving_mean"


def infer(shapes: Mapping[str, tuple[int, ...]], background: Literal["first", "last"], source: str) -> Network:
    """The network behind a set of our variable names with PyTorch's shapes.

    What shapes cannot tell has its default; the importer replaces it.

    Args:
        shapes: our name -> shape in the file.
        background: see `convert_all`.
        source: the file, for messages.

    Raises:
        WeightsError: not a network of this kind, an incomplete one, or shapes that contradict each other.
    """
    look = _Look(shapes, source)
    _expect_whole_layers(look)
    anchors = look("rpn/objectness/kernel")[0]
    look.expect("rpn/deltas/kernel", 0, 4 * anchors, f"4 for each of {anchors} anchors")
    box_head = _box_head(look, background)
    overrides = {
        **_backbone(look),
        **_neck(look),
        "rpn.channels": look("rpn/objectness/kernel")[1],
        "rpn.num_convs": look.count("rpn/conv{}/kernel") or 1,
        **box_head,
    }
    if point_rend.has_point_rend(shapes):
        overrides |= point_rend.sizes(look, look.widths, box_head["num_classes"], source)
        if box_head["box_head.num_stages"] == 1:
            overrides["box_head.train_on_pred_boxes"] = True  # as in the configurations of projects/PointRend
    elif look.has("mask_head/"):
        overrides |= _mask_head(look, box_head["num_classes"], background)
        if overrides["mask_head.num_stages"] not in (1, box_head["box_head.num_stages"]):
            raise WeightsError(
                f"{source}: mask heads for {overrides['mask_head.num_stages']} stages, expected 1 or "
                f"{box_head['box_head.num_stages']}, one for each box head"
            )
    if look.has("keypoint_head/"):
        overrides |= {
            "keypoint_head.num_joints": look("keypoint_head/deconv/kernel")[1],
            "keypoint_head.conv_dims": look.widths("keypoint_head/convs/conv{}/kernel"),
        }
    if look.has("semantic_head/"):
        overrides |= _semantic_head(look)
    return Network("detectron2", overrides, anchors)


def expect_standard_anchors(network: Network, source: str) -> None:
    """Refuse a number of anchors per cell that cannot be that of the family's anchors.

    Raises:
        WeightsError: neither 3 on a pyramid nor 15 on a single map.
    """
    expected = 3 if network["neck"] in ("fpn", "simple_fpn") else 15
    if network.anchors_per_cell != expected:
        raise WeightsError(
            f"{source}: {network.anchors_per_cell} anchors per cell, expected {expected}; "
            "the file does not say what other anchors these are"
        )


class _Look:
    """Shapes by name, with a message for a name that is not there."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
        self.shapes, self.source = shapes, source

    def __call__(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise WeightsError(f"{self.source}: not a whole Mask, Faster or Keypoint R-CNN, nothing in it is {name}")
        return tuple(self.shapes[name])

    def has(self, beginning: str) -> bool:
        return any(name.startswith(beginning) for name in self.shapes)

    def expect(self, name: str, axis: int, size: int, why: str) -> None:
        shape = self(name)
        if shape[axis] != size:
            raise WeightsError(f"{self.source}: {name} is {list(shape)}, expected {size} ({why}) at axis {axis}")

    def count(self, pattern: str) -> int:
        """How many of a numbered layer there are; a gap in the numbers would hide those behind it."""
        before, after = map(re.escape, pattern.split("{}"))
        numbers = {int(m[1]) for m in (re.fullmatch(rf"{before}(\d+){after}", name) for name in self.shapes) if m}
        absent = next(number for number in itertools.count(1) if number not in numbers)
        if max(numbers, default=0) > absent:
            raise WeightsError(f"{self.source}: {pattern.format(absent)} is missing, later ones are there")
        return len(numbers)

    def widths(self, pattern: str) -> tuple[int, ...]:
        return tuple(self(pattern.format(i))[0] for i in range(1, self.count(pattern) + 1))

    def norm(self, layer: str) -> NormKind:
        """What follows the layer, as far as names tell: "bn" stands for all batch norms."""
        if f"{layer}/{_MEAN}" in self.shapes:
            return "bn"
        return "gn" if f"{layer}/norm/gamma" in self.shapes else "none"


def _expect_whole_layers(look: _Look) -> None:
    """A layer that lacks one of its arrays would pass for a layer that is not there."""
    for name in look.shapes:
        layer, leaf = name.rsplit("/", 1)
        partners = ["kernel"] if leaf == "bias" else []
        if layer.endswith("/norm"):
            is_live = any(f"{layer}/{moving}" in look.shapes for moving in ("moving_mean", "moving_variance"))
            partners = ["gamma", "beta", *(("moving_mean", "moving_variance") if is_live else ())]
        for partner in partners:
            if f"{layer}/{partner}" not in look.shapes:
                raise WeightsError(f"{look.source}: {layer}/{partner} is missing, while {name} is there")


def _backbone(look: _Look) -> dict[str, Any]:
    if look.has("backbone/stem_block1_"):
        return _mobilenet(look)
    if look.has("backbone/stage2_block1_attention/queries_depthwise/"):
        return mvit.sizes_of(look)
    if look.has("backbone/stage2_block1_attention/"):
        return _swin(look)
    if look.has("backbone/stem_conv/") and look.has("backbone/stage2_block1_conv1/"):
        return _regnet(look)
    if look.has("backbone/stem_patches/"):
        return vit.sizes_of(look)
    return _convnext(look) if look.has("backbone/stem_conv/") else _resnet(look)


def _mobilenet(look: _Look) -> dict[str, Any]:
    for block in mobilenet_v3.BLOCKS:
        layer, axes = f"backbone/{block.name}", (block.channels, block.expanded)
        for axis, size in enumerate(axes):
            look.expect(f"{layer}_project/kernel", axis, size, "MobileNetV3-Large")
        look.expect(f"{layer}_depthwise/kernel", 2, block.kernel_size, "MobileNetV3-Large")
    return {
        "backbone": "mobilenet_v3",
        "backbone.maps": "last_two",
        "backbone.norm": look.norm("backbone/stem_conv1"),
    }


def _swin(look: _Look) -> dict[str, Any]:
    stages = (2, 3, 4, 5)
    width = look("backbone/stem_conv/kernel")[0]
    positions = [look(f"backbone/stage{stage}_block1_attention/position_bias") for stage in stages]
    window = (math.isqrt(positions[0][0]) + 1) // 2
    for stage in stages:
        look.expect(
            f"backbone/stage{stage}_block1_attention/position_bias",
            0,
            (2 * window - 1) ** 2,
            f"relative positions in a window of {window} x {window}",
        )
        look.expect(f"backbone/stage{stage}_out_norm/gamma", 0, width * 2 ** (stage - 2), "twice those before")
    expanded = look("backbone/stage2_block1_expand/kernel")[0]
    if expanded % width:
        raise WeightsError(f"{look.source}: a block of {width} channels has {expanded} within, expected a multiple")
    return {
        "backbone": "swin",
        "backbone.depths": tuple(
            look.count(f"backbone/stage{stage}_block{{}}_attention/qkv/kernel") for stage in stages
        ),
        "backbone.num_heads": tuple(shape[1] for shape in positions),
        "backbone.width": width,
        "backbone.window": window,
        "backbone.mlp_ratio": expanded // width,
        "backbone.norm": "none",
    }


def _regnet(look: _Look) -> dict[str, Any]:
    depths = tuple(look.count(f"backbone/stage{stage}_block{{}}_conv2/kernel") for stage in regnet.STAGES)
    squeezes = look.has("backbone/stage2_block1_squeeze/")
    return {**regnet.sizes(look, depths, squeezes, look.source), "backbone.norm": look.norm("backbone/stem_conv")}


def _convnext(look: _Look) -> dict[str, Any]:
    stages = (2, 3, 4, 5)
    depths = tuple(look.count(f"backbone/stage{stage}_block{{}}_depthwise/kernel") for stage in stages)
    widths = tuple(look(f"backbone/stage{stage}_block1_depthwise/kernel")[0] for stage in stages)
    return {"backbone": "convnext", "backbone.depths": depths, "backbone.widths": widths, "backbone.norm": "none"}


def _resnet(look: _Look) -> dict[str, Any]:
    stem = look("backbone/stem_conv1/kernel")
    if stem[0] != 64 or stem[2:] != (7, 7):
        raise WeightsError(f"{look.source}: the stem is {list(stem)}, expected a 7x7 convolution to 64 channels")
    blocks = tuple(look.count(f"backbone/stage{stage}_block{{}}_conv1/kernel") for stage in (2, 3, 4))
    last = look.count("backbone/stage5_block{}_conv1/kernel") or look.count(f"{ROI_STAGE}/block{{}}_conv1/kernel")
    depths = [depth for depth, counts in BLOCKS.items() if counts == (*blocks, last)]
    if not depths:
        known = ", ".join(f"{depth}: {list(counts)}" for depth, counts in BLOCKS.items())
        raise WeightsError(f"{look.source}: stages of {[*blocks, last]} blocks, expected those of a ResNet ({known})")
    width, width_per_group = look("backbone/stage2_block1_conv2/kernel")[:2]
    if width % width_per_group:
        raise WeightsError(f"{look.source}: a convolution of {width} channels in groups of {width_per_group}")
    groups = width // width_per_group
    return {
        "backbone.depth": depths[0],
        "backbone.groups": groups,
        "backbone.width_per_group": width_per_group,
        "backbone.norm": look.norm("backbone/stem_conv1"),
        "backbone.epsilon": 1e-5,
        "backbone.stride_in_1x1": False,
        **_deformable(look),
    }


def _deformable(look: _Look) -> dict[str, Any]:
    """The stages whose blocks all have offsets, of how many channels: 18 a group, or 27 with a weight of each tap."""
    stages, configs = [], set()
    for stage in (2, 3, 4, 5):
        blocks = look.count(f"backbone/stage{stage}_block{{}}_conv1/kernel")
        deformable = look.count(f"backbone/stage{stage}_block{{}}_conv2_offset/kernel")
        if deformable not in (0, blocks):
            raise WeightsError(
                f"{look.source}: {deformable} of {blocks} blocks of stage {stage} have deformable convolutions,"
                " expected all or none"
            )
        if not deformable:
            continue
        stages.append(stage)
        for block in range(1, blocks + 1):
            name = f"backbone/stage{stage}_block{block}_conv2_offset/kernel"
            channels, width = look(name)[:2]
            modulated = channels % 27 == 0 and width % (channels // 27) == 0
            if not modulated and (channels % 18 or width % (channels // 18)):
                raise WeightsError(
                    f"{look.source}: {name} has {channels} channels, expected 18, or 27 with modulation, for each group"
                    f" of {width} channels"
                )
            configs.add((modulated, channels // (27 if modulated else 18)))
    if not stages:
        return {}
    if len(configs) > 1:
        raise WeightsError(f"{look.source}: deformable convolutions of several kinds, expected the same in all stages")
    ((modulated, groups),) = configs
    return {"backbone.deformable": DeformableConfig(tuple(stages), modulated, groups)}


def _neck(look: _Look) -> dict[str, Any]:
    kind: str = "c4" if f"{ROI_STAGE}/block1_conv1/kernel" in look.shapes else "dc5"
    if not look.has("fpn/"):
        return {"neck": kind, "neck.channels": look("rpn/objectness/kernel")[1], "neck.norm": "none"}
    maps = (5, 6) if look.has("backbone/stem_block1_") else (2, 3, 4, 5)
    for level in maps:
        look(f"fpn/output{level}/kernel")
    first = f"fpn/lateral{maps[0]}"
    channels, norm = look(f"{first}/kernel")[0], look.norm(first)
    if look.has("fpn/enlarge3/"):
        return {"neck": "simple_fpn", "neck.channels": channels, "neck.norm": norm}
    return {"neck": "fpn" if kind == "dc5" else kind, "neck.channels": channels, "neck.norm": norm}


def _box_head(look: _Look, background: str) -> dict[str, Any]:
    """The number of things, and the head; of a cascade, each of its stages."""
    num_stages = look.count("box_head/stage{}/class_logits/kernel") or 1
    if num_stages not in (1, 3):
        raise WeightsError(f"{look.source}: a cascade of {num_stages} stages, expected 3")
    head = "box_head/stage1" if look.has("box_head/stage1/") else "box_head"
    convs, fcs = look.widths(f"{head}/convs/conv{{}}/kernel"), look.widths(f"{head}/fc{{}}/kernel")
    num_classes = look(f"{head}/class_logits/kernel")[0] - 1
    boxes = look(f"{head}/deltas/kernel")[0] / 4 - (background == "first")
    if num_classes < 1 or boxes not in (1, num_classes):
        raise WeightsError(
            f"{look.source}: {4 * int(boxes)} box values for {num_classes} classes in {head}/deltas/kernel, "
            f"expected 4 or {4 * num_classes}"
        )
    pool_size = 7
    if fcs:
        channels = convs[-1] if convs else look("rpn/objectness/kernel")[1]
        pyramid = next((name for name in look.shapes if re.fullmatch(r"fpn/output\d/kernel", name)), None)
        if not convs and pyramid is not None:
            channels = look(pyramid)[0]
        pool_size = math.isqrt(look(f"{head}/fc1/kernel")[1] // channels)
        look.expect(f"{head}/fc1/kernel", 1, channels * pool_size**2, f"a square of bins x {channels} channels")
    return {
        "num_classes": num_classes,
        "box_head.conv_dims": convs,
        "box_head.conv_norm": look.norm(f"{head}/convs/conv1"),
        "box_head.fc_dims": fcs,
        "box_head.pool.size": pool_size,
        "box_head.class_agnostic": boxes < num_classes,
        "box_head.num_stages": num_stages,
    }


def _mask_head(look: _Look, num_classes: int, background: str) -> dict[str, Any]:
    head = "mask_head/stage1" if look.has("mask_head/stage1/") else "mask_head"
    masks = look(f"{head}/mask_logits/kernel")[0]
    specific = num_classes + (background == "first")
    if masks not in (1, specific):
        raise WeightsError(
            f"{look.source}: {masks} masks for {num_classes} classes in {head}/mask_logits/kernel, "
            f"expected 1 or {specific}"
        )
    return {
        "mask_head.conv_dims": look.widths(f"{head}/convs/conv{{}}/kernel"),
        "mask_head.conv_norm": look.norm(f"{head}/convs/conv1"),
        "mask_head.deconv_dim": look(f"{head}/deconv/kernel")[1],
        "mask_head.num_stages": look.count("mask_head/stage{}/mask_logits/kernel") or 1,
        "mask_head.class_agnostic": masks < specific,
    }


def _semantic_head(look: _Look) -> dict[str, Any]:
    """The branch and its stuff classes; a level at 2^n times the common stride has n convolutions, that at it one."""
    numbers = {int(m[1]) for m in (re.match(r"semantic_head/p(\d)_conv", name) for name in look.shapes) if m}
    counts = {f"p{n}": look.count(f"semantic_head/p{n}_conv{{}}/kernel") for n in sorted(numbers)}
    if not numbers:
        raise WeightsError(f"{look.source}: a semantic branch without convolutions of a level")
    finest, coarsest = min(numbers), max(numbers)
    more = counts[f"p{coarsest}"] > 1
    common_stride = 2 ** (coarsest - counts[f"p{coarsest}"]) if more else 2**finest
    channels = look("semantic_head/predictor/kernel")[1]
    config = SemanticHeadConfig(tuple(counts), channels, common_stride=common_stride)
    expected = config.num_convs({f"p{n}": 2**n for n in numbers})
    if counts != expected:
        raise WeightsError(f"{look.source}: a semantic branch with {counts} convolutions, expected {expected}")
    names, ids = stuff_classes(look("semantic_head/predictor/kernel")[0] - 1)
    return {
        "stuff_names": names,
        "stuff_category_ids": ids,
        "semantic_head.levels": tuple(counts),
        "semantic_head.channels": channels,
        "semantic_head.norm": look.norm(f"semantic_head/p{finest}_conv1"),
        "semantic_head.common_stride": common_stride,
    }
