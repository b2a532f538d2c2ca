"""Weights in and out: the package's own checkpoint files and importers for those of others."""

from mrcnn.weights.checkpoint import load_model, read_checkpoint, save_checkpoint
from mrcnn.weights.imagenet import load_imagenet
from mrcnn.weights.pretrained import describe_weights, load_pretrained, load_weights
from mrcnn.weights.report import LoadReport, WeightsError

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
