"""ImageNet weights of ResNet and ResNeXt as detectors begin with them, by path.

* torchvision's `resnet50-….pth`, `resnext50_32x4d-….pth` and their like: RGB pixels less mean over deviation, stride
  in the 3x3.
* Detectron's and detectron2's `R-50.pkl`, `R-101.pkl` from MSRA: BGR pixels less their mean, stride in the 1x1. Batch
  norm is folded into a scale and a shift. The bias of the first convolution, which only `R-50.pkl` has, is left out,
  as both programs leave it out.
* `X-101-32x8d.pkl`, `X-101-64x4d.pkl`, `R-50-GN.pkl` of the same two: BGR, stride in the 3x3.
* detectron2's `R-50.pkl` from torchvision: as torchvision's own, under detectron2's names.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import keras

from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.non_local import NonLocalBlock
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.weights import detectron, detectron2, torchvision
from mrcnn.weights.name_map import ROI_STAGE, Converted
from mrcnn.weights.network import Network
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import LoadReport, WeightsError, assign

_log = logging.getLogger(__name__)


class _Source(NamedTuple):
    """A way in which such files name their arrays.

    sign: an array that all of them have. prefix: what the same array is called inside a detector, before that name.
    """

    title: str
    sign: str
    prefix: str
    to_ours: Callable[[Mapping[str, Any], Network], Converted]


_SOURCES = (
    _Source("torchvision", "layer1.0.conv1.weight", "backbone.body.", torchvision.to_ours),
    _Source("detectron2", "res2.0.conv1.weight", "backbone.bottom_up.", detectron2.to_ours),
    _Source("Detectron", "res2_0_branch2a_w", "", detectron.to_ours),
)


def is_resnet(names: Iterable[str]) -> bool:
    """Whether a file has a ResNet or ResNeXt, of which a detector is known otherwise."""
    known = set(names)
    return any(source.sign in known for source in _SOURCES)


def load_resnet(
    backbone: keras.Model,
    config: ResNetConfig,
    path: str | os.PathLike[str],
    roi_stage: keras.Model | None = None,
) -> LoadReport:
    """Set a ResNet's weights from a classifier of torchvision, Detectron or detectron2.

    Args:
        backbone: made by `config.build`.
        config: its config.
        path: the file, in any container.
        roi_stage: the stage 5 that a C4 model runs on RoIs; takes the file's stage 5.

    Returns:
        The report; what only a classifier has is unused.

    Raises:
        WeightsError: the file cannot be read, is of another network, or contradicts the config.
    """
    contents = read_arrays(path)
    source = next((s for s in _SOURCES if s.sign in contents.arrays), None)
    if source is None:
        few = ", ".join(list(contents.arrays)[:3])
        raise WeightsError(
            f"{path}: expected a ResNet-50, -101 or -152 or a ResNeXt as torchvision, Detectron or detectron2 name "
            f"them; it has {few}, …"
        )
    is_gn = "conv1_gn_s" in contents.arrays
    if (config.norm == "gn") != is_gn:
        has = "group norm" if is_gn else "batch norm"
        raise WeightsError(f"{path}: these weights have {has}; backbone.norm is {config.norm}")
    _check_conventions(source.title, is_gn, config, path)
    theirs = {source.prefix + name: array for name, array in contents.arrays.items()}
    converted = source.to_ours(theirs, _network(config))
    # What no classifier has stays as it begins: a non-local block as the identity, offsets as zeros.
    layers = [layer for layer in backbone.layers if not isinstance(layer, NonLocalBlock)]
    own = [v for layer in layers for v in layer.weights if "_conv2_offset/" not in v.path]
    variables = {f"backbone/{v.path}": v for v in own}
    if roi_stage is not None:
        variables |= {f"{ROI_STAGE}/{v.path}": v for v in roi_stage.weights}
    arrays: dict[str, Any] = {}
    leftover = list(converted.unused)
    for name, array in converted.items():
        component = _component(name, config)
        if component in variables:
            arrays[component] = array
        else:  # called as in the file, so that the report speaks of what is there
            leftover += converted.source_of(name)
    arrays |= {name.removeprefix(source.prefix): theirs[name] for name in leftover}
    return assign(variables, arrays, str(path), strict=True)


def _network(config: ResNetConfig) -> Network:
    """As much of the config as a conversion of names and layouts asks for."""
    fields = ("depth", "groups", "width_per_group", "norm", "epsilon", "stride_in_1x1")
    backbone = {f"backbone.{name}": getattr(config, name) for name in fields}
    return Network("detectron2", {"num_classes": 1, **backbone})


def _component(name: str, config: ResNetConfig) -> str:
    """Our name with stage 5 where the model has it."""
    in_backbone, on_rois = "backbone/stage5_", f"{ROI_STAGE}/"
    if config.last_stage == 5:
        return name.replace(on_rois, in_backbone)
    return name.replace(in_backbone, on_rois)


def _check_conventions(title: str, is_gn: bool, config: ResNetConfig, path: str | os.PathLike[str]) -> None:
    """Refuse a wrong stride, which changes the network, and warn of wrong pixels, which a training may get over."""
    is_msra = title == "Detectron" and config.groups == 1 and not is_gn
    if config.stride_in_1x1 != is_msra:
        value = str(is_msra).lower()
        place = "1x1" if is_msra else "3x3"
        raise WeightsError(f"{path}: these weights have the stride in the {place}; set backbone.stride_in_1x1={value}")
    pixels, is_caffe = config.pixel_norm, title == "Detectron"
    undivided = set(pixels.std) == {1.0}
    if pixels.bgr != is_caffe or (is_msra and not undivided) or (not is_caffe and pixels != PixelNorm()):
        expected = "BGR less its mean" if is_caffe else "RGB less ImageNet's mean, over its standard deviation"
        _log.warning("%s was trained on other pixels than backbone.pixel_norm states: %s", path, expected)
