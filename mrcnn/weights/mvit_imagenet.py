"""MViTv2 trained on ImageNet, as its authors publish it, whose names detectron2 has too.

Relative positions come along, of a map of 56 x 56 cells; the norms behind the stages are a detector's own and stay as
they are.

Ref: github.com/facebookresearch/mvit, mvit/models/mvit_model.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import keras

from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights import mvit
from mrcnn.weights.name_map import convert_all
from mrcnn.weights.network import Network
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import LoadReport, WeightsError, assign

_log = logging.getLogger(__name__)
_IGNORED = r"^pos_embed"
_FIRST = "backbone/stage2_block1_attention/queries_depthwise/kernel"


def is_mvit(names: Iterable[str]) -> bool:
    """Whether a file has an MViTv2 and no detector."""
    return mvit.has_mvit(names, "")


def load_mvit(backbone: keras.Model, config: MViTConfig, path: str | os.PathLike[str]) -> LoadReport:
    """Set an MViTv2's weights from a classifier.

    Args:
        backbone: made by `config.build`.
        config: its config.
        path: the file, in any container.

    Returns:
        The report; what only a classifier has is unused, the norms behind the stages are not in it.

    Raises:
        WeightsError: the file cannot be read, is of another network, or contradicts the config.
    """
    arrays = read_arrays(path).arrays
    our_name = mvit.namer(arrays)
    known = {name: our_name(name) for name in arrays}
    ours = {f"backbone/{own}": name for name, own in known.items() if own is not None}
    if _FIRST not in ours:
        few = ", ".join(list(arrays)[:3])
        raise WeightsError(f"{path}: expected an MViTv2 as its authors name it; it has {few}, …")
    depth = sum(name.endswith("_attention/qkv/kernel") for name in ours)
    width = arrays[ours["backbone/stem_conv/kernel"]].shape[0] if "backbone/stem_conv/kernel" in ours else 0
    if (depth, width) != (sum(config.depths), config.width):
        raise WeightsError(
            f"{path}: {depth} blocks from {width} channels on, while backbone.depths is {config.depths} and"
            f" backbone.width {config.width}"
        )
    if config.pixel_norm != PixelNorm():
        _log.warning("%s was trained on other pixels than backbone.pixel_norm states: RGB, ImageNet's", path)
    network = Network("torchvision", {"num_classes": 1, "backbone": "mvit", "backbone.norm": "none"})
    converted = convert_all(arrays, ours, network, "first", _IGNORED)
    variables = {f"backbone/{v.path}": v for v in backbone.weights if "_out_norm/" not in v.path}
    return assign(variables, {**converted, **{name: arrays[name] for name in converted.unused}}, str(path), strict=True)
