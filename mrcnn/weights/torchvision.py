"""Checkpoints of torchvision's Mask, Faster and Keypoint R-CNN with a pyramid: of a ResNet, both versions, and of
MobileNetV3-Large, both sizes.

Ref: torchvision, models/detection/{mask_rcnn,faster_rcnn,keypoint_rcnn,backbone_utils}.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from mrcnn.modeling.backbones import mobilenet_v3
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.weights.coco_classes import coco_classes
from mrcnn.weights.infer import expect_standard_anchors, infer
from mrcnn.weights.name_map import (
    Converted,
    convert_all,
    leaf_of,
    lone_conv,
    refuse_unsupported,
)
from mrcnn.weights.network import Network
from mrcnn.weights.profiles import TORCHVISION, TORCHVISION_V2
from mrcnn.weights.report import WeightsError

_IGNORED = r"\.num_batches_tracked$"
_PREDICTORS = {"cls_score": "class_logits", "bbox_pred": "deltas"}
_RPN = {"cls_logits": "objectness", "bbox_pred": "deltas"}
_FPN = {"inner": "lateral", "layer": "output"}
_MASK = {"conv5_mask": "deconv", "mask_fcn_logits": "mask_logits"}
_BACKBONE = r"backbone\.body\."
# Our layer, and whether its norm is meant, by their layer. A module of convolution and norm numbers them 0 and 1;
# files written before torchvision 0.14 know no such modules in pyramid, RPN and mask head.
_LAYERS: tuple[tuple[str, Callable[[re.Match[str]], tuple[str, bool]]], ...] = (
    (rf"{_BACKBONE}(conv|bn)1", lambda m: ("backbone/stem_conv1", m[1] == "bn")),
    (
        rf"{_BACKBONE}layer([1-4])\.(\d+)\.(conv|bn)([123])",
        lambda m: (f"backbone/stage{int(m[1]) + 1}_block{int(m[2]) + 1}_conv{m[4]}", m[3] == "bn"),
    ),
    (
        rf"{_BACKBONE}layer([1-4])\.(\d+)\.downsample\.([01])",
        lambda m: (f"backbone/stage{int(m[1]) + 1}_block{int(m[2]) + 1}_shortcut", m[3] == "1"),
    ),
    (rf"{_BACKBONE}0\.([01])", lambda m: ("backbone/stem_conv1", m[1] == "1")),
    (rf"{_BACKBONE}16\.([01])", lambda m: ("backbone/stage5_conv", m[1] == "1")),
    (rf"{_BACKBONE}(\d+)\.block\.(\d+)\.([01]|fc1|fc2)", lambda m: _of_block(int(m[1]), int(m[2]), m[3])),
    (
        r"backbone\.fpn\.(inner|layer)_blocks\.(\d)(?:\.([01]))?",
        lambda m: (f"fpn/{_FPN[m[1]]}{int(m[2]) + 2}", m[3] == "1"),
    ),
    (r"rpn\.head\.conv(?:\.(\d+)\.0)?", lambda m: (f"rpn/conv{int(m[1] or 0) + 1}", False)),
    (r"rpn\.head\.(cls_logits|bbox_pred)", lambda m: (f"rpn/{_RPN[m[1]]}", False)),
    (r"roi_heads\.box_head\.fc([67])", lambda m: (f"box_head/fc{int(m[1]) - 5}", False)),
    (r"roi_heads\.box_head\.(\d+)\.([01])", lambda m: (f"box_head/convs/conv{int(m[1]) + 1}", m[2] == "1")),
    (r"roi_heads\.box_head\.(\d+)", lambda m: (f"box_head/fc_module{m[1]}", False)),
    (r"roi_heads\.box_predictor\.(cls_score|bbox_pred)", lambda m: (f"box_head/{_PREDICTORS[m[1]]}", False)),
    (r"roi_heads\.mask_head\.mask_fcn(\d+)", lambda m: (f"mask_head/convs/conv{m[1]}", False)),
    (r"roi_heads\.mask_head\.(\d+)\.([01])", lambda m: (f"mask_head/convs/conv{int(m[1]) + 1}", m[2] == "1")),
    (r"roi_heads\.mask_predictor\.(conv5_mask|mask_fcn_logits)", lambda m: (f"mask_head/{_MASK[m[1]]}", False)),
    (r"roi_heads\.keypoint_head\.(\d+)", lambda m: (f"keypoint_head/convs/conv{int(m[1]) // 2 + 1}", False)),
    (r"roi_heads\.keypoint_predictor\.kps_score_lowres", lambda m: ("keypoint_head/deconv", False)),
)
_UNSUPPORTED = (
    (r"^head\.(classification_head|regression_head)\.", "RetinaNet, FCOS and SSD are not supported"),
    (r"^backbone\.fpn\.extra_blocks\.", "a pyramid with further convolutions is not supported"),
)


_OTHER_BACKBONE = (
    (
        rf"^({_BACKBONE}\d+\.|backbone\.\d+\.)",
        "only ResNet, ResNeXt and MobileNetV3-Large backbones with a pyramid are supported",
    ),
)


def _of_block(number: int, module: int, part: str) -> tuple[str, bool]:
    """Our layer in an inverted-residual block by the number of theirs, and whether its norm is meant."""
    blocks = mobilenet_v3.BLOCKS
    block = blocks[min(max(number, 1), len(blocks)) - 1]
    parts = ["depthwise", "squeeze", "project"] if block.squeezes else ["depthwise", "project"]
    parts = parts if number == 1 else ["expand", *parts]  # the first block does not expand
    kind = parts[module] if module < len(parts) else f"module{module}"
    if part.startswith("fc"):
        return f"backbone/{block.name}_{'squeeze' if part == 'fc1' else 'excite'}", False
    return f"backbone/{block.name}_{kind}", part == "1"


def _three_up(m: re.Match[str]) -> str:
    return f"fpn/{m[1]}{int(m[2]) + 3}/"


def matches(arrays: Mapping[str, Any]) -> bool:
    """True if the names are those of a detector of torchvision, supported or not."""
    return any(re.match(rf"{_BACKBONE}|backbone\.fpn\.|rpn\.head\.", name) for name in arrays)


def describe(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, source: str = "torchvision weights"
) -> Network:
    """The network that the weights are of.

    What names and shapes do not tell is decided as torchvision's constructors do: norms in the pyramid mean version 2,
    batch norm with epsilon 1e-5 everywhere; else the backbone's norm is frozen with epsilon 0, as with the COCO
    weights, unless the file counts batches, which frozen norms do not.

    Args:
        arrays: anything with `shape`, by name.
        metadata: plain values beside them in the file; not used.
        source: the file, for messages.

    Raises:
        WeightsError: another kind of network, or an incomplete one.
    """
    del metadata
    is_mobilenet = any(re.match(rf"{_BACKBONE}1\.block\.", name) for name in arrays)
    refuse_unsupported(arrays, _UNSUPPORTED if is_mobilenet else _UNSUPPORTED + _OTHER_BACKBONE, source)
    network = infer(
        {name: tuple(arrays[theirs].shape) for name, theirs in _ours(arrays).items()}, TORCHVISION.background, source
    )
    if is_mobilenet:
        return _mobilenet(arrays, network, source)
    expect_standard_anchors(network, source)
    is_v2 = network["neck.norm"] == "bn"
    assumptions = ["pixels, anchors and RoIAlign as in torchvision's constructors"]
    if is_v2:
        norm, epsilon = "bn", TORCHVISION_V2.norm_epsilon
    elif any(name.endswith(".num_batches_tracked") for name in arrays):
        norm, epsilon = "bn", TORCHVISION_V2.norm_epsilon
        assumptions.append("batch norm with epsilon 1e-5, since the file counts batches")
    else:
        norm, epsilon = "frozen_bn", TORCHVISION.norm_epsilon
        assumptions.append("frozen batch norm with epsilon 0, as with the COCO weights; 1e-5 if begun from ImageNet's")
    classes = coco_classes(network.num_classes, network.has_head("keypoint_head"))
    return network.changed(
        {"backbone.norm": norm, "backbone.epsilon": epsilon},
        family="torchvision_v2" if is_v2 else "torchvision",
        class_names=classes and classes[0],
        category_ids=classes and classes[1],
        assumptions=tuple(assumptions),
    )


def _mobilenet(arrays: Mapping[str, Any], network: Network, source: str) -> Network:
    """`fasterrcnn_mobilenet_v3_large_fpn` and `_320_fpn`, which have the same arrays."""
    sizes = (32.0, 64.0, 128.0, 256.0, 512.0)
    pyramid = FPNConfig(levels=("c5", "c6"))
    if network.anchors_per_cell != 3 * len(sizes):
        raise WeightsError(f"{source}: {network.anchors_per_cell} anchors per cell, expected {3 * len(sizes)}")
    is_live = any(name.endswith(".num_batches_tracked") for name in arrays)
    changes: dict[str, Any] = {
        "backbone.norm": "bn" if is_live else "frozen_bn",
        "backbone.epsilon": 1e-5,
        "backbone.freeze_at": 3,
        "neck.levels": pyramid.levels,
        "rpn.levels": pyramid.outputs,
        "rpn.anchors.sizes": (sizes,) * len(pyramid.outputs),
        "rpn.score_threshold": 0.05,
        "pool.levels": ("p5",),  # of two maps of one stride the first serves RoIs of every size
    }
    is_small = "_320_" in PurePath(source).name
    if is_small:
        changes |= {"input.short_side": 320, "input.long_side": 640, "rpn.pre_nms_test": 150, "rpn.post_nms_test": 150}
    classes = coco_classes(network.num_classes, network.has_head("keypoint_head"))
    return network.changed(
        changes,
        family="torchvision",
        class_names=classes and classes[0],
        category_ids=classes and classes[1],
        assumptions=(
            f"{'batch' if is_live else 'frozen batch'} norm with epsilon 1e-5",
            "images of 320 to 640 pixels and 150 proposals, as the file's name has _320_"
            if is_small
            else "images of 800 to 1333 pixels and 1000 proposals; the arrays are those of the _320_ network too",
        ),
    )


def to_ours(arrays: Mapping[str, Any], network: Network) -> Converted:
    """The weights by our variable names, in our layouts; see `Converted`.

    Args:
        arrays: as for `describe`.
        network: what `describe` gave.
    """
    return convert_all(arrays, _ours(arrays), network, TORCHVISION.background, _IGNORED)


def _ours(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Our variable name -> name in the file."""
    ours: dict[str, str] = {}
    for name in arrays:
        theirs, _, their_leaf = name.rpartition(".")
        for pattern, layer in _LAYERS:
            match = re.fullmatch(pattern, theirs)
            if match:
                our_layer, is_norm = layer(match)
                leaf = leaf_of(their_leaf, is_norm)
                if leaf is not None:
                    ours[f"{our_layer}/{leaf}"] = name
                break
    if any(name.startswith("backbone/stem_block1_") for name in ours):  # whose pyramid begins with c5
        ours = {re.sub(r"^fpn/([a-z]+)(\d)/", _three_up, name): source for name, source in ours.items()}
    # The dense layers of a deep box head are numbered on after the convolutions and the flattening.
    modules = sorted({int(m[1]) for m in (re.match(r"box_head/fc_module(\d+)/", name) for name in ours) if m})
    for number, module in enumerate(modules, start=1):
        for leaf in ("kernel", "bias"):
            if f"box_head/fc_module{module}/{leaf}" in ours:
                ours[f"box_head/fc{number}/{leaf}"] = ours.pop(f"box_head/fc_module{module}/{leaf}")
    return lone_conv(ours, "rpn/conv")
