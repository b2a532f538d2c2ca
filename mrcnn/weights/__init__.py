"""Weights in and out: the package's own checkpoint files, importers for those of others, published weights by name.

Names are imported when they are used: looking up or downloading weights needs no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrcnn.weights.checkpoint import load_model, read_checkpoint, save_checkpoint
    from mrcnn.weights.imagenet import load_imagenet
    from mrcnn.weights.pretrained import describe_weights, load_pretrained, load_weights
    from mrcnn.weights.report import LoadReport, WeightsError

_HOME = {
    "LoadReport": "report",
    "WeightsError": "report",
    "describe_weights": "pretrained",
    "load_imagenet": "imagenet",
    "load_model": "checkpoint",
    "load_pretrained": "pretrained",
    "load_weights": "pretrained",
    "read_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}

__all__ = [
    "LoadReport",
    "WeightsError",
    "describe_weights",
    "load_imagenet",
    "load_model",
    "load_pretrained",
    "load_weights",
    "read_checkpoint",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mrcnn.weights' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mrcnn.weights.{_HOME[name]}"), name)
