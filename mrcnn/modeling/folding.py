"""Batch norm folded into the convolutions: the same function of an image with fewer operations and numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from mrcnn.base_config import BaseConfig
from mrcnn.modeling.layers import ConvNorm
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.normalize import AffineBatchNorm
from mrcnn.modeling.precision import copy_precision

_FOLDED = ("frozen_bn", "eval_bn", "affine_bn", "bn", "sync_bn")


def fold_batch_norm(model: MaskRCNN) -> MaskRCNN:
    """A model for inference: each convolution with batch norm becomes one with a bias.

    The result is an ordinary `MaskRCNN` of its own: it detects, is saved and exported like any other, holds the
    weights as they are now, and does not follow `model` when that trains on. Where `model` is dropped, no weight is
    held twice. Norms that depend on the image (group norm), and those after fully connected layers, stay.

    Weights stay variables: TensorFlow fuses bias and ReLU into a convolution whether its kernel is one or a constant.

    Args:
        model: any; batch norm is folded with its moving statistics.

    Returns:
        the model; its predictions are those of `model` up to rounding.

    Ref: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, section 3.2.
    """
    folded = MaskRCNN(_without_norms(model.config), model.class_names, model.category_ids, name=model.name)
    pairs = zip(_convolutions(model), _convolutions(folded), strict=True)
    done: set[int] = set()
    for source, target in pairs:
        if source.norm is None or target.bias is None:
            continue
        scale, shift = _scale_shift(source.norm)
        target.kernel.assign(np.asarray(source.kernel) * (scale[:, np.newaxis] if source.depthwise else scale))
        target.bias.assign(shift)
        done |= {id(variable) for conv in (source, target) for variable in conv.variables}
    rest = [[v for v in of.variables if id(v) not in done] for of in (model, folded)]
    for source, target in zip(*rest, strict=True):
        target.assign(source)
    copy_precision(model, folded)
    return folded


def _without_norms(value: Any) -> Any:
    """A config with the batch norm of every convolution taken out, however deep they lie."""
    if isinstance(value, tuple):
        return tuple(_without_norms(v) for v in value)
    if not isinstance(value, BaseConfig):
        return value
    changes = {f.name: _without_norms(getattr(value, f.name)) for f in dataclasses.fields(value)}
    changes |= {name: "none" for name in ("norm", "conv_norm") if changes.get(name) in _FOLDED}
    return dataclasses.replace(value, **changes)


def _convolutions(model: keras.Model) -> list[ConvNorm]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, ConvNorm)]


def _scale_shift(norm: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Batch norm as f32[channels] scale and shift."""
    mean, variance = np.asarray(norm.moving_mean, np.float32), np.asarray(norm.moving_variance, np.float32)
    scale = np.asarray(norm.gamma, np.float32) / np.sqrt(variance + np.float32(norm.epsilon))
    if isinstance(norm, AffineBatchNorm):
        mean = mean - np.asarray(norm.bias, np.float32)
    return scale, np.asarray(norm.beta, np.float32) - mean * scale
