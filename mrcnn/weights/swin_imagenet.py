"""ImageNet weights of Swin Transformers as their authors, torchvision and timm publish them.

All three have RGB pixels less ImageNet's mean over its deviation, and merge cells in the authors' order. They differ in
names only, and in which stage timm counts the merging to. A classifier has no norm behind each stage: those stay as
they are, which in a new backbone changes nothing but the scale.

Ref: github.com/microsoft/Swin-Transformer; torchvision/models/swin_transformer.py; timm/models/swin_transformer.py.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights import swin
from mrcnn.weights.name_map import convert_all
from mrcnn.weights.network import Network
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import LoadReport, WeightsError, assign

_log = logging.getLogger(__name__)

_IGNORED = r"\.relative_position_index$|\.attn_mask$"
_TORCHVISION = {"0.0": "patch_embed.proj", "0.2": "patch_embed.norm"}
_MLP = {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
_VERSION_2 = re.compile(r"\.(logit_scale|cpb_mlp\.\d\.weight)$")


def is_swin(names: Iterable[str]) -> bool:
    """Whether a file has a Swin Transformer and no detector."""
    known = dict.fromkeys(names)
    sign = "layers.0.blocks.0.attn.relative_position_bias_table"
    return any(name.endswith("position_bias_table") and authors_name(name, known) == sign for name in known)


def load_swin(backbone: keras.Model, config: SwinConfig, path: str | os.PathLike[str]) -> LoadReport:
    """Set a Swin Transformer's weights from a classifier.

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
    version_2 = next((name for name in arrays if _VERSION_2.search(name)), None)
    if version_2 is not None:
        raise WeightsError(f"{path}: weights of a Swin Transformer V2, which is another network (it has {version_2})")
    theirs = {name: f"backbone.{authors_name(name, arrays)}" for name in arrays}
    known = {name: swin.our_name(theirs[name].removeprefix("backbone.")) for name in arrays}
    ours = {f"backbone/{own}": name for name, own in known.items() if own is not None}
    if "backbone/stage2_block1_attention/position_bias" not in ours:
        few = ", ".join(list(arrays)[:3])
        raise WeightsError(
            f"{path}: expected a Swin Transformer as its authors, torchvision or timm name it; it has {few}, …"
        )
    if config.pixel_norm != PixelNorm():
        _log.warning("%s was trained on other pixels than backbone.pixel_norm states: RGB, ImageNet's", path)
    network = Network("torchvision", {"num_classes": 1, "backbone": "swin", "backbone.norm": "none"})
    converted = convert_all(arrays, ours, network, "first", _IGNORED, swin.first_steps(ours))
    variables = {f"backbone/{v.path}": v for v in backbone.weights if "_out_norm/" not in v.path}
    return assign(variables, {**converted, **{name: arrays[name] for name in converted.unused}}, str(path), strict=True)


def authors_name(name: str, names: Mapping[str, Any]) -> str:
    """The name that an array of a classifier has in the authors' files.

    Args:
        name: as torchvision, timm or the authors have it.
        names: of all arrays in the file.

    Example:
        >>> authors_name("features.3.0.mlp.3.weight", {})
        'layers.1.blocks.0.mlp.fc2.weight'
        >>> authors_name("features.2.reduction.weight", {})
        'layers.0.downsample.reduction.weight'
        >>> authors_name("layers.1.downsample.norm.bias", {})  # timm
        'layers.0.downsample.norm.bias'
    """
    match = re.fullmatch(r"layers\.([1-3])\.(downsample\..*)", name)
    if match and "layers.0.downsample.reduction.weight" not in names:  # timm merges at the beginning of a stage
        return f"layers.{int(match[1]) - 1}.{match[2]}"
    match = re.fullmatch(r"features\.(0\.[02])\.(\w+)", name)
    if match:
        return f"{_TORCHVISION[match[1]]}.{match[2]}"
    match = re.fullmatch(r"features\.([246])\.(norm|reduction)\.(\w+)", name)
    if match:
        return f"layers.{int(match[1]) // 2 - 1}.downsample.{match[2]}.{match[3]}"
    match = re.fullmatch(r"features\.([1357])\.(\d+)\.(.+)\.(\w+)", name)
    if match:
        return f"layers.{int(match[1]) // 2}.blocks.{match[2]}.{_MLP.get(match[3], match[3])}.{match[4]}"
    return name
