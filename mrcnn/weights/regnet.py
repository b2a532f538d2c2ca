"""Names of RegNets as pycls has them, and detectron2 after it; their sizes read off the shapes.

Ref: github.com/facebookresearch/pycls, models/anynet.py; detectron2, modeling/backbone/regnet.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrcnn.weights.name_map import leaf_of
from mrcnn.weights.report import WeightsError

_BLOCK = r"s([1-4])\.b(\d+)"
_PARTS = {"f.a": "conv1", "f.b": "conv2", "f.c": "conv3", "proj": "shortcut"}
_NORMS = {"f.a_bn": "conv1", "f.b_bn": "conv2", "f.c_bn": "conv3", "bn": "shortcut"}
_SQUEEZE = {"f.se.f_ex.0": "squeeze", "f.se.f_ex.2": "excite"}
STAGES = (2, 3, 4, 5)

Shapes = Callable[[str], tuple[int, ...]]


def has_regnet(names: Mapping[str, Any], prefix: str = "backbone.bottom_up.") -> bool:
    """Whether the backbone of a file is a RegNet of bottleneck blocks.

    Args:
        names: of the file's arrays.
        prefix: what the backbone's names begin with.
    """
    return f"{prefix}s1.b1.f.a.weight" in names


def our_name(theirs: str) -> str | None:
    """Our name, below the backbone, of an array of a RegNet; None: it has none.

    Example:
        >>> our_name("s3.b14.f.b_bn.running_var")
        'stage4_block14_conv2/norm/moving_variance'
        >>> our_name("s1.b1.f.se.f_ex.0.bias")
        'stage2_block1_squeeze/bias'
    """
    module, _, their_leaf = theirs.rpartition(".")
    if module in ("stem.conv", "stem.bn"):
        leaf = leaf_of(their_leaf, module == "stem.bn")
        return None if leaf is None else f"stem_conv/{leaf}"
    match = re.fullmatch(rf"{_BLOCK}\.(.+)", module)
    if match is None:
        return None
    part = match[3]
    leaf = leaf_of(their_leaf, part in _NORMS)
    ours = _NORMS.get(part) or (_PARTS | _SQUEEZE).get(part)
    return None if leaf is None or ours is None else f"stage{int(match[1]) + 1}_block{match[2]}_{ours}/{leaf}"


def sizes(shape_of: Shapes, depths: Sequence[int], squeezes: bool, source: str) -> dict[str, Any]:
    """Fields of `RegNetConfig` but for the norm, by their path in a network's overrides.

    Args:
        shape_of: our name -> shape in the file.
        depths: blocks of each stage.
        squeezes: whether the blocks have squeeze and excitation.
        source: the file, for messages.

    Raises:
        WeightsError: no RegNet of one bottleneck and one squeeze throughout.
    """
    stem = shape_of("backbone/stem_conv/kernel")
    if stem[2:] != (3, 3):
        raise WeightsError(f"{source}: the stem is {list(stem)}, expected a 3x3 convolution")
    for stage, depth in zip(STAGES, depths, strict=True):
        if depth < 1:
            raise WeightsError(f"{source}: a RegNet without blocks in stage {stage}, expected at least 1")
    first = [f"backbone/stage{stage}_block1" for stage in STAGES]
    widths = [shape_of(f"{block}_conv3/kernel")[0] for block in first]
    inner = [shape_of(f"{block}_conv1/kernel")[0] for block in first]
    bottleneck = inner[-1] / widths[-1]
    if [round(width * bottleneck) for width in widths] != inner:
        raise WeightsError(f"{source}: 3x3 convolutions of {inner} channels in stages of {widths}, expected one ratio")
    return {
        "backbone": "regnet",
        "backbone.depths": tuple(depths),
        "backbone.widths": tuple(widths),
        "backbone.group_widths": tuple(shape_of(f"{block}_conv2/kernel")[1] for block in first),
        "backbone.bottleneck": bottleneck,
        "backbone.squeeze": _squeeze(shape_of, depths, source) if squeezes else 0.0,
        "backbone.stem_width": stem[0],
    }


def _squeeze(shape_of: Shapes, depths: Sequence[int], source: str) -> float:
    """The part of a block's input channels that its squeeze leaves: the same in all, but rounded in each."""
    pairs = []  # channels that come in, squeezed ones
    for stage, depth in zip(STAGES, depths, strict=True):
        for block in range(1, depth + 1):
            name = f"backbone/stage{stage}_block{block}"
            pairs.append((shape_of(f"{name}_conv1/kernel")[1], shape_of(f"{name}_squeeze/kernel")[0]))
    ratio = max(pairs)[1] / max(pairs)[0]
    for candidate in (round(ratio, 2), round(ratio, 3), ratio):
        if all(round(channels * candidate) == squeezed for channels, squeezed in pairs):
            return candidate
    raise WeightsError(f"{source}: blocks squeeze to parts of their channels that differ, expected {ratio:.3f} in all")
