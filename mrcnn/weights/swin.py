"""Names and layouts of Swin Transformers: the authors' own, which detectron2 has too, and mmdetection's.

They differ in a few names and in the order in which the cells that are merged lie side by side:

* the authors' (`layers.0.blocks.0.attn.qkv`): cells (0, 0), (1, 0), (0, 1), (1, 1), each with all its channels;
* mmdetection's (`stages.0.blocks.0.attn.w_msa.qkv`): channel by channel, each with its four cells row by row;
* ours: cells row by row, each with all its channels.

Ref: github.com/microsoft/Swin-Transformer, models/swin_transformer.py, PatchMerging; mmdetection,
mmdet/models/layers/transformer/utils.py, PatchMerging.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from mrcnn.weights.name_map import Rows, name_by_rows

_STAGE = r"(?:stages|layers)\.([0-3])"
_BLOCK = rf"{_STAGE}\.blocks\.(\d+)"
_DENSE = {"weight": "kernel", "bias": "bias"}
_NORM = {"weight": "gamma", "bias": "beta"}
_ATTENTION = {"qkv": "qkv", "proj": "project"}
_MLP = {"mlp.fc1": "expand", "mlp.fc2": "project", "ffn.layers.0.0": "expand", "ffn.layers.1": "project"}
_ROWS: Rows = (
    (r"patch_embed\.proj(?:ection)?", lambda m: "stem_conv", _DENSE),
    (r"patch_embed\.norm", lambda m: "stem_norm", _NORM),
    (rf"{_BLOCK}\.(norm[12])", lambda m: f"{_block(m)}_{m[3]}", _NORM),
    (rf"{_BLOCK}\.attn\.(?:w_msa\.)?(qkv|proj)", lambda m: f"{_block(m)}_attention/{_ATTENTION[m[3]]}", _DENSE),
    (
        rf"{_BLOCK}\.attn(?:\.w_msa)?",
        lambda m: f"{_block(m)}_attention",
        {"relative_position_bias_table": "position_bias"},
    ),
    (rf"{_BLOCK}\.(mlp\.fc[12]|ffn\.layers\.0\.0|ffn\.layers\.1)", lambda m: f"{_block(m)}_{_MLP[m[3]]}", _DENSE),
    (rf"{_STAGE}\.downsample\.norm", lambda m: f"stage{int(m[1]) + 3}_down_norm", _NORM),
    (rf"{_STAGE}\.downsample\.reduction", lambda m: f"stage{int(m[1]) + 3}_down_reduce", _DENSE),
    (r"norm([0-3])", lambda m: f"stage{int(m[1]) + 2}_out_norm", _NORM),
)
_MERGED = re.compile(r"_down_(norm|reduce)/")


def _block(m: re.Match[str]) -> str:
    return f"stage{int(m[1]) + 2}_block{int(m[2]) + 1}"


def has_swin(names: Iterable[str], prefix: str = "backbone.") -> bool:
    """Whether the backbone of a file is a Swin Transformer.

    Args:
        names: of the file's arrays.
        prefix: what the backbone's names begin with.
    """
    pattern = re.compile(rf"{re.escape(prefix)}{_BLOCK}\.attn\.(w_msa\.)?relative_position_bias_table$")
    return any(pattern.match(name) for name in names)


def our_name(theirs: str) -> str | None:
    """Our name, below the backbone, of an array of a Swin Transformer; None: it has none.

    Example:
        >>> our_name("layers.2.blocks.5.mlp.fc1.weight")
        'stage4_block6_expand/kernel'
        >>> our_name("stages.0.downsample.norm.bias")
        'stage3_down_norm/beta'
    """
    return name_by_rows(_ROWS, theirs)


def first_steps(ours: Mapping[str, str]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What brings the channels of merged cells into our order, for those of our names that have such.

    Args:
        ours: our variable name -> name in the file, which tells whose order it is.
    """
    if not any(".attn." in theirs for theirs in ours.values()):
        return {}  # the layers between the stages of other networks are called the same
    is_mmdetection = any(".attn.w_msa." in theirs for theirs in ours.values())
    step = from_mmdetection if is_mmdetection else from_authors
    return {name: step for name in ours if name.startswith("backbone/") and _MERGED.search(name)}


def from_authors(x: np.ndarray) -> np.ndarray:
    """[..., 4 C], cells column by column, to row by row.

    Example:
        >>> from_authors(np.arange(8)).tolist()
        [0, 1, 4, 5, 2, 3, 6, 7]
    """
    return x.reshape(*x.shape[:-1], 4, -1)[..., [0, 2, 1, 3], :].reshape(x.shape)


def from_mmdetection(x: np.ndarray) -> np.ndarray:
    """[..., C x 4] to [..., 4 x C].

    Example:
        >>> from_mmdetection(np.arange(8)).tolist()
        [0, 4, 1, 5, 2, 6, 3, 7]
    """
    return x.reshape(*x.shape[:-1], -1, 4).swapaxes(-1, -2).reshape(x.shape)
