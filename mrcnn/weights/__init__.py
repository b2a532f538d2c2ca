"""Weights in and out: the package's own checkpoint files and importers for those of others."""

from mrcnn.weights.checkpoint import load_model, load_weights, read_checkpoint, save_checkpoint
from mrcnn.weights.imagenet import load_imagenet
from mrcnn.weights.report import LoadReport, WeightsError

__all__ = [
    "LoadReport",
    "WeightsError",
    "load_imagenet",
    "load_model",
    "load_weights",
    "read_checkpoint",
    "save_checkpoint",
]
