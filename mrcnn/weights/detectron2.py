"""Checkpoints of detectron2: R-CNN models of its zoo and others built alike, .pkl or .pth.

Ref: detectron2, modeling/backbone, proposal_generator/rpn.py, roi_heads; configs/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mrcnn.modeling.losses.sigmoid import ClassFederated
from mrcnn.modeling.normalize import NormKind, PixelNorm
from mrcnn.weights import mvit, point_rend, regnet, swin, vit
from mrcnn.weights.coco_classes import coco_classes
from mrcnn.weights.infer import expect_standard_anchors, infer
from mrcnn.weights.lvis_classes import NUM_CLASSES as LVIS_CLASSES
from mrcnn.weights.lvis_classes import lvis_classes
from mrcnn.weights.name_map import (
    ROI_STAGE,
    Converted,
    convert_all,
    leaf_of,
    refuse_unsupported,
)
from mrcnn.weights.network import Network
from mrcnn.weights.profiles import DETECTRON2
from mrcnn.weights.report import WeightsError

_IGNORED = r"\.num_batches_tracked$|\.relative_position_index$|anchor_generator\.cell_anchors|^pixel_(mean|std)$"
_ANCHORS = "proposal_generator.anchor_generator.cell_anchors."
_BOTTOM_UP = "backbone.bottom_up."
_VIT = "backbone.net."
_SIMPLE_PYRAMID = re.compile(r"backbone\.simfp_([2-5])\.(\d)\.(norm\.)?(weight|bias)")
_SQUARE = {"input.short_side": 1024, "input.long_side": 1024, "input.canvas": "square", "input.square_side": 1024}
_LAYER_NORM_EPSILON = 1e-6  # of detectron2's own, over channels
_PREDICTORS = {"cls_score": "class_logits", "bbox_pred": "deltas"}
_RPN = {"objectness_logits": "objectness", "anchor_deltas": "deltas"}
_MASK = {"deconv": "deconv", "predictor": "mask_logits"}


def _stage(number: str | None) -> str:
    """A cascade has its stages between the head's name and the layer's."""
    return "" if number is None else f"stage{int(number) + 1}/"


_LAYERS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"backbone\.(?:bottom_up\.)?stem\.conv1", lambda m: "backbone/stem_conv1"),
    (
        r"backbone\.(?:bottom_up\.)?res([2-5])\.(\d+)\.(conv[123]|conv2_offset|shortcut)",
        lambda m: f"backbone/stage{m[1]}_block{int(m[2]) + 1}_{m[3]}",
    ),
    (r"backbone\.fpn_(lateral|output)([2-5])", lambda m: f"fpn/{m[1]}{m[2]}"),
    (r"proposal_generator\.rpn_head\.conv", lambda m: "rpn/conv"),
    (r"proposal_generator\.rpn_head\.conv\.conv(\d+)", lambda m: f"rpn/conv{int(m[1]) + 1}"),
    (r"proposal_generator\.rpn_head\.(objectness_logits|anchor_deltas)", lambda m: f"rpn/{_RPN[m[1]]}"),
    (r"roi_heads\.res5\.(\d+)\.(conv[123]|shortcut)", lambda m: f"{ROI_STAGE}/block{int(m[1]) + 1}_{m[2]}"),
    (r"roi_heads\.box_head\.(?:(\d)\.)?conv(\d+)", lambda m: f"box_head/{_stage(m[1])}convs/conv{m[2]}"),
    (r"roi_heads\.box_head\.(?:(\d)\.)?fc(\d+)", lambda m: f"box_head/{_stage(m[1])}fc{m[2]}"),
    (
        r"roi_heads\.box_predictor\.(?:(\d)\.)?(cls_score|bbox_pred)",
        lambda m: f"box_head/{_stage(m[1])}{_PREDICTORS[m[2]]}",
    ),
    (r"roi_heads\.mask_head\.mask_fcn(\d+)", lambda m: f"mask_head/convs/conv{m[1]}"),
    (r"roi_heads\.mask_head\.(deconv|predictor)", lambda m: f"mask_head/{_MASK[m[1]]}"),
    (r"roi_heads\.keypoint_head\.conv_fcn(\d+)", lambda m: f"keypoint_head/convs/conv{m[1]}"),
    (r"roi_heads\.keypoint_head\.score_lowres", lambda m: "keypoint_head/deconv"),
    # Every other one of these is a doubling, which has no weights.
    (r"sem_seg_head\.(p\d)\.(\d*[02468])", lambda m: f"semantic_head/{m[1]}_conv{int(m[2]) // 2 + 1}"),
    (r"sem_seg_head\.predictor", lambda m: "semantic_head/predictor"),
)
_UNSUPPORTED = (
    (r"roi_heads\.res5\.\d+\.conv2_offset\.", "deformable convolutions on RoIs are not supported"),
    *point_rend.UNSUPPORTED,
    (r"^ins_embed_head\.", "Panoptic-DeepLab is not supported"),
    # Before RetinaNet, whose names it has too.
    (
        r"^head\.(mask_subnet|mask_fuse|mask_pred_\d+|align2nat_\d+|bbox_tower|mask_tower)\.|tensor_mask",
        "TensorMask is not supported",
    ),
    (r"^head\.(cls_subnet|cls_score|bbox_subnet|bbox_pred)\.", "RetinaNet is not supported"),
    (
        r"backbone\.bottom_up\.net\.|\.bottom_up\.cls_token",
        "only ResNet, ResNeXt, RegNet, Swin, MViTv2 and plain ViT backbones are supported",
    ),
    (r"bottom_up\.s\d\.b\d+\.([ab]\.|f\.b\.bias$)", "only RegNets of bottleneck blocks are supported"),
    (r"bottom_up\.absolute_pos_embed$", "Swin Transformers with absolute positions are not supported"),
    (r"bottom_up\.pos_embed$", "MViTs with absolute positions are not supported"),
    (r"backbone\.net\.blocks\.\d+\.residual\.", "ViT backbones with convolutional blocks are not supported"),
    (r"^roi_heads\.(densepose|decoder)", "DensePose is not supported"),
    (r"trident", "TridentNet is not supported"),
)


def matches(arrays: Mapping[str, Any]) -> bool:
    """True if the names are those of a detector of detectron2, supported or not."""
    return any(re.match(r"proposal_generator\.|backbone\.(bottom_up|stem|fpn_lateral\d)\.", name) for name in arrays)


def describe(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, source: str = "detectron2 weights"
) -> Network:
    """The network that the weights are of.

    What names and shapes do not tell is decided as the published configurations do: ResNeXt: ImageNet's standard
    deviation, stride in the 3x3; group norm: plain pixels, stride in the 3x3; any other ResNet: plain pixels, stride
    in the 1x1; RegNet: ImageNet's standard deviation. A file that holds `pixel_std` decides about the pixels itself.
    A Swin Transformer, an MViT and a ViT are as in projects/ViTDet: ImageNet's pixels in RGB, layer norms, images
    padded to a square of 1024; without norms in the heads an MViT is as in projects/MViTv2, which pads no square.
    Class scores are by softmax, but by sigmoid in a network of projects/ViTDet with the 1,203 classes of LVIS v1.

    Args:
        arrays: anything with `shape`, by name.
        metadata: plain values beside them in the file; not used.
        source: the file, for messages.

    Raises:
        WeightsError: another kind of network, or an incomplete one.
    """
    del metadata
    refuse_unsupported(arrays, _UNSUPPORTED, source)
    network = infer(
        {name: tuple(arrays[theirs].shape) for name, theirs in _ours(arrays).items()}, DETECTRON2.background, source
    )
    if network.overrides.get("backbone") in ("swin", "mvit", "vit"):
        return _of_vitdet_project(network, arrays, source)
    norm = _residual_norm(network, arrays)
    own, kind, is_divided = (_resnet if network.is_resnet else _regnet)(network, norm)
    std = arrays.get("pixel_std")
    assumptions = [] if kind is None else [f"stride in the {_stride_place(own)} convolution, as in {kind}"]
    if std is not None:
        is_divided = float(np.max(np.asarray(std))) > 2.0
    else:
        divided = "divided by ImageNet's standard deviation" if is_divided else "not divided"
        assumptions.append(f"pixels {divided}, as in {kind or 'the RegNet models'}")
    anchors = _anchors(network.anchors_per_cell, arrays, source)
    if not anchors:
        expect_standard_anchors(network, source)
        assumptions.append("anchors as in the base configuration")
    classes = _classes(network)
    if network["neck"] == "c4":
        assumptions.append("res4 without dilated branches; TridentNet, whose arrays are the same, is not supported")
    lvis, of_lvis = _of_lvis(network, is_sigmoid=False)
    return network.changed(
        {"backbone.norm": norm, **own, **_live(network), **anchors, **lvis},
        family="detectron2_imagenet_pixels" if is_divided else "detectron2",
        class_names=classes and classes[0],
        category_ids=classes and classes[1],
        assumptions=(*assumptions, *of_lvis, "RoIAlign as in the base configuration"),
    )


def _live(network: Network) -> dict[str, NormKind]:
    """Batch norm outside the backbone is the synchronized one in all published models."""
    norms = ("neck.norm", "box_head.conv_norm", "mask_head.conv_norm", "semantic_head.norm")
    return {path: "sync_bn" for path in norms if network.overrides.get(path) == "bn"}


def _residual_norm(network: Network, arrays: Mapping[str, Any]) -> NormKind:
    """The norm of a ResNet or RegNet."""
    norm, neck_norm = network["backbone.norm"], network["neck.norm"]
    if norm == "gn" and neck_norm == "none":
        return "frozen_bn"  # early files leave out the statistics, which are folded into scale and shift
    if norm == "bn":
        is_live = neck_norm == "bn" or any(name.endswith(".num_batches_tracked") for name in arrays)
        return "sync_bn" if is_live else "frozen_bn"
    return norm


def _resnet(network: Network, norm: NormKind) -> tuple[dict[str, Any], str | None, bool]:
    """What a ResNet's arrays do not tell: fields, the published models that decide, whether pixels are divided."""
    groups = network["backbone.groups"]
    # The only one of these with deformable convolutions is published without a deviation of the pixels.
    is_in5k = groups > 1 and network["backbone.depth"] == 152 and "backbone.deformable" in network.overrides
    kind = "cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv" if is_in5k else _published_kind(norm, groups)
    own = {"backbone.stride_in_1x1": groups == 1 and norm != "gn", **_from_scratch(network)}
    return own, kind, groups > 1 and not is_in5k


def _regnet(network: Network, norm: NormKind) -> tuple[dict[str, Any], str | None, bool]:
    """As `_resnet`, of a RegNet."""
    return {"backbone.freeze_at": DETECTRON2.freeze_at, **_from_scratch(network)}, None, True


def _from_scratch(network: Network) -> dict[str, Any]:
    """Networks with batch norm in the pyramid, too, start from random weights: nothing of them is frozen."""
    return {"backbone.freeze_at": 0} if network["neck.norm"] == "bn" else {}


def _classes(network: Network) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
    """Names and ids of the classes, if their number is that of a known data set."""
    return coco_classes(network.num_classes, network.has_head("keypoint_head")) or lvis_classes(network.num_classes)


def _of_lvis(network: Network, is_sigmoid: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields of networks of LVIS' classes, and what is assumed: as published, 300 detections an image, of any score.

    Args:
        network: as its arrays tell it.
        is_sigmoid: where the published ones of LVIS v1 have sigmoids for class scores and a federated loss.
    """
    if lvis_classes(network.num_classes) is None:
        return {}, ()
    if not is_sigmoid or network.num_classes != LVIS_CLASSES:
        return {"box_head.max_detections": 300, "box_head.score_threshold": 1e-4}, (
            "class scores by softmax, as in the published models of LVIS",
        )
    fields = {
        "box_head.max_detections": 300,
        "box_head.score_threshold": 0.02,
        "box_head.activation": "sigmoid",
        "box_head.class_loss": ClassFederated(image_counts="lvis_v1"),
    }
    return fields, ("class scores by sigmoid, as in projects/ViTDet/configs/LVIS",)


def _stride_place(own: Mapping[str, Any]) -> str:
    return "1x1" if own["backbone.stride_in_1x1"] else "3x3"


def _of_vitdet_project(network: Network, arrays: Mapping[str, Any], source: str) -> Network:
    """A Swin or Vision Transformer with what the configurations of projects/ViTDet, or projects/MViTv2, have."""
    norms = {"neck": ("norm", "epsilon"), "box_head": ("conv_norm", "norm_epsilon")}
    norms |= {"mask_head": norms["box_head"]} if "mask_head.conv_norm" in network.overrides else {}
    changes: dict[str, Any] = {}
    for component, (kind, epsilon) in norms.items():
        if network[f"{component}.{kind}"] == "gn":  # a scale and a shift only
            changes |= {f"{component}.{kind}": "ln", f"{component}.{epsilon}": _LAYER_NORM_EPSILON}
    anchors = _anchors(network.anchors_per_cell, arrays, source)
    if not anchors:
        expect_standard_anchors(network, source)
    classes = _classes(network)
    is_plain = network["backbone"] == "mvit" and not changes
    lvis, of_lvis = _of_lvis(network, is_sigmoid=not is_plain)
    return network.changed(
        {
            "backbone.pixel_norm": PixelNorm(),
            **({} if is_plain else _SQUARE),
            **changes,
            **_live(network),
            **anchors,
            **lvis,
        },
        family="detectron2",
        class_names=classes and classes[0],
        category_ids=classes and classes[1],
        assumptions=(
            *_assumed(network, is_plain),
            *of_lvis,
            *(() if anchors else ("anchors as in the base configuration",)),
            "RoIAlign as in the base configuration",
        ),
    )


def _assumed(network: Network, is_plain: bool) -> tuple[str, ...]:
    """What is taken to be as in the published configurations; `is_plain`: of projects/MViTv2."""
    project = "projects/MViTv2" if is_plain else "projects/ViTDet"
    assumed = [f"pixels RGB, divided by ImageNet's deviation, as in {project}"]
    if not is_plain:
        assumed += [
            f"images padded to a square of 1024, as in {project}",
            f"layer norm in pyramid and heads, as in {project}",
        ]
    if network["backbone"] == "mvit":
        assumed += mvit.ASSUMPTIONS
    if network["backbone"] == "vit":
        assumed += vit.assumptions(network.overrides)
    grid = network.overrides.get("backbone.position_grid")
    if grid:
        assumed.append(f"absolute positions of a grid of {grid} x {grid}, interpolated to the image's")
    return tuple(assumed)


def _simple_layer(level: str, number: int) -> str:
    """Our name of a numbered layer of the simple feature pyramid: two convolutions come last on each level."""
    before = {"2": ("enlarge2_first", "enlarge2_norm", "", "enlarge2_second"), "3": ("enlarge3",), "4": (), "5": ("",)}
    own = before[level]
    return own[number] if number < len(own) else f"{('lateral', 'output')[number - len(own)]}{level}"


def _simple_leaf(match: re.Match[str]) -> str:
    """Our name of its array; the norm between two transposed convolutions is a layer of its own."""
    is_own_norm = (match[1], match[2]) == ("2", "1")
    leaf = leaf_of(match[4], match[3] is not None or is_own_norm) or ""
    return leaf.removeprefix("norm/") if is_own_norm else leaf


def _anchors(per_cell: int, arrays: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Sizes and ratios of the anchors, which many files hold as boxes (x1, y1, x2, y2) around a cell; else nothing."""
    sizes: list[tuple[float, ...]] = []
    ratios: set[tuple[float, ...]] = set()
    while f"{_ANCHORS}{len(sizes)}" in arrays:
        boxes = np.asarray(arrays[f"{_ANCHORS}{len(sizes)}"], np.float64).reshape(-1, 4)
        width, height = (boxes[:, 2:] - boxes[:, :2]).T
        ours = {
            "size": tuple(dict.fromkeys(np.sqrt(width * height).round(2).tolist())),
            "ratio": tuple(dict.fromkeys((height / width).round(4).tolist())),
        }
        if len(ours["size"]) * len(ours["ratio"]) != len(boxes) or len(boxes) != per_cell:
            raise WeightsError(
                f"{source}: {_ANCHORS}{len(sizes)} has {len(boxes)} anchors, expected {per_cell}, "
                "each of its sizes in each of its ratios"
            )
        sizes.append(ours["size"])
        ratios.add(ours["ratio"])
    if not sizes:
        return {}
    if len(ratios) > 1:
        raise WeightsError(f"{source}: anchors of other ratios on other levels are not supported")
    return {"rpn.anchors.sizes": tuple(sizes), "rpn.anchors.ratios": ratios.pop()}


def _published_kind(norm: str, groups: int) -> str:
    """The published models whose configuration decides."""
    if groups > 1:
        return "the ResNeXt models"
    return {"gn": "the models with group norm", "sync_bn": "mask_rcnn_R_50_FPN_3x_syncbn"}.get(
        norm, "the models that start from MSRA's ResNets"
    )


def to_ours(arrays: Mapping[str, Any], network: Network) -> Converted:
    """The weights by our variable names, in our layouts; see `Converted`.

    Args:
        arrays: as for `describe`.
        network: what `describe` gave.
    """
    ours = _ours(arrays)
    steps = swin.first_steps(ours) | vit.first_steps(ours) | point_rend.first_steps(ours, network.overrides)
    return convert_all(arrays, ours, network, DETECTRON2.background, _IGNORED, steps)


def _own_names(arrays: Mapping[str, Any]) -> dict[str, Callable[[str], str | None]]:
    """What gives the names of a backbone other than a ResNet, by what its names begin with in the file."""
    names: dict[str, Callable[[str], str | None]] = {}
    if swin.has_swin(arrays, _BOTTOM_UP):
        names[_BOTTOM_UP] = swin.our_name
    if mvit.has_mvit(arrays, _BOTTOM_UP):
        names[_BOTTOM_UP] = mvit.namer([n.removeprefix(_BOTTOM_UP) for n in arrays if n.startswith(_BOTTOM_UP)])
    if regnet.has_regnet(arrays, _BOTTOM_UP):
        names[_BOTTOM_UP] = regnet.our_name
    if vit.has_vit(arrays, _VIT):
        names[_VIT] = vit.our_name
    return names


def _ours(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Our variable name -> name in the file."""
    ours: dict[str, str] = {}
    own_names = _own_names(arrays)
    for name in arrays:
        prefix = next((prefix for prefix in own_names if name.startswith(prefix)), None)
        if prefix is not None:
            own_name = own_names[prefix](name.removeprefix(prefix))
            ours |= {} if own_name is None else {f"backbone/{own_name}": name}
            continue
        simple = _SIMPLE_PYRAMID.fullmatch(name)
        if simple:
            ours[f"fpn/{_simple_layer(simple[1], int(simple[2]))}/{_simple_leaf(simple)}"] = name
            continue
        split = re.fullmatch(r"(.*?)\.(norm\.)?(\w+)", name)
        leaf = None if split is None else leaf_of(split[3], split[2] is not None)
        if split is None or leaf is None:
            continue
        of_points = point_rend.layer_of(split[1])
        if of_points is not None:
            ours[f"{of_points}/{leaf}"] = name
            continue
        for pattern, layer in _LAYERS:
            match = re.fullmatch(pattern, split[1])
            if match:
                ours[f"{layer(match)}/{leaf}"] = name
    return ours
