"""Names and shapes of PointRend's mask head as detectron2 has them, in files of before and after July 2020.

Ref: detectron2, projects/PointRend/point_rend/{mask_head,point_head,roi_heads}.py.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mrcnn.weights.name_map import first_dense
from mrcnn.weights.report import WeightsError

_NAMES = (
    re.compile(r"roi_heads\.mask_head\.(coarse|point)_head\.(\w+?)(\d*)"),
    re.compile(r"roi_heads\.mask_(coarse|point)_head\.(?:coarse_mask_)?(\w+?)(\d*)"),
)
_LAYERS = {
    ("coarse", "reduce_channel_dim_conv"): "coarse_channels",
    ("coarse", "reduce_spatial_dim_conv"): "coarse_reduce",
    ("coarse", "fc"): "coarse_fc",
    ("coarse", "prediction"): "coarse_logits",
    ("point", "fc"): "point_fc",
    ("point", "predictor"): "point_logits",
}
UNSUPPORTED = (
    (r"mask_head\.parameter_head\.|positional_encoding_gaussian_matrix$", "implicit PointRend is not supported"),
    (r"sem_seg_head\.(point_head|coarse_sem_seg_head)\.", "PointRend for semantic segmentation is not supported"),
)
"""Names that tell other networks of the project, and what to say."""

Shapes = Callable[[str], tuple[int, ...]]


def layer_of(module: str) -> str | None:
    """Our layer of one of theirs; None: it is no part of PointRend's head.

    Example:
        >>> layer_of("roi_heads.mask_head.point_head.fc2"), layer_of("roi_heads.mask_coarse_head.coarse_mask_fc1")
        ('mask_head/point_fc2', 'mask_head/coarse_fc1')
    """
    for pattern in _NAMES:
        match = re.fullmatch(pattern, module)
        layer = None if match is None else _LAYERS.get((match[1], match[2]))
        if match is not None and layer is not None:
            return f"mask_head/{layer}{match[3]}"
    return None


def has_point_rend(ours: Iterable[str]) -> bool:
    """Whether a set of our names has such a head."""
    return any(name.startswith("mask_head/point_logits/") for name in ours)


def sizes(shape_of: Shapes, widths: Callable[[str], tuple[int, ...]], num_classes: int, source: str) -> dict[str, Any]:
    """Fields of `PointRendMaskHeadConfig`, by their path in a network's overrides.

    Args:
        shape_of: our name -> shape in the file.
        widths: pattern of our names of numbered layers -> channels that each yields.
        num_classes: C, things only.
        source: the file, for messages.

    Raises:
        WeightsError: shapes that contradict each other, or points that see several maps.
    """
    head = "mask_head"
    reduced, dense = shape_of(f"{head}/coarse_reduce/kernel")[0], shape_of(f"{head}/coarse_fc1/kernel")
    outputs, masks = shape_of(f"{head}/coarse_logits/kernel")[0], shape_of(f"{head}/point_logits/kernel")[0]
    side, half = math.isqrt(outputs // num_classes), math.isqrt(dense[1] // reduced)
    points = widths(f"{head}/point_fc{{}}/kernel")
    inputs = [shape_of(f"{head}/point_fc{k}/kernel")[1] for k in range(1, len(points) + 1)]
    each = [below + num_classes for below in points[:-1]]
    seen, channels = inputs[0] - num_classes, shape_of("fpn/output2/kernel")[0]
    for what, number, expected in (
        ("values of the coarse mask", outputs, num_classes * side**2),
        ("inputs of the coarse head's first dense layer", dense[1], reduced * half**2),
        ("masks at each point", masks, num_classes),
        ("channels that the points see of the maps", seen, channels),
    ):
        if number != expected:
            raise WeightsError(f"{source}: {number} {what}, expected {expected}")
    return {
        "mask_head.conv_dim": reduced,
        "mask_head.fc_dims": widths(f"{head}/coarse_fc{{}}/kernel"),
        "mask_head.coarse_side": side,
        "mask_head.pool.size": 2 * half,
        "mask_head.point_fc_dims": points,
        "mask_head.coarse_each_layer": inputs[1:] == each,
        "mask_head.num_stages": 1,
    }


def first_steps(ours: Iterable[str], overrides: Mapping[str, Any]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What brings the head's arrays into the order of ours, before those of two axes are transposed.

    Args:
        ours: our names that the file has.
        overrides: of the network.
    """
    steps: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name in ours:
        if re.match(r"mask_head/point_(fc\d+|logits)/kernel", name):
            steps[name] = _without_width
        elif name.startswith("mask_head/coarse_logits/"):
            steps[name] = functools.partial(_classes_last, side=overrides["mask_head.coarse_side"])
        elif name == "mask_head/coarse_fc1/kernel":
            steps[name] = functools.partial(_flat_last, side=overrides["mask_head.pool.size"] // 2)
    return steps


def _without_width(x: np.ndarray) -> np.ndarray:
    """A convolution along points, [out, in, 1], is a dense layer: [in, out]."""
    return x[..., 0].T


def _classes_last(x: np.ndarray, side: int) -> np.ndarray:
    """Rows (class, y, x) to rows (y, x, class)."""
    grid = x.reshape(-1, side, side, *x.shape[1:])  # [C, side, side, ...]
    return np.moveaxis(grid, 0, 2).reshape(x.shape)


def _flat_last(x: np.ndarray, side: int) -> np.ndarray:
    """[out, (channel, y, x)] to [out, (y, x, channel)]."""
    return first_dense(x, side).T
