"""Mask R-CNN for TensorFlow 2 and Keras 3.

The public names, nothing else. Each is imported when it is first used, so `import mrcnn` takes milliseconds and pulls
neither TensorFlow, matplotlib nor pycocotools.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mrcnn._version import __version__

if TYPE_CHECKING:
    from mrcnn import recipes as recipes
    from mrcnn.data.errors import DataError as DataError
    from mrcnn.data.dataset import Dataset as Dataset
    from mrcnn.data.formats.coco import load_coco as load_coco
    from mrcnn.drawing import draw as draw
    from mrcnn.export.saved_model import export_saved_model as export_saved_model
    from mrcnn.inference import detect as detect
    from mrcnn.modeling.mask_rcnn import MaskRCNN as MaskRCNN
    from mrcnn.modeling.mask_rcnn import MaskRCNNConfig as MaskRCNNConfig
    from mrcnn.recipes import Recipe as Recipe
    from mrcnn.structures import Instances as Instances
    from mrcnn.training.evaluation_run import evaluate as evaluate
    from mrcnn.training.fit import train as train
    from mrcnn.weights.checkpoint import load_model as load_model
    from mrcnn.weights.checkpoint import load_weights as load_weights
    from mrcnn.weights.checkpoint import save_checkpoint as save_checkpoint

_HOME = {
    "Dataset": "mrcnn.data.dataset",
    "DataError": "mrcnn.data.errors",
    "Instances": "mrcnn.structures",
    "MaskRCNN": "mrcnn.modeling.mask_rcnn",
    "MaskRCNNConfig": "mrcnn.modeling.mask_rcnn",
    "Recipe": "mrcnn.recipes",
    "detect": "mrcnn.inference",
    "draw": "mrcnn.drawing",
    "evaluate": "mrcnn.training.evaluation_run",
    "export_saved_model": "mrcnn.export.saved_model",
    "load_coco": "mrcnn.data.formats.coco",
    "load_model": "mrcnn.weights.checkpoint",
    "load_weights": "mrcnn.weights.checkpoint",
    "recipes": "mrcnn.recipes",
    "save_checkpoint": "mrcnn.weights.checkpoint",
    "train": "mrcnn.training.fit",
}
"""Public name -> the module that defines it; a name that is a module stands for itself."""

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mrcnn' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    module = importlib.import_module(_HOME[name])
    value = module if _HOME[name] == f"mrcnn.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
