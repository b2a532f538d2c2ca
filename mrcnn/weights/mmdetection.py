"""Checkpoints of mmdetection 2 and 3: its Faster, Mask and Cascade R-CNN with a feature pyramid, .pth.

Arrays do not tell whether a network saw RGB or BGR pixels, and where its strides lie. Most checkpoints carry their
configuration as text in `meta`; it decides. In others the first convolution tells divided pixels from undivided ones.

Ref: mmdetection, mmdet/models/{backbones,necks,dense_heads,roi_heads}; configs/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.text import printable
from mrcnn.weights import swin
from mrcnn.weights.coco_classes import CATEGORIES, coco_classes
from mrcnn.weights.infer import expect_standard_anchors, infer
from mrcnn.weights.mmdet_config import entry, numbers, read_config
from mrcnn.weights.mmdet_names import our_names
from mrcnn.weights.name_map import Converted, convert_all, refuse_unsupported
from mrcnn.weights.network import Network
from mrcnn.weights.profiles import MMDETECTION

_IGNORED = r"\.num_batches_tracked$|^data_preprocessor\.|\.relative_position_index$"
_CLASSES_IN_META = ("meta.dataset_meta.classes", "meta.dataset_meta.CLASSES", "meta.CLASSES")
# Norms of the first kernels, scaled as their batch norm does. A pixel that is not divided by its deviation is some 58
# times larger, and so the kernels that take it are smaller: 0.3 and more against 0.015 and less.
_UNDIVIDED_BELOW = 0.06
CAFFE_PIXELS = PixelNorm(mean=(123.675, 116.28, 103.53), std=(1.0, 1.0, 1.0), bgr=True)
_DIVIDED_BGR = PixelNorm(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr=True)
_HEAD = r"roi_head\.(?:bbox|mask)_head"
_UNSUPPORTED = (
    (r"backbone\.absolute_pos_embed$", "Swin Transformers with absolute positions are not supported"),
    (r"\.conv_offset\.", "deformable convolutions are not supported"),
    (r"^(bbox_head|mask_head)\.", "only detectors with RoI heads of mmdetection 2 and 3 are supported"),
    (r"roi_head\.(point_head|mask_iou_head|semantic_head|grid_head)\.", "only box and mask heads are supported"),
    (rf"{_HEAD}\.(\d\.)?(cls|reg)_(convs|fcs)\.", "box heads with layers for class or box alone are not supported"),
    (r"backbone\.stem\.|backbone\.layer\d\.\d+\.downsample\.2\.", "ResNet-C and -D stems are not supported"),
    (r"backbone\.layer\d\.\d+\.context_block\.|\.attention\.", "attention blocks are not supported"),
    (r"neck\.(bfp|pafpn|downsample_convs|pafpn_convs|\d+)\b", "only a plain feature pyramid is supported as neck"),
)


def matches(arrays: Mapping[str, Any]) -> bool:
    """True if the names are those of a detector of mmdetection, supported or not."""
    return any(re.match(r"rpn_head\.rpn_|neck\.(lateral_convs|fpn_convs)\.|roi_head\.bbox_head\.", n) for n in arrays)


def describe(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, source: str = "mmdetection weights"
) -> Network:
    """The network that the weights are of.

    Args:
        arrays: anything with `shape`, by name.
        metadata: plain values beside them in the file; `meta` may hold the names of the classes and the configuration.
        source: the file, for messages.

    Raises:
        WeightsError: another kind of network, or an incomplete one.
    """
    metadata = {} if metadata is None else metadata
    refuse_unsupported(arrays, _UNSUPPORTED, source)
    shapes = {name: tuple(arrays[theirs].shape) for name, theirs in our_names(arrays).items()}
    network = infer(shapes, MMDETECTION.background, source)
    text = metadata.get("meta.cfg", metadata.get("meta.config"))
    config = read_config(text) if isinstance(text, str) else None
    is_stated = isinstance(entry(config, "model"), dict)
    changes: dict[str, Any] = {}
    if network["backbone.norm"] == "bn":
        changes["backbone.norm"] = "eval_bn"  # norm_eval=True
    for path in ("neck.norm", "box_head.conv_norm", "mask_head.conv_norm"):
        if network.overrides.get(path) == "bn":
            changes[path] = "sync_bn"
    changes |= _usual_training(network)
    assumptions: list[str] = []
    if is_stated:
        changes |= _stated(config, network)
        assumptions.append("pixels, strides and training as its own configuration in meta says")
    pixels = _stated_pixels(config)
    if pixels is not None:
        changes["backbone.pixel_norm"] = pixels
    else:
        changes["backbone.pixel_norm"], sentence = _usual_pixels(arrays, network)
        assumptions.append(sentence)
    if not network.is_resnet:
        changes = {path: value for path, value in changes.items() if path != "backbone.stride_in_1x1"}
    elif not isinstance(entry(config, "model", "backbone", "style"), str):
        is_caffe = changes["backbone.pixel_norm"] == CAFFE_PIXELS and network["backbone.norm"] != "gn"
        changes["backbone.stride_in_1x1"] = is_caffe
        assumptions.append(f"stride in the {'1x1' if is_caffe else '3x3'} convolution, as with these pixels")
    if "rpn.anchors.sizes" not in changes:
        expect_standard_anchors(network, source)
    names, ids = _classes(metadata, network)
    return network.changed(
        changes, family="mmdetection", class_names=names, category_ids=ids, assumptions=tuple(assumptions)
    )


def to_ours(arrays: Mapping[str, Any], network: Network) -> Converted:
    """The weights by our variable names, in our layouts; see `Converted`.

    Args:
        arrays: as for `describe`.
        network: what `describe` gave.
    """
    ours = our_names(arrays)
    return convert_all(arrays, ours, network, MMDETECTION.background, _IGNORED, swin.first_steps(ours))


def writer(metadata: Mapping[str, Any]) -> str:
    """The programs that a file says it was written by; "" where it says nothing.

    Args:
        metadata: as for `describe`.

    Example:
        >>> writer({"meta.mmdet_version": "2.11.0", "meta.mmcv_version": "1.3.1"})
        'mmdet 2.11.0, mmcv 1.3.1'
    """
    versions = {name: metadata.get(f"meta.{name}_version") for name in ("mmdet", "mmengine", "mmcv")}
    return ", ".join(f"{name} {printable(text)}" for name, text in versions.items() if isinstance(text, str))


def first_classes(metadata: Mapping[str, Any], most: int = 6) -> list[str]:
    """The names of the first classes in `meta`, fit to be printed; none where there are none."""
    for key in _CLASSES_IN_META:
        names = [metadata.get(f"{key}.{number}") for number in range(most)]
        stated = [printable(name) for name in names if isinstance(name, str)]
        if stated:
            return stated
    return []


def _usual_training(network: Network) -> dict[str, Any]:
    """What the published configurations of such a network train with."""
    if network["box_head.num_stages"] > 1:
        return {
            "rpn.allowed_border": 0.0,
            "rpn.smooth_l1_beta": 1.0 / 9.0,
            "rpn.post_nms_train": 2000,
            "box_head.box_loss": SmoothL1(1.0),
        }
    return {"roi_sampler.best_belongs": network.has_head("mask_head")}


def _stated(config: Any, network: Network) -> dict[str, Any]:
    """What a configuration says that arrays do not; entries that are not understood are left as they usually are."""
    model = entry(config, "model")
    changes: dict[str, Any] = {}
    style = entry(model, "backbone", "style")
    if isinstance(style, str):
        changes["backbone.stride_in_1x1"] = style == "caffe"
    frozen = entry(model, "backbone", "frozen_stages")
    if isinstance(frozen, int) and -1 <= frozen <= 4:
        is_convnext = network.overrides.get("backbone") == "convnext"  # whose stem is frozen with the first stage only
        changes["backbone.freeze_at"] = 0 if is_convnext and frozen < 1 else frozen + 1
    drop_path = entry(model, "backbone", "drop_path_rate")
    has_depth = network.overrides.get("backbone") in ("swin", "convnext")
    if has_depth and isinstance(drop_path, float) and 0 <= drop_path < 1:
        changes["backbone.drop_path"] = drop_path
    if entry(model, "backbone", "norm_cfg", "requires_grad") is False and network["backbone.norm"] == "bn":
        changes["backbone.norm"] = "frozen_bn"
    generator = entry(model, "rpn_head", "anchor_generator")
    scales, strides = numbers(entry(generator, "scales")), numbers(entry(generator, "strides"))
    ratios = numbers(entry(generator, "ratios"))
    if scales and strides and ratios and len(strides) == 5:
        changes["rpn.anchors.sizes"] = tuple(tuple(scale * stride for scale in scales) for stride in strides)
        changes["rpn.anchors.ratios"] = ratios
    beta = _beta(entry(model, "rpn_head", "loss_bbox"))
    if beta is not None:
        changes["rpn.smooth_l1_beta"] = beta
    train = entry(model, "train_cfg") or entry(config, "train_cfg")
    if isinstance(entry(train, "rpn"), dict) and "allowed_border" in train["rpn"]:
        border = train["rpn"]["allowed_border"]
        if isinstance(border, (int, float)):
            changes["rpn.allowed_border"] = None if border < 0 else float(border)
    box_head, assigner = entry(model, "roi_head", "bbox_head"), entry(train, "rcnn", "assigner")
    if isinstance(box_head, (list, tuple)):
        box_head = entry(box_head, 0)
    beta = _beta(entry(box_head, "loss_bbox"))
    if beta is not None:
        changes["box_head.box_loss"] = SmoothL1(beta)
    if network["box_head.num_stages"] > 1:
        changes |= _stated_stages(config, network)
    low_quality = entry(assigner, "match_low_quality")
    if isinstance(low_quality, bool):
        changes["roi_sampler.best_belongs"] = low_quality
    test = entry(model, "test_cfg") or entry(config, "test_cfg")
    threshold, most = entry(test, "rcnn", "score_thr"), entry(test, "rcnn", "max_per_img")
    if isinstance(threshold, (int, float)) and 0 <= threshold < 1:
        changes["box_head.score_threshold"] = float(threshold)
    if isinstance(most, int) and 0 < most <= 10_000:
        changes["box_head.max_detections"] = most
    overlap = entry(test, "rcnn", "nms", "iou_threshold")
    if isinstance(overlap, (int, float)) and 0 < overlap <= 1:
        changes["box_head.nms_iou"] = float(overlap)
    return changes


def _stated_stages(config: Any, network: Network) -> dict[str, Any]:
    """What a configuration says about the stages of a cascade."""
    model, stages = entry(config, "model"), range(network["box_head.num_stages"])
    changes: dict[str, Any] = {}
    weights = numbers(entry(model, "roi_head", "stage_loss_weights"), len(stages))
    if weights and min(weights) >= 0:
        changes["box_head.stage_loss_weights"] = weights
        if network.overrides.get("mask_head.num_stages", 1) > 1:
            changes["mask_head.stage_loss_weights"] = weights
    stds = [numbers(entry(model, "roi_head", "bbox_head", k, "bbox_coder", "target_stds"), 4) for k in stages]
    of_xywh = [std for std in stds if std and min(std) > 0]
    if len(of_xywh) == len(stages):
        changes["box_head.stage_delta_weights"] = tuple((1 / y, 1 / x, 1 / h, 1 / w) for x, y, w, h in of_xywh)
    train = entry(model, "train_cfg") or entry(config, "train_cfg")
    ious = numbers([entry(train, "rcnn", k, "assigner", "pos_iou_thr") for k in stages], len(stages))
    if ious and min(ious) > 0 and max(ious) <= 1:
        changes["box_head.stage_ious"] = ious
        changes["roi_sampler.fg_iou"] = ious[0]
    return changes


def _beta(loss: Any) -> float | None:
    """The beta of a box loss; 0 is L1."""
    if entry(loss, "type") == "L1Loss":
        return 0.0
    beta = entry(loss, "beta")
    is_known = entry(loss, "type") == "SmoothL1Loss" and isinstance(beta, (int, float)) and beta >= 0
    return float(beta) if is_known else None


def _stated_pixels(config: Any) -> PixelNorm | None:
    """What a configuration says about pixels: `data_preprocessor` in version 3, `img_norm_cfg` in version 2."""
    places = (
        (entry(config, "model", "data_preprocessor"), "bgr_to_rgb"),
        (entry(config, "data_preprocessor"), "bgr_to_rgb"),
        (entry(config, "img_norm_cfg"), "to_rgb"),
    )
    for place, flag in places:
        mean, std, is_rgb = numbers(entry(place, "mean"), 3), numbers(entry(place, "std"), 3), entry(place, flag)
        if mean and std and min(std) > 0:
            if is_rgb is True or (is_rgb is None and flag == "to_rgb"):
                return PixelNorm(mean, std)
            return PixelNorm(mean[::-1], std[::-1], bgr=True)
    return None


def _usual_pixels(arrays: Mapping[str, Any], network: Network) -> tuple[PixelNorm, str]:
    """The pixels that the first convolution is made for, and a sentence about them."""
    stem = {leaf: f"backbone.{module}" for leaf, module in (("kernel", "conv1.weight"), ("gamma", "bn1.weight"))}
    if not network.is_resnet:
        return MMDETECTION.pixel_norm, "pixels RGB, divided by ImageNet's deviation, as in all published ones"
    if network["backbone.norm"] == "gn":
        return CAFFE_PIXELS, "pixels BGR, not divided, as in the published models with group norm"
    kernel = np.asarray(arrays[stem["kernel"]], np.float64)
    norms = np.linalg.norm(kernel.reshape(len(kernel), -1), axis=1)
    if stem["gamma"] in arrays and "backbone.bn1.running_var" in arrays:
        variance = np.asarray(arrays["backbone.bn1.running_var"], np.float64)
        norms = norms * np.abs(np.asarray(arrays[stem["gamma"]], np.float64)) / np.sqrt(np.maximum(variance, 0) + 1e-5)
    if np.median(norms) < _UNDIVIDED_BELOW:
        return CAFFE_PIXELS, "pixels BGR, not divided, for which the first convolution is made"
    if network["backbone.groups"] == 32 and network["backbone.width_per_group"] == 8:
        return _DIVIDED_BGR, "pixels BGR, divided by ImageNet's deviation, as in the published ResNeXt 32x8d models"
    return (
        MMDETECTION.pixel_norm,
        "pixels RGB, divided by ImageNet's deviation, for which the first convolution is made",
    )


def _classes(metadata: Mapping[str, Any], network: Network) -> tuple[tuple[str, ...] | None, tuple[int, ...] | None]:
    """Names, and ids where they are COCO's: from `meta` (version 3 and 2), or from their number."""
    for key in _CLASSES_IN_META:
        stated = [metadata.get(f"{key}.{number}") for number in range(network.num_classes)]
        if network.num_classes == 1 and key in metadata:
            stated = [metadata[key]]  # a lone class may be a bare text
        names = tuple(name for name in stated if isinstance(name, str))
        if len(names) == network.num_classes and f"{key}.{network.num_classes}" not in metadata:
            of_coco = {name: number for number, name in CATEGORIES.items()}
            ids = tuple(of_coco[name] for name in names) if all(name in of_coco for name in names) else None
            return names, ids
    classes = coco_classes(network.num_classes)
    return (None, None) if classes is None else classes
