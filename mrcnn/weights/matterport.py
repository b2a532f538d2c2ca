"""Checkpoints of matterport/Mask_RCNN: Keras .h5 files by layer name, of its two ResNet backbones.

Ref: matterport/Mask_RCNN, mrcnn/model.py: resnet_graph, build_rpn_model, fpn_classifier_graph, build_fpn_mask_graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mrcnn.modeling.backbones.resnet import BLOCKS
from mrcnn.weights.coco_classes import coco_classes
from mrcnn.weights.name_map import Conversion, Converted
from mrcnn.weights.network import Network
from mrcnn.weights.profiles import MATTERPORT
from mrcnn.weights.report import WeightsError

EPSILON = MATTERPORT.norm_epsilon
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_PARTS = {"2a": "conv1", "2b": "conv2", "2c": "conv3", "1": "shortcut"}
_BACKBONE = re.compile(r"res([2-5])([a-z])_branch(2a|2b|2c|1)")
# What an ImageNet file of keras.applications has instead of the detector's layers.
_SIGNS = ("rpn_class_raw/kernel", "mrcnn_class_logits/kernel", "mrcnn_bbox_fc/kernel", "fpn_c5p5/kernel")


class _Layer(NamedTuple):
    """A layer of theirs. norm: the batch norm after it, which takes over its bias; "" none."""

    theirs: str
    ours: str
    norm: str = ""
    our_norm: str = ""


_FIXED = (
    _Layer("conv1", "backbone/stem_conv1", "bn_conv1", "backbone/stem_conv1/norm"),
    *(_Layer(f"fpn_c{level}p{level}", f"fpn/lateral{level}") for level in (2, 3, 4, 5)),
    *(_Layer(f"fpn_p{level}", f"fpn/output{level}") for level in (2, 3, 4, 5)),
    _Layer("rpn_conv_shared", "rpn/conv"),
    _Layer("rpn_class_raw", "rpn/objectness"),
    _Layer("rpn_bbox_pred", "rpn/deltas"),
    *(_Layer(f"mrcnn_class_conv{i}", f"box_head/fc{i}", f"mrcnn_class_bn{i}", f"box_head/fc{i}_norm") for i in (1, 2)),
    _Layer("mrcnn_class_logits", "box_head/class_logits"),
    _Layer("mrcnn_bbox_fc", "box_head/deltas"),
)
_MASK = (
    *(
        _Layer(f"mrcnn_mask_conv{i}", f"mask_head/convs/conv{i}", f"mrcnn_mask_bn{i}", f"mask_head/convs/conv{i}/norm")
        for i in (1, 2, 3, 4)
    ),
    _Layer("mrcnn_mask_deconv", "mask_head/deconv"),
    _Layer("mrcnn_mask", "mask_head/mask_logits"),
)


def matches(arrays: Mapping[str, Any]) -> bool:
    """True if the names are those of matterport's Mask R-CNN, whole or not."""
    return any(name in arrays for name in _SIGNS)


def describe(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, source: str = "matterport weights"
) -> Network:
    """The network that the weights are of.

    Args:
        arrays: anything with `shape`, by "layer/leaf".
        metadata: plain values beside them in the file; not used.
        source: the file, for messages.

    Raises:
        WeightsError: an incomplete network, one with another backbone, or shapes that contradict each other.
    """
    del metadata
    depth = _depth(arrays, source)
    has_mask = any(name.startswith("mrcnn_mask") for name in arrays)
    absent = [name for layer in _layers(depth, has_mask) for name in _sources(layer) if name not in arrays]
    if absent:
        raise WeightsError(
            f"{source}: not a whole Mask R-CNN of matterport, {len(absent)} arrays are missing: "
            + ", ".join([*absent[:3], "..."] if len(absent) > 3 else absent)
        )

    def shape(name: str, *expected: int | None) -> tuple[int, ...]:
        actual = tuple(arrays[name].shape)
        if len(actual) != len(expected) or any(b is not None and a != b for a, b in zip(actual, expected, strict=True)):
            wanted = ", ".join("any" if side is None else str(side) for side in expected)
            raise WeightsError(f"{source}: {name} is {list(actual)}, expected [{wanted}]")
        return actual

    channels = shape("fpn_c5p5/kernel", 1, 1, 2048, None)[-1]
    rpn_channels = shape("rpn_conv_shared/kernel", 3, 3, channels, None)[-1]
    anchors = shape("rpn_bbox_pred/kernel", 1, 1, rpn_channels, None)[-1] // 4
    shape("rpn_bbox_pred/kernel", 1, 1, rpn_channels, 4 * anchors)
    shape("rpn_class_raw/kernel", 1, 1, rpn_channels, 2 * anchors)
    pool, *_ = arrays["mrcnn_class_conv1/kernel"].shape
    first = shape("mrcnn_class_conv1/kernel", pool, pool, channels, None)[-1]
    second = shape("mrcnn_class_conv2/kernel", 1, 1, first, None)[-1]
    num_outputs = shape("mrcnn_class_logits/kernel", second, None)[-1]
    shape("mrcnn_bbox_fc/kernel", second, 4 * num_outputs)
    if num_outputs < 2:
        raise WeightsError(f"{source}: mrcnn_class_logits has {num_outputs} outputs, expected background and a thing")
    mask_head: dict[str, Any] = {}
    if has_mask:
        dims = [channels]
        for i in (1, 2, 3, 4):
            dims.append(shape(f"mrcnn_mask_conv{i}/kernel", 3, 3, dims[-1], None)[-1])
        deconv = shape("mrcnn_mask_deconv/kernel", 2, 2, None, dims[-1])[2]
        shape("mrcnn_mask/kernel", 1, 1, deconv, num_outputs)
        mask_head = {"mask_head.conv_dims": tuple(dims[1:]), "mask_head.deconv_dim": deconv}
    classes = coco_classes(num_outputs - 1)
    overrides = network_overrides(
        depth, num_outputs - 1, channels, (first, second), pool, "affine_bn", "softmax", has_mask
    )
    return Network(
        "matterport",
        {**overrides, "rpn.channels": rpn_channels, **mask_head},
        anchors,
        class_names=classes and classes[0],
        category_ids=classes and classes[1],
        assumptions=("anchors, thresholds and image sizes of matterport's default configuration",),
    )


def network_overrides(
    depth: int,
    num_classes: int,
    channels: int = 256,
    fc_dims: tuple[int, int] = (1024, 1024),
    pool_size: int = 7,
    norm: str = "affine_bn",
    objectness: str = "softmax",
    has_mask: bool = True,
) -> dict[str, Any]:
    """A network of matterport's as changes of its family's config.

    Args:
        depth: of the ResNet, 50 or 101.
        num_classes: C, things only.
        channels: of the pyramid.
        fc_dims: channels of the box head's two layers.
        pool_size: bins per axis of the box head.
        norm: of backbone and heads.
        objectness: "softmax": background and object compete, as there; "sigmoid": one logit for each anchor.
        has_mask: False: a network of boxes only.
    """
    mask_head = {"mask_head.conv_dims": (256,) * 4, "mask_head.conv_norm": norm, "mask_head.norm_epsilon": EPSILON}
    return {
        "num_classes": num_classes,
        "backbone.depth": depth,
        "backbone.norm": norm,
        "backbone.epsilon": EPSILON,
        "backbone.stride_in_1x1": True,
        "neck": "fpn",
        "neck.channels": channels,
        "rpn.channels": 512,
        "rpn.objectness": objectness,
        "box_head.fc_dims": fc_dims,
        "box_head.fc_norm": norm,
        "box_head.norm_epsilon": EPSILON,
        "box_head.pool.size": pool_size,
        **(mask_head if has_mask else {}),
    }


def to_ours(arrays: Mapping[str, Any], network: Network) -> Converted:
    """The weights by our variable names, in our layouts; see `Converted`.

    A batch norm takes the bias of the convolution before it: as a vector of its own ("affine_bn"), or, as every other
    norm, into its mean, which is exact while it uses its mean.

    Args:
        arrays: as for `describe`.
        network: what `describe` gave.
    """
    conversions: dict[str, Conversion] = {}
    for layer in _layers(network["backbone.depth"], network.has_head("mask_head")):
        convert = _CONVERSIONS.get(layer.theirs, _same)
        if layer.theirs == "rpn_class_raw" and network["rpn.objectness"] == "softmax":
            convert = _same
        conversions[f"{layer.ours}/kernel"] = Conversion((f"{layer.theirs}/kernel",), convert)
        bias = f"{layer.theirs}/bias"
        if not layer.norm:
            conversions[f"{layer.ours}/bias"] = Conversion((bias,), convert)
            continue
        for leaf in _NORM:
            conversions[f"{layer.our_norm}/{leaf}"] = Conversion((f"{layer.norm}/{leaf}",), _same)
        if network["backbone.norm"] == "affine_bn":
            # A file without biases was made of a network without them.
            source = (bias, _same) if bias in arrays else (f"{layer.norm}/beta", np.zeros_like)
            conversions[f"{layer.our_norm}/bias"] = Conversion((source[0],), source[1])
        elif bias in arrays:
            mean = f"{layer.norm}/moving_mean"
            conversions[f"{layer.our_norm}/moving_mean"] = Conversion((mean, bias), np.subtract)
    return Converted(arrays, conversions, ignored=r"^training/|optimizer|^anchors/")


def fitted(network: Network, model: Mapping[str, Any]) -> Network:
    """The network with the norms and the objectness of a model, so that `to_ours` makes arrays that fit it.

    Args:
        network: what `describe` gave.
        model: the model's variables by path.
    """
    changes: dict[str, Any] = {}
    if not any(path.endswith("norm/bias") for path in model):
        changes = {name: "frozen_bn" for name in network.overrides if name.endswith("norm")}
    logits = model.get("rpn/objectness/bias")
    if logits is not None and int(logits.shape[-1]) == network.anchors_per_cell:
        changes["rpn.objectness"] = "sigmoid"
    return replace(network, overrides={**network.overrides, **changes})


def _depth(arrays: Mapping[str, Any], source: str) -> int:
    letters: dict[str, set[str]] = {stage: set() for stage in "2345"}
    for name in arrays:
        match = _BACKBONE.fullmatch(name.rpartition("/")[0])
        if match:
            letters[match[1]].add(match[2])
    counts = tuple(len(letters[stage]) for stage in "2345")
    for depth in (50, 101):
        if BLOCKS[depth] == counts:
            return depth
    raise WeightsError(
        f"{source}: stages of {list(counts)} blocks, expected those of ResNet-50 {list(BLOCKS[50])} or ResNet-101"
        f" {list(BLOCKS[101])}, the backbones matterport/Mask_RCNN has"
    )


def _layers(depth: int, has_mask: bool) -> Iterator[_Layer]:
    yield _FIXED[0]
    for stage, num_blocks in enumerate(BLOCKS[depth], start=2):
        for block in range(num_blocks):
            for theirs, ours in _PARTS.items():
                if ours != "shortcut" or block == 0:
                    branch = f"{stage}{chr(ord('a') + block)}_branch{theirs}"
                    name = f"backbone/stage{stage}_block{block + 1}_{ours}"
                    yield _Layer(f"res{branch}", name, f"bn{branch}", f"{name}/norm")
    yield from _FIXED[1:]
    if has_mask:
        yield from _MASK


def _sources(layer: _Layer) -> list[str]:
    """Names a layer cannot do without."""
    if layer.norm:
        return [f"{layer.theirs}/kernel", *(f"{layer.norm}/{leaf}" for leaf in _NORM)]
    return [f"{layer.theirs}/kernel", f"{layer.theirs}/bias"]


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _objectness(x: np.ndarray) -> np.ndarray:
    """[..., A x (background, object)] to [..., A]: the softmax of two is the sigmoid of their difference."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    return pairs[..., 1] - pairs[..., 0]


def _box_deltas(x: np.ndarray) -> np.ndarray:
    """[..., (class, dy dx dh dw)] to [..., (dy dx dh dw, class)] without the background."""
    deltas = x.reshape(*x.shape[:-1], -1, 4)[..., 1:, :]  # [..., C, 4]
    return deltas.swapaxes(-1, -2).reshape(*x.shape[:-1], -1)


def _dense(x: np.ndarray) -> np.ndarray:
    """A convolution over the whole RoI as a dense layer: [h, w, in, out] to [h x w x in, out]."""
    return x.reshape(-1, x.shape[-1])


def _masks(x: np.ndarray) -> np.ndarray:
    """Without the background's mask."""
    return x[..., 1:]


_CONVERSIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rpn_class_raw": _objectness,
    "mrcnn_class_conv1": _dense,
    "mrcnn_class_conv2": _dense,
    "mrcnn_bbox_fc": _box_deltas,
    "mrcnn_mask": _masks,
}
