"""Names and sizes of MViTv2 as detectron2 and its authors have them: blocks numbered through all stages.

The first block of each stage but the first widens the map, by an array `proj` that other blocks lack.

Ref: detectron2, modeling/backbone/mvit.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mrcnn.weights.report import WeightsError

ASSUMPTIONS = (
    "windows of 56 cells, keys and values pooled by 4 in the first stage, pooled queries added, as in projects/MViTv2",
)
_DENSE = {"weight": "kernel", "bias": "bias"}
_NORM = {"weight": "gamma", "bias": "beta"}
_POOLED = {"q": "queries", "k": "keys", "v": "values"}
_OF_A_BLOCK: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "norm1": ("_norm1", _NORM),
    "norm2": ("_norm2", _NORM),
    "attn.qkv": ("_attention/qkv", _DENSE),
    "attn.proj": ("_attention/project", _DENSE),
    "attn": ("_attention", {"rel_pos_h": "rows", "rel_pos_w": "columns"}),
    "mlp.fc1": ("_expand", _DENSE),
    "mlp.fc2": ("_project", _DENSE),
    "proj": ("_skip", _DENSE),
    **{f"attn.pool_{x}": (f"_attention/{name}_depthwise", {"weight": "kernel"}) for x, name in _POOLED.items()},
    **{f"attn.norm_{x}": (f"_attention/{name}_depthwise/norm", _NORM) for x, name in _POOLED.items()},
}
_LEVELS = (2, 3, 4, 5)


def has_mvit(names: Iterable[str], prefix: str = "backbone.bottom_up.") -> bool:
    """Whether the backbone of a file is an MViTv2.

    Args:
        names: of the file's arrays.
        prefix: what the backbone's names begin with.
    """
    pattern = re.compile(rf"{re.escape(prefix)}blocks\.\d+\.attn\.pool_q\.weight$")
    return any(pattern.match(name) for name in names)


def namer(names: Iterable[str]) -> Callable[[str], str | None]:
    """What gives our name, below the backbone, of an array of a file; None: it has none.

    Args:
        names: of all of the backbone's arrays, as they are handed to the result.

    Example:
        >>> names = ["blocks.0.norm1.bias", "blocks.1.proj.bias", "blocks.2.attn.pool_q.weight"]
        >>> namer(names)("blocks.2.attn.pool_q.weight")
        'stage3_block2_attention/queries_depthwise/kernel'
    """
    firsts = {int(match[1]) for name in names if (match := re.fullmatch(r"blocks\.(\d+)\.proj\.\w+", name))}
    starts = [0, *sorted(firsts)]

    def our_name(theirs: str) -> str | None:
        module, _, leaf = theirs.rpartition(".")
        layer, leaves = _layer(module, starts)
        return f"{layer}/{leaves[leaf]}" if leaf in leaves else None

    return our_name


def _layer(module: str, starts: list[int]) -> tuple[str, Mapping[str, str]]:
    if module == "patch_embed.proj":
        return "stem_conv", _DENSE
    out_norm = re.fullmatch(r"scale([2-5])_norm", module)
    if out_norm:
        return f"stage{out_norm[1]}_out_norm", _NORM
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", module)
    if match is None or match[2] not in _OF_A_BLOCK:
        return "", {}
    number = int(match[1])
    stage = sum(start <= number for start in starts) - 1
    end, leaves = _OF_A_BLOCK[match[2]]
    return f"stage{stage + 2}_block{number - starts[stage] + 1}{end}", leaves


def sizes_of(look: Any) -> dict[str, Any]:
    """What names and shapes tell of an MViTv2, as overrides of a config.

    Args:
        look: shapes by our name as in `infer`.

    Raises:
        WeightsError: an array is missing, or shapes contradict each other.
    """
    width, _, *kernel = look("backbone/stem_conv/kernel")
    if tuple(kernel) != (7, 7):
        raise WeightsError(f"{look.source}: patches of {' x '.join(map(str, kernel))} pixels, expected 7 x 7")
    depths = tuple(look.count(f"backbone/stage{stage}_block{{}}_attention/qkv/kernel") for stage in _LEVELS)
    for stage in _LEVELS:
        for block in range(1, depths[stage - 2] + 1):
            pooled = f"backbone/stage{stage}_block{block}_attention/queries_depthwise/kernel"
            look.expect(pooled, 2, 3, "a 3x3 convolution")
        look.expect(f"backbone/stage{stage}_out_norm/gamma", 0, width * 2 ** (stage - 2), "twice those before")
    length, head = look("backbone/stage2_block1_attention/rows")
    expanded = look("backbone/stage2_block1_expand/kernel")[0]
    if width % head or expanded % width or length % 2 == 0:
        raise WeightsError(
            f"{look.source}: blocks of {width} channels with heads of {head}, {expanded} channels within and"
            f" {length} relative positions, expected multiples and an odd number"
        )
    return {
        "backbone": "mvit",
        "backbone.depths": depths,
        "backbone.width": width,
        "backbone.num_heads": width // head,
        "backbone.mlp_ratio": expanded // width,
        "backbone.grid": (length + 1) // 2,
        "backbone.norm": "none",
    }
