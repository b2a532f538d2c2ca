"""Checkpoints of Detectron, the Caffe2 code base: the .pkl files of its model zoo.

Ref: Detectron, modeling/{ResNet,FPN,rpn_heads,fast_rcnn_heads,mask_rcnn_heads,keypoint_rcnn_heads}.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mrcnn.weights.coco_classes import coco_classes
from mrcnn.weights.infer import expect_standard_anchors, infer
from mrcnn.weights.name_map import (
    ROI_STAGE,
    Converted,
    convert_all,
    leaf_of,
    refuse_unsupported,
)
from mrcnn.weights.network import Network
from mrcnn.weights.profiles import DETECTRON

_IGNORED = r"_momentum$|^lr$|^kps_score_[wb]$|^conv1_b$|^(fc1000|pred)_[wb]$"
_LEAVES = {"w": "weight", "s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_CONVS = {"2a": "conv1", "2b": "conv2", "2c": "conv3", "1": "shortcut"}
_LAYERS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"(?:res_)?conv1", lambda m: "backbone/stem_conv1"),
    (
        r"res([2-5])_(\d+)_branch(1|2[abc])",
        lambda m: f"backbone/stage{m[1]}_block{int(m[2]) + 1}_{_CONVS[m[3]]}",
    ),
    (r"fpn_inner_res([2-5])_\d+_sum(?:_lateral)?", lambda m: f"fpn/lateral{m[1]}"),
    (r"fpn_res([2-5])_\d+_sum", lambda m: f"fpn/output{m[1]}"),
    (r"conv_rpn(?:_fpn2)?", lambda m: "rpn/conv"),
    (r"rpn_cls_logits(?:_fpn2)?", lambda m: "rpn/objectness"),
    (r"rpn_bbox_pred(?:_fpn2)?", lambda m: "rpn/deltas"),
    (r"head_conv(\d+)", lambda m: f"box_head/convs/conv{m[1]}"),
    (r"fc([67])", lambda m: f"box_head/fc{int(m[1]) - 5}"),
    (r"cls_score", lambda m: "box_head/class_logits"),
    (r"bbox_pred", lambda m: "box_head/deltas"),
    (r"_(?:\[mask\]|mask)_fcn(\d+)", lambda m: f"mask_head/convs/conv{m[1]}"),
    (r"conv5_mask", lambda m: "mask_head/deconv"),
    (r"mask_fcn_logits", lambda m: "mask_head/mask_logits"),
    (r"conv_fcn(\d+)", lambda m: f"keypoint_head/convs/conv{m[1]}"),
    (r"kps_score_lowres", lambda m: "keypoint_head/deconv"),
)
_UNSUPPORTED = (
    (r"^retnet_", "RetinaNet is not supported"),
    (r"^_\[(mask|pose)\]_res5_", "mask and keypoint heads with a res5 of their own are not supported"),
    (r"^psroipool|^conv_new", "R-FCN is not supported"),
)


def matches(arrays: Mapping[str, Any]) -> bool:
    """True if the names are those of a ResNet of Detectron, whatever stands on it."""
    return "conv1_w" in arrays and "res2_0_branch2a_w" in arrays


def describe(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, source: str = "Detectron weights"
) -> Network:
    """The network that the weights are of.

    Where the stride is, the file's own config say (`cfg`); without them it is in the 1x1, as in MSRA's ResNets,
    except for ResNeXt and group norm.

    Args:
        arrays: anything with `shape`, by name.
        metadata: plain values beside them in the file; of these "cfg" is searched, as text.
        source: the file, for messages.

    Raises:
        WeightsError: another kind of network, or an incomplete one.
    """
    refuse_unsupported(arrays, _UNSUPPORTED, source)
    network = infer(
        {name: tuple(arrays[theirs].shape) for name, theirs in _ours(arrays).items()}, DETECTRON.background, source
    )
    expect_standard_anchors(network, source)
    norm = "gn" if "conv1_gn_s" in arrays else "frozen_bn"
    assumptions = ["pixels, anchors and RoIAlign as in the published baselines"]
    stride_in_1x1 = _stride_in_1x1((metadata or {}).get("cfg"))
    if stride_in_1x1 is None:
        stride_in_1x1 = network["backbone.groups"] == 1 and norm != "gn"
        assumptions.append(f"stride in the {'1x1' if stride_in_1x1 else '3x3'} convolution, as in the baselines")
    classes = coco_classes(network.num_classes, network.has_head("keypoint_head"))
    return network.changed(
        {"backbone.norm": norm, "backbone.stride_in_1x1": stride_in_1x1},
        family="detectron",
        class_names=classes and classes[0],
        category_ids=classes and classes[1],
        assumptions=tuple(assumptions),
    )


def _stride_in_1x1(cfg: Any) -> bool | None:
    """What the config say, a text of YAML with tags of Python classes; searched, since parsing would run them."""
    match = re.search(r"\bSTRIDE_1X1['\"]?\s*:\s*(true|false)\b", cfg, re.IGNORECASE) if isinstance(cfg, str) else None
    return None if match is None else match[1].lower() == "true"


def to_ours(arrays: Mapping[str, Any], network: Network) -> Converted:
    """The weights by our variable names, in our layouts; see `Converted`.

    Norms are a scale and a shift here; our moving statistics are set so that they change nothing.

    Args:
        arrays: as for `describe`.
        network: what `describe` gave.
    """
    return convert_all(arrays, _ours(arrays), network, DETECTRON.background, _IGNORED)


def _ours(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Our variable name -> name in the file."""
    ours: dict[str, str] = {}
    for name in arrays:
        split = re.fullmatch(r"(.*?)_(?:(bn|gn)_(s|b|rm|riv)|(w|b))", name)
        if not split or re.search(_IGNORED, name):
            continue
        leaf = leaf_of(_LEAVES[split[3] or split[4]], split[2] is not None)
        for pattern, layer in _LAYERS:
            match = re.fullmatch(pattern, split[1])
            if match:
                ours[f"{layer(match)}/{leaf}"] = name
                break
    if "fpn/lateral5/kernel" not in ours and "box_head/fc1/kernel" not in ours:
        # The same blobs are the backbone's last stage in one network and run on each RoI in another.
        ours = {name.replace("backbone/stage5_", f"{ROI_STAGE}/"): theirs for name, theirs in ours.items()}
    return ours
