"""Names of mmdetection's arrays, and the variables of ours that they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mrcnn.weights import swin
from mrcnn.weights.name_map import leaf_of

_Row = tuple[str, Callable[[re.Match[str]], str], bool]
"""Pattern of a module, our layer, is it a norm."""
_NORM = r"(?:bn|gn|ln|norm)"


def _block(m: re.Match[str], layer: str) -> str:
    return f"backbone/stage{int(m[1]) + 1}_block{int(m[2]) + 1}_{layer}"


def _with_norm(module: str, layer: Callable[[re.Match[str]], str]) -> tuple[_Row, _Row]:
    """A convolution and its norm, which are one layer of ours."""
    return (rf"{module}\.conv", layer, False), (rf"{module}\.{_NORM}", layer, True)


_RESNET = r"backbone\.layer([1-4])\.(\d+)"
_NECK = {"lateral_convs": "lateral", "fpn_convs": "output"}
_RPN = {"rpn_cls": "objectness", "rpn_reg": "deltas"}
_BOX = {"fc_cls": "class_logits", "fc_reg": "deltas"}
_MASK = {"upsample": "deconv", "conv_logits": "mask_logits"}
_NEXT_BLOCK = r"backbone\.stages\.([0-3])\.(\d+)"
_NEXT = {"depthwise_conv": "depthwise", "pointwise_conv1": "expand", "pointwise_conv2": "project"}
_LAYER_NORMS = {"weight": "gamma", "bias": "beta"}
# Layers of a ConvNeXt; norms are layer norms, layers of their own.
_CONVNEXT: tuple[_Row, ...] = (
    (r"backbone\.downsample_layers\.0\.0", lambda m: "backbone/stem_conv", False),
    (r"backbone\.downsample_layers\.0\.1", lambda m: "backbone/stem_norm", True),
    (r"backbone\.downsample_layers\.([1-3])\.0", lambda m: f"backbone/stage{int(m[1]) + 2}_down_norm", True),
    (r"backbone\.downsample_layers\.([1-3])\.1", lambda m: f"backbone/stage{int(m[1]) + 2}_down_conv", False),
    (
        rf"{_NEXT_BLOCK}\.(depthwise_conv|pointwise_conv[12])",
        lambda m: f"backbone/stage{int(m[1]) + 2}_block{int(m[2]) + 1}_{_NEXT[m[3]]}",
        False,
    ),
    (rf"{_NEXT_BLOCK}\.norm", lambda m: f"backbone/stage{int(m[1]) + 2}_block{int(m[2]) + 1}_norm", True),
    (r"backbone\.norm([0-3])", lambda m: f"backbone/stage{int(m[1]) + 2}_out_norm", True),
)
_BOX_HEAD, _MASK_HEAD = (rf"roi_head\.{kind}_head(?:\.(\d))?" for kind in ("bbox", "mask"))


def _in_head(head: str, m: re.Match[str], layer: str) -> str:
    """Our name of a head's layer; the heads of a cascade are numbered from 0 there and called stages here."""
    return f"{head}/{layer}" if m[1] is None else f"{head}/stage{int(m[1]) + 1}/{layer}"


_LAYERS: tuple[_Row, ...] = (
    (r"backbone\.conv1", lambda m: "backbone/stem_conv1", False),
    (rf"backbone\.{_NORM}1", lambda m: "backbone/stem_conv1", True),
    (rf"{_RESNET}\.conv([123])", lambda m: _block(m, f"conv{m[3]}"), False),
    (rf"{_RESNET}\.{_NORM}([123])", lambda m: _block(m, f"conv{m[3]}"), True),
    (rf"{_RESNET}\.downsample\.0", lambda m: _block(m, "shortcut"), False),
    (rf"{_RESNET}\.downsample\.1", lambda m: _block(m, "shortcut"), True),
    *_with_norm(r"neck\.(lateral_convs|fpn_convs)\.([0-3])", lambda m: f"fpn/{_NECK[m[1]]}{int(m[2]) + 2}"),
    (r"rpn_head\.rpn_conv", lambda m: "rpn/conv", False),
    (r"rpn_head\.rpn_conv\.(\d+)\.conv", lambda m: f"rpn/conv{int(m[1]) + 1}", False),
    (r"rpn_head\.(rpn_cls|rpn_reg)", lambda m: f"rpn/{_RPN[m[1]]}", False),
    *_with_norm(rf"{_BOX_HEAD}\.shared_convs\.(\d+)", lambda m: _in_head("box_head", m, f"convs/conv{int(m[2]) + 1}")),
    (rf"{_BOX_HEAD}\.shared_fcs\.(\d+)", lambda m: _in_head("box_head", m, f"fc{int(m[2]) + 1}"), False),
    (rf"{_BOX_HEAD}\.(fc_cls|fc_reg)", lambda m: _in_head("box_head", m, _BOX[m[2]]), False),
    *_with_norm(rf"{_MASK_HEAD}\.convs\.(\d+)", lambda m: _in_head("mask_head", m, f"convs/conv{int(m[2]) + 1}")),
    (rf"{_MASK_HEAD}\.(upsample|conv_logits)", lambda m: _in_head("mask_head", m, _MASK[m[2]]), False),
)


def our_names(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Our variable name -> name in the file.

    Example:
        >>> our_names({"roi_head.bbox_head.2.fc_reg.weight": None})
        {'box_head/stage3/deltas/kernel': 'roi_head.bbox_head.2.fc_reg.weight'}
    """
    ours: dict[str, str] = {}
    is_convnext = "backbone.downsample_layers.0.0.weight" in arrays
    is_swin = swin.has_swin(arrays)
    for name in arrays:
        theirs, _, their_leaf = name.rpartition(".")
        if is_swin and theirs.startswith("backbone."):
            own_name = swin.our_name(name.removeprefix("backbone."))
            ours |= {} if own_name is None else {f"backbone/{own_name}": name}
            continue
        if is_convnext and theirs.startswith("backbone."):
            ours |= _of_convnext(name, theirs, their_leaf)
            continue
        for pattern, layer, is_norm in _LAYERS:
            match = re.fullmatch(pattern, theirs)
            if match:
                leaf = leaf_of(their_leaf, is_norm)
                if leaf is not None:
                    ours[f"{layer(match)}/{leaf}"] = name
                break
    return ours


def _of_convnext(name: str, theirs: str, their_leaf: str) -> dict[str, str]:
    """Our name of one of a ConvNeXt's arrays -> its name."""
    block = re.fullmatch(_NEXT_BLOCK, theirs)
    if block and their_leaf == "gamma":
        return {f"backbone/stage{int(block[1]) + 2}_block{int(block[2]) + 1}_scale/gamma": name}
    for pattern, layer, is_norm in _CONVNEXT:
        match = re.fullmatch(pattern, theirs)
        leaf = _LAYER_NORMS.get(their_leaf) if is_norm else leaf_of(their_leaf, False)
        if match and leaf is not None:
            return {f"{layer(match)}/{leaf}": name}
    return {}
