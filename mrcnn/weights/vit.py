"""Names, layouts and sizes of plain Vision Transformers: detectron2's, MAE's and timm's, which share their names.

They keep absolute positions row by row in one list, before it one for a class token where there was any, and queries,
keys and values in one matrix as we do.

Ref: detectron2, modeling/backbone/vit.py; github.com/facebookresearch/mae, models_vit.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mrcnn.modeling.backbones.vit import PATCH
from mrcnn.weights.name_map import Rows, name_by_rows
from mrcnn.weights.report import WeightsError

POSITIONS = "backbone/stem_positions/embedding"
"""Our name of the absolute positions."""
_DENSE = {"weight": "kernel", "bias": "bias"}
_NORM = {"weight": "gamma", "bias": "beta"}
_ATTENTION = {"qkv": "qkv", "proj": "project"}
_MLP = {"fc1": "expand", "fc2": "project"}
_ROWS: Rows = (
    ("", lambda m: "stem_positions", {"pos_embed": "embedding"}),
    (r"patch_embed\.proj", lambda m: "stem_patches", _DENSE),
    (r"blocks\.(\d+)\.(norm[12])", lambda m: f"{_block(m)}_{m[2]}", _NORM),
    (r"blocks\.(\d+)\.attn", lambda m: f"{_block(m)}_attention", {"rel_pos_h": "rows", "rel_pos_w": "columns"}),
    (r"blocks\.(\d+)\.attn\.(qkv|proj)", lambda m: f"{_block(m)}_attention/{_ATTENTION[m[2]]}", _DENSE),
    (r"blocks\.(\d+)\.mlp\.(fc[12])", lambda m: f"{_block(m)}_{_MLP[m[2]]}", _DENSE),
)


def _block(m: re.Match[str]) -> str:
    return f"block{int(m[1]) + 1}"


def has_vit(names: Iterable[str], prefix: str = "backbone.net.") -> bool:
    """Whether a file has a plain Vision Transformer.

    Args:
        names: of the file's arrays.
        prefix: what the backbone's names begin with.
    """
    names = list(names)
    is_plain = not any(re.search(r"\.(pool_[qkv]|relative_position_bias_table)(\.|$)", name) for name in names)
    return is_plain and any(re.match(rf"{re.escape(prefix)}blocks\.\d+\.attn\.qkv\.weight$", name) for name in names)


def our_name(theirs: str) -> str | None:
    """Our name, below the backbone, of an array of a Vision Transformer; None: it has none.

    Example:
        >>> our_name("blocks.2.attn.rel_pos_h")
        'block3_attention/rows'
        >>> our_name("pos_embed")
        'stem_positions/embedding'
    """
    return name_by_rows(_ROWS, theirs)


def positions_on_grid(x: np.ndarray) -> np.ndarray:
    """[1, 1 + g * g, C] or [1, g * g, C] to [g, g, C]; what a class token has is left out.

    Example:
        >>> positions_on_grid(np.arange(5.0).reshape(1, 5, 1))[..., 0].tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    side = math.isqrt(x.shape[-2])
    return x[:, x.shape[-2] - side * side :].reshape(side, side, x.shape[-1])


def first_steps(ours: Iterable[str]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What brings absolute positions into our layout, if our names have any."""
    return {POSITIONS: positions_on_grid} if POSITIONS in ours else {}


def sizes_of(look: Any) -> dict[str, Any]:
    """What names and shapes tell of a Vision Transformer, as overrides of a config.

    Heads are as wide as the tables of relative positions, which also tell the sides of windows and of the whole map;
    the blocks with the larger of two sides are global ones. Without such tables all this is as published, see
    `assumptions`.

    Args:
        look: shapes by our name as in `infer`, absolute positions still as in the file.

    Raises:
        WeightsError: an array is missing, or shapes contradict each other.
    """
    width, _, *patch = look("backbone/stem_patches/kernel")
    if tuple(patch) != (PATCH, PATCH):
        raise WeightsError(
            f"{look.source}: patches of {' x '.join(map(str, patch))} pixels, expected {PATCH} x {PATCH}"
        )
    depth = look.count("backbone/block{}_attention/qkv/kernel")
    expanded = look("backbone/block1_expand/kernel")[0]
    if expanded % width:
        raise WeightsError(f"{look.source}: a block of {width} channels has {expanded} within, expected a multiple")
    return {
        "backbone": "vit",
        "backbone.depth": depth,
        "backbone.width": width,
        "backbone.mlp_ratio": expanded // width,
        "backbone.position_grid": _position_grid(look, width),
        "backbone.norm": "none",
        **_attention(look, depth, width),
    }


def _position_grid(look: Any, width: int) -> int:
    if not look.has(POSITIONS):
        return 0
    shape = look(POSITIONS)
    side = math.isqrt(shape[1])
    if shape[1] - side * side not in (0, 1) or shape[2] != width:
        raise WeightsError(
            f"{look.source}: pos_embed is {list(shape)}, expected those of a square and at most a class token, of"
            f" {width} channels"
        )
    return side


def assumptions(overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """What neither names nor shapes say of a Vision Transformer, one sentence each.

    Args:
        overrides: of its network, see `sizes_of`.
    """
    get = {name: overrides[f"backbone.{name}"] for name in ("num_heads", "window", "global_blocks", "grid")}
    if not get["grid"]:
        blocks = ", ".join(map(str, get["global_blocks"]))
        return (
            f"{get['num_heads']} heads (backbone.num_heads), windows of {get['window']} cells (backbone.window), blocks"
            f" {blocks} global (backbone.global_blocks), as in projects/ViTDet, for it has no relative positions",
        )
    if not get["window"]:
        return ("all blocks global, for their relative positions are of one size",)
    return ()


def _as_published(depth: int, width: int) -> dict[str, Any]:
    """Attention without relative positions, of which nothing can be read.

    Heads of 64 channels as in ViT-B and -L, of 80 in ViT-H's width; windows of 14; the last block of each quarter is
    global. Ref: ViTDet, arXiv 2203.16527, section 3.
    """
    head = 80 if width == 1280 else 64
    return {
        "backbone.num_heads": max(1, width // head) if width % head == 0 else 1,
        "backbone.grid": 0,
        "backbone.window": 14,
        "backbone.global_blocks": tuple(sorted({max(0, depth * quarter // 4 - 1) for quarter in (1, 2, 3, 4)})),
    }


def _attention(look: Any, depth: int, width: int) -> dict[str, Any]:
    if not any(name.endswith("_attention/rows") for name in look.shapes):
        return _as_published(depth, width)
    grids, head = [], look("backbone/block1_attention/rows")[1]
    for block in range(1, depth + 1):
        name = f"backbone/block{block}_attention"
        length = look(f"{name}/rows")[0]
        look.expect(f"{name}/columns", 0, length, "as many as rows")
        if length % 2 == 0:
            raise WeightsError(f"{look.source}: {name}/rows has {length} distances, expected an odd number")
        for axis in ("rows", "columns"):
            look.expect(f"{name}/{axis}", 1, head, "channels of a head")
        grids.append((length + 1) // 2)
    if width % head:
        raise WeightsError(f"{look.source}: heads of {head} channels do not fill the {width} of a block")
    sides = sorted(set(grids))
    if len(sides) > 2:
        raise WeightsError(f"{look.source}: relative positions for maps of {sides} cells, expected windows and a map")
    return {
        "backbone.num_heads": width // head,
        "backbone.grid": sides[-1],
        "backbone.window": sides[0] if len(sides) > 1 else 0,
        "backbone.global_blocks": tuple(i for i, side in enumerate(grids) if side == sides[-1]),
    }
