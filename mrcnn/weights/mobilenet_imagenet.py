"""ImageNet weights of MobileNetV3-Large from torchvision's classifier, `mobilenet_v3_large-….pth`, by path."""

from __future__ import annotations

import os
from typing import Any

import keras

from mrcnn.modeling.backbones.mobilenet_v3 import MobileNetV3Config
from mrcnn.weights import torchvision
from mrcnn.weights.network import Network
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import LoadReport, WeightsError, assign

_BODY = "backbone.body."
"""What a detector of torchvision calls the classifier's `features.`."""
_SIGN = "features.1.block.0.0.weight"


def load_mobilenet(backbone: keras.Model, config: MobileNetV3Config, path: str | os.PathLike[str]) -> LoadReport:
    """Set a MobileNetV3-Large's weights from torchvision's classifier.

    The classifier was trained with epsilon 1e-3 in its batch norm; torchvision's detectors take its weights with 1e-5,
    as `MobileNetV3Config` has it.

    Args:
        backbone: made by `config.build`, with batch norm, frozen or not.
        config: its config.
        path: the file, in any container.

    Returns:
        The report; what only a classifier has is unused.

    Raises:
        WeightsError: the file cannot be read or is of another network.
    """
    contents = read_arrays(path)
    if _SIGN not in contents.arrays:
        few = ", ".join(list(contents.arrays)[:3])
        raise WeightsError(f"{path}: expected a MobileNetV3-Large as torchvision names it; it has {few}, …")
    theirs = {name.replace("features.", _BODY, 1): array for name, array in contents.arrays.items()}
    network = Network(
        "torchvision", {"num_classes": 1, "backbone.norm": config.norm, "backbone.epsilon": config.epsilon}
    )
    converted = torchvision.to_ours(theirs, network)
    variables = {f"backbone/{variable.path}": variable for variable in backbone.weights}
    arrays: dict[str, Any] = dict(converted)
    arrays |= {name.replace(_BODY, "features.", 1): theirs[name] for name in converted.unused}
    return assign(variables, arrays, str(path), strict=True)
