"""Vision Transformers trained on ImageNet, or by MAE: as the authors of MAE, timm and torchvision publish them.

All have RGB pixels less ImageNet's mean over its deviation. None has relative positions: those stay as they are, which
in a new backbone is 0, as where ViTDet starts.

Ref: github.com/facebookresearch/mae; timm/models/vision_transformer.py; torchvision/models/vision_transformer.py.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn.modeling.backbones.vit import PATCH, ViTConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.ops.positions import resize_positions
from mrcnn.weights import vit
from mrcnn.weights.name_map import convert_all
from mrcnn.weights.network import Network
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import LoadReport, WeightsError, assign

_log = logging.getLogger(__name__)

_IGNORED = r"^(module\.)?(mask_token|decoder_)"
_TORCHVISION = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "self_attention.out_proj": "attn.proj",
    "self_attention": "attn.qkv",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "mlp.linear_1": "mlp.fc1",
    "mlp.linear_2": "mlp.fc2",
}


def is_vit(names: Iterable[str]) -> bool:
    """Whether a file has a plain Vision Transformer and no detector."""
    return any(authors_name(name) == "blocks.0.attn.qkv.weight" for name in names)


def load_vit(backbone: keras.Model, config: ViTConfig, path: str | os.PathLike[str]) -> LoadReport:
    """Set a Vision Transformer's weights from one that knows no detection.

    Args:
        backbone: made by `config.build`.
        config: its config.
        path: the file, in any container. Absolute positions of another grid are interpolated, which is logged.

    Returns:
        The report; what only a classifier has is unused, relative positions are not in it.

    Raises:
        WeightsError: the file cannot be read, is of another network, or contradicts the config.
    """
    arrays = read_arrays(path).arrays
    known = {name: vit.our_name(authors_name(name)) for name in arrays}
    ours = {f"backbone/{own}": name for name, own in known.items() if own is not None}
    if "backbone/block1_attention/qkv/kernel" not in ours:
        few = ", ".join(list(arrays)[:3])
        raise WeightsError(f"{path}: expected a Vision Transformer of MAE, timm or torchvision; it has {few}, …")
    _check(arrays, ours, config, path)
    if not config.position_grid:
        ours.pop(vit.POSITIONS, None)
    network = Network("torchvision", {"num_classes": 1, "backbone": "vit", "backbone.norm": "none"})
    steps = vit.first_steps(ours)
    if vit.POSITIONS in steps:
        side, cells = config.position_grid, math.isqrt(arrays[ours[vit.POSITIONS]].shape[1])
        if cells != side:
            _log.warning(
                "%s: absolute positions of %d x %d cells, interpolated to %d x %d", path, cells, cells, side, side
            )
        steps[vit.POSITIONS] = lambda x: _positions_on_grid(x, side)
    converted = convert_all(arrays, ours, network, "first", _IGNORED, steps)
    variables = {f"backbone/{v.path}": v for v in backbone.weights if not v.path.endswith(("/rows", "/columns"))}
    return assign(variables, {**converted, **{name: arrays[name] for name in converted.unused}}, str(path), strict=True)


def _check(arrays: Mapping[str, Any], ours: Mapping[str, str], config: ViTConfig, path: str | os.PathLike[str]) -> None:
    width, _, *patch = arrays[ours["backbone/stem_patches/kernel"]].shape
    depth = sum(name.endswith("/qkv/kernel") for name in ours)
    if tuple(patch) != (PATCH, PATCH):
        raise WeightsError(
            f"{path}: patches of {' x '.join(map(str, patch))} pixels, expected {PATCH} x {PATCH}, as in"
            " detectron2/imagenet_mae_vit_h"
        )
    if (depth, width) != (config.depth, config.width):
        raise WeightsError(
            f"{path}: {depth} blocks of {width} channels, while backbone.depth is {config.depth} and backbone.width"
            f" {config.width}"
        )
    if config.pixel_norm != PixelNorm():
        _log.warning("%s was trained on other pixels than backbone.pixel_norm states: RGB, ImageNet's", path)


def _positions_on_grid(x: np.ndarray, side: int) -> np.ndarray:
    grid = vit.positions_on_grid(x)
    return grid if len(grid) == side else resize_positions(tf.constant(np.array(grid)), side, side).numpy()


def authors_name(name: str) -> str:
    """The name that an array has in MAE's files and timm's.

    Example:
        >>> authors_name("encoder.layers.encoder_layer_3.self_attention.in_proj_weight")  # torchvision
        'blocks.3.attn.qkv.weight'
        >>> authors_name("encoder.pos_embedding")
        'pos_embed'
    """
    name = name.removeprefix("module.")
    match = re.fullmatch(r"encoder\.layers\.encoder_layer_(\d+)\.(.+?)[._](?:in_proj_)?(weight|bias)", name)
    if match and match[2].removesuffix(".in_proj") in _TORCHVISION:
        return f"blocks.{match[1]}.{_TORCHVISION[match[2].removesuffix('.in_proj')]}.{match[3]}"
    return re.sub(r"^conv_proj\.", "patch_embed.proj.", name.replace("encoder.pos_embedding", "pos_embed"))
