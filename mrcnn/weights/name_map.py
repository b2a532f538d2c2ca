"""What the importers of foreign checkpoints share: our names for their arrays, and their layouts turned into ours.

An importer says which of our variables each foreign name is. From those names and the shapes in the file follow the
architecture and, variable by variable, the conversion: Caffe2 and PyTorch store a convolution as (out, in, height,
width), a dense layer as (out, in), flatten features channels first and order a box as (x, y, width, height).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from mrcnn.modeling.backbones.resnet import BLOCKS
from mrcnn.modeling.normalize import NormKind
from mrcnn.weights.architecture import (
    Architecture,
    BackboneArchitecture,
    BoxHeadArchitecture,
    KeypointHeadArchitecture,
    MaskHeadArchitecture,
    NeckArchitecture,
    RPNArchitecture,
)
from mrcnn.weights.report import WeightsError
from mrcnn.weights.stored_array import StoredArray

ROI_STAGE = "roi_stage"
"""Where a model keeps the stage that runs on each RoI."""
_LEAVES = {"weight": "kernel", "bias": "bias"}
_NORM_LEAVES = {
    "weight": "norm/gamma",
    "bias": "norm/beta",
    "running_mean": "norm/moving_mean",
    "running_var": "norm/moving_variance",
}
_MEAN, _VARIANCE = "norm/moving_mean", "norm/moving_variance"
_YX = [1, 0, 3, 2]  # (x, y, width, height) to (y, x, height, width)


def leaf_of(theirs: str, is_norm: bool) -> str | None:
    """Our name of PyTorch's "weight", "bias", "running_mean" or "running_var", or None for anything else."""
    return (_NORM_LEAVES if is_norm else _LEAVES).get(theirs)


def refuse_unsupported(names: Iterable[str], signs: Iterable[tuple[str, str]], source: str) -> None:
    """Raise WeightsError if a name betrays a network this package does not have.

    Args:
        names: of the file.
        signs: (pattern to search for, what to say).
        source: the file, for messages.
    """
    names = list(names)
    for pattern, message in signs:
        sign = next((name for name in names if re.search(pattern, name)), None)
        if sign is not None:
            raise WeightsError(f"{source}: {message} (it has {sign})")


def lone_conv(ours: Mapping[str, str], layer: str) -> dict[str, str]:
    """`ours` with "…/conv1" renamed to "…/conv" where there is no second one, as the RPN names its convolutions."""
    if any(name.startswith(f"{layer}2/") for name in ours):
        return dict(ours)
    return {re.sub(rf"^{re.escape(layer)}1/", f"{layer}/", name): source for name, source in ours.items()}


class Conversion(NamedTuple):
    """How a variable comes about: from which arrays of the file, and how."""

    sources: tuple[str, ...]
    convert: Callable[..., np.ndarray]


class Converted(Mapping[str, StoredArray]):
    """Arrays by our variable names, in our layouts; made anew whenever their values are asked for.

    Args:
        arrays: the file's arrays by name: NumPy arrays or stored ones.
        conversions: by our name.
        ignored: pattern of names in the file that are no weights of a model (counters, an optimizer's state).
    """

    def __init__(self, arrays: Mapping[str, Any], conversions: Mapping[str, Conversion], ignored: str) -> None:
        self._arrays, self._conversions = arrays, dict(conversions)
        self._made: dict[str, StoredArray] = {}
        used = {source for conversion in conversions.values() for source in conversion.sources}
        skip = re.compile(ignored)
        self.unused: tuple[str, ...] = tuple(n for n in arrays if n not in used and not skip.search(n))
        """Names in the file that became none of our variables."""

    def __getitem__(self, name: str) -> StoredArray:
        if name not in self._made:
            sources, convert = self._conversions[name]
            arrays = [self._arrays[source] for source in sources]
            # The conversion of an array of the same shape that takes no memory tells the shape of the result.
            shape = convert(*(np.broadcast_to(np.float32(0), array.shape) for array in arrays)).shape
            values = lambda: convert(*(np.asarray(array, np.float32) for array in arrays))  # noqa: E731
            self._made[name] = StoredArray(shape, np.float32, values)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._conversions)

    def __len__(self) -> int:
        return len(self._conversions)

    def source_of(self, name: str) -> tuple[str, ...]:
        """Names in the file from which our variable `name` is made; empty for a constant or an unknown name."""
        return self._conversions[name].sources if name in self._conversions else ()


def convert_all(
    arrays: Mapping[str, Any],
    ours: Mapping[str, str],
    architecture: Architecture,
    background: Literal["first", "last"],
    ignored: str,
) -> Converted:
    """Every array that has one of our names, turned into our layout.

    Args:
        arrays: of the file.
        ours: our variable name -> name in the file.
        architecture: of the file.
        background: where class scores have their background; with "first", boxes and masks have one too.
        ignored: see `Converted`.
    """
    conversions = {
        name: Conversion((source,), _conversion(name, arrays[source].shape, architecture, background))
        for name, source in ours.items()
    }
    for name, source in ours.items():  # a norm that is a scale and a shift only
        stem = name.removesuffix("gamma")
        if stem != name and _norm_of(name, architecture) != "gn" and f"{stem}moving_mean" not in ours:
            epsilon = architecture.backbone.epsilon
            conversions[f"{stem}moving_mean"] = Conversion((source,), np.zeros_like)
            conversions[f"{stem}moving_variance"] = Conversion(
                (source,), lambda gamma, value=1.0 - epsilon: np.full_like(gamma, value)
            )
    return Converted(arrays, conversions, ignored)


def _norm_of(name: str, architecture: Architecture) -> NormKind:
    component = name.split("/")[0]
    if component == "fpn":
        return architecture.neck.norm
    if component == "box_head":
        return architecture.box_head.conv_norm
    if component == "mask_head" and architecture.mask_head is not None:
        return architecture.mask_head.norm
    return architecture.backbone.norm


def _conversion(
    name: str, shape: tuple[int, ...], architecture: Architecture, background: str
) -> Callable[[np.ndarray], np.ndarray]:
    layer, leaf = name.rsplit("/", 1)
    steps: list[Callable[[np.ndarray], np.ndarray]] = []
    if layer.startswith("box_head") and layer.endswith("/class_logits") and background == "last":
        steps.append(lambda x: np.concatenate([x[-1:], x[:-1]]))
    elif layer.startswith("box_head") and layer.endswith("/deltas"):
        steps.append(lambda x: _box_deltas(x[4:] if background == "first" else x))
    elif layer == "rpn/deltas":
        steps.append(lambda x: x.reshape(-1, 4, *x.shape[1:])[:, _YX].reshape(x.shape))
    elif layer == "mask_head/mask_logits" and background == "first" and not _is_agnostic_mask(architecture):
        steps.append(lambda x: x[1:])
    if leaf == "kernel":
        if (
            len(shape) == 4
        ):  # (out, in, h, w) -> (h, w, in, out), and a transposed one's (in, out, h, w) -> (h, w, out, in)
            steps.append(lambda x: x.transpose(2, 3, 1, 0))
        elif len(shape) == 2 and layer.startswith("box_head") and layer.endswith("/fc1"):
            steps.append(lambda x, side=architecture.box_head.pool_size: _first_dense(x, side))
        elif len(shape) == 2:
            steps.append(np.transpose)

    def convert(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return convert


def _is_agnostic_mask(architecture: Architecture) -> bool:
    return architecture.mask_head is not None and architecture.mask_head.class_agnostic


def _box_deltas(x: np.ndarray) -> np.ndarray:
    """Rows (class, x y w h) to rows (y x h w, class)."""
    rows = x.reshape(-1, 4, *x.shape[1:])[:, _YX]  # [C, 4, ...]
    return rows.swapaxes(0, 1).reshape(x.shape)


def _first_dense(x: np.ndarray, side: int) -> np.ndarray:
    """(out, channels x side x side) to (side x side x channels, out)."""
    out, width = x.shape
    return x.reshape(out, width // side**2, side, side).transpose(2, 3, 1, 0).reshape(width, out)


# What shapes tell. All below is by our names with the file's shapes.


def infer(shapes: Mapping[str, tuple[int, ...]], background: Literal["first", "last"], source: str) -> Architecture:
    """The architecture behind a set of our variable names with PyTorch's shapes.

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
    backbone, neck = _backbone(look), _neck(look)
    if f"{ROI_STAGE}/block1_conv1/kernel" in shapes:
        neck = dataclasses.replace(neck, kind="c4")
    anchors = look("rpn/objectness/kernel")[0]
    look.expect("rpn/deltas/kernel", 0, 4 * anchors, f"4 for each of {anchors} anchors")
    num_rpn_convs = look.count("rpn/conv{}/kernel") or 1
    rpn = RPNArchitecture(anchors, num_rpn_convs, look("rpn/objectness/kernel")[1])
    num_classes, box_head = _box_head(look, background)
    mask_head = _mask_head(look, num_classes, background) if look.has("mask_head/") else None
    keypoint_head = None
    if look.has("keypoint_head/"):
        joints = look("keypoint_head/deconv/kernel")[1]
        keypoint_head = KeypointHeadArchitecture(joints, look.widths("keypoint_head/convs/conv{}/kernel"))
    return Architecture(
        family="detectron2",
        num_classes=num_classes,
        backbone=backbone,
        neck=neck,
        rpn=rpn,
        box_head=box_head,
        mask_head=mask_head,
        keypoint_head=keypoint_head,
    )


def expect_standard_anchors(network: Architecture, source: str) -> None:
    """Refuse a number of anchors per cell that cannot be that of the family's anchors.

    Raises:
        WeightsError: neither 3 on a pyramid nor 15 on a single map.
    """
    expected = 3 if network.neck.kind == "fpn" else 15
    if network.rpn.anchors_per_cell != expected:
        raise WeightsError(
            f"{source}: {network.rpn.anchors_per_cell} anchors per cell, expected {expected}; "
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
        absent = set(range(1, max(numbers, default=0) + 1)) - numbers
        if absent:
            raise WeightsError(f"{self.source}: {pattern.format(min(absent))} is missing, later ones are there")
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


def _backbone(look: _Look) -> BackboneArchitecture:
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
    return BackboneArchitecture(depths[0], groups, width_per_group, look.norm("backbone/stem_conv1"))


def _neck(look: _Look) -> NeckArchitecture:
    if look.has("fpn/"):
        for level in (2, 3, 4, 5):
            look(f"fpn/output{level}/kernel")
        return NeckArchitecture("fpn", look("fpn/lateral2/kernel")[0], look.norm("fpn/lateral2"))
    return NeckArchitecture("dc5", look("rpn/objectness/kernel")[1])


def _box_head(look: _Look, background: str) -> tuple[int, BoxHeadArchitecture]:
    """Number of things, and the head."""
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
        channels = convs[-1] if convs else look.shapes.get("fpn/output2/kernel", look("rpn/objectness/kernel")[1:])[0]
        pool_size = math.isqrt(look(f"{head}/fc1/kernel")[1] // channels)
        look.expect(f"{head}/fc1/kernel", 1, channels * pool_size**2, f"a square of bins x {channels} channels")
    return num_classes, BoxHeadArchitecture(
        conv_dims=convs,
        conv_norm=look.norm(f"{head}/convs/conv1"),
        fc_dims=fcs,
        pool_size=pool_size,
        class_agnostic=boxes < num_classes,
        num_stages=num_stages,
    )


def _mask_head(look: _Look, num_classes: int, background: str) -> MaskHeadArchitecture:
    masks = look("mask_head/mask_logits/kernel")[0]
    specific = num_classes + (background == "first")
    if masks not in (1, specific):
        raise WeightsError(
            f"{look.source}: {masks} masks for {num_classes} classes in mask_head/mask_logits/kernel, "
            f"expected 1 or {specific}"
        )
    return MaskHeadArchitecture(
        conv_dims=look.widths("mask_head/convs/conv{}/kernel"),
        norm=look.norm("mask_head/convs/conv1"),
        deconv_dim=look("mask_head/deconv/kernel")[1],
        class_agnostic=masks < specific,
    )
