"""Mask R-CNN for TensorFlow 2 and Keras 3.

The public names, nothing else. Each is imported when it is first used, so `import mrcnn` takes milliseconds and pulls
neither TensorFlow, matplotlib nor pycocotools.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mrcnn._version import __version__
from mrcnn.compat import repair_before_imgaug
from mrcnn.distribution import warn_of_other

if TYPE_CHECKING:
    from mrcnn import recipes as recipes
    from mrcnn.app.server import launch_app as launch_app
    from mrcnn.base_config import ConfigError as ConfigError
    from mrcnn.data.dataset import Dataset as Dataset
    from mrcnn.data.errors import DataError as DataError
    from mrcnn.data.formats.coco import load_coco as load_coco
    from mrcnn.data.formats.coco_panoptic_writer import save_panoptic as save_panoptic
    from mrcnn.data.formats.coco_writer import save_json as save_json
    from mrcnn.data.formats.loading import dataset_splits as dataset_splits
    from mrcnn.data.formats.loading import load_dataset as load_dataset
    from mrcnn.data.formats.loading import load_splits as load_splits
    from mrcnn.data.formats.registry import list_formats as list_formats
    from mrcnn.data.formats.via import load_via as load_via
    from mrcnn.data.image_file import image_suffixes as image_suffixes
    from mrcnn.data.image_list import list_images as list_images
    from mrcnn.data.images import read_image as read_image
    from mrcnn.data.pipeline import make_pipeline as make_pipeline
    from mrcnn.data.read_options import ReadOptions as ReadOptions
    from mrcnn.data.rle import encode_masks as encode_masks
    from mrcnn.data.video import VideoReader as VideoReader
    from mrcnn.data.video import VideoWriter as VideoWriter
    from mrcnn.doctor import diagnose as diagnose
    from mrcnn.drawing import draw as draw
    from mrcnn.drawing import draw_boxes as draw_boxes
    from mrcnn.drawing import draw_grid as draw_grid
    from mrcnn.drawing import draw_panoptic as draw_panoptic
    from mrcnn.drawing import save_image as save_image
    from mrcnn.drawing.colors import track_colors as track_colors
    from mrcnn.errors import FileError as FileError
    from mrcnn.errors import InputError as InputError
    from mrcnn.errors import MrcnnError as MrcnnError
    from mrcnn.evaluation.cityscapes import CityscapesMetric as CityscapesMetric
    from mrcnn.evaluation.coco_results import to_coco_results as to_coco_results
    from mrcnn.export.errors import ExportError as ExportError
    from mrcnn.export.onnx import export_onnx as export_onnx
    from mrcnn.export.onnx import load_onnx as load_onnx
    from mrcnn.export.openvino import export_openvino as export_openvino
    from mrcnn.export.openvino import load_openvino as load_openvino
    from mrcnn.export.saved_model import export_saved_model as export_saved_model
    from mrcnn.export.tflite import export_tflite as export_tflite
    from mrcnn.export.tflite import load_tflite as load_tflite
    from mrcnn.inference import detect as detect
    from mrcnn.inference import detect_augmented as detect_augmented
    from mrcnn.inference import detect_panoptic as detect_panoptic
    from mrcnn.inference import detect_tiled as detect_tiled
    from mrcnn.inference import iter_detect as iter_detect
    from mrcnn.inference import set_threads as set_threads
    from mrcnn.inspection import inspect as inspect
    from mrcnn.inspection import inspect_batch as inspect_batch
    from mrcnn.labeling.selection import ImageSelection as ImageSelection
    from mrcnn.labeling.selection import select_images as select_images
    from mrcnn.labeling.server import LabelServer as LabelServer
    from mrcnn.modeling.folding import fold_batch_norm as fold_batch_norm
    from mrcnn.modeling.mask_rcnn import MaskRCNN as MaskRCNN
    from mrcnn.modeling.mask_rcnn import MaskRCNNConfig as MaskRCNNConfig
    from mrcnn.modeling.precision import set_precision as set_precision
    from mrcnn.modeling.stages import run_stages as run_stages
    from mrcnn.modeling.stages import training_targets as training_targets
    from mrcnn.native.build import build_ops as build_ops
    from mrcnn.quiet import quiet_start as quiet_start
    from mrcnn.recipes import Recipe as Recipe
    from mrcnn.report.comparison import compare_reports as compare_reports
    from mrcnn.report.evaluation_report import EvaluationReport as EvaluationReport
    from mrcnn.structures.instances import Instances as Instances
    from mrcnn.structures.panoptic import PanopticSegments as PanopticSegments
    from mrcnn.structures.records import Annotation as Annotation
    from mrcnn.structures.result_format import ResultWriter as ResultWriter
    from mrcnn.structures.tracks import Tracker as Tracker
    from mrcnn.training.devices import join_workers as join_workers
    from mrcnn.training.devices import use_devices as use_devices
    from mrcnn.training.dry_run import dry_run as dry_run
    from mrcnn.training.evaluation_run import evaluate as evaluate
    from mrcnn.training.fit import train as train
    from mrcnn.training.freezing import set_trainable as set_trainable
    from mrcnn.training.panoptic_evaluation import evaluate_panoptic as evaluate_panoptic
    from mrcnn.weights.cache import downloaded_weights as downloaded_weights
    from mrcnn.weights.checkpoint import load_model as load_model
    from mrcnn.weights.checkpoint import save_checkpoint as save_checkpoint
    from mrcnn.weights.download import download_weights as download_weights
    from mrcnn.weights.download import remove_download as remove_download
    from mrcnn.weights.hub_push import push_to_hub as push_to_hub
    from mrcnn.weights.imagenet import load_imagenet as load_imagenet
    from mrcnn.weights.pretrained import UnknownNetworkError as UnknownNetworkError
    from mrcnn.weights.pretrained import describe_weights as describe_weights
    from mrcnn.weights.pretrained import load_pretrained as load_pretrained
    from mrcnn.weights.pretrained import load_weights as load_weights
    from mrcnn.weights.report import WeightsError as WeightsError
    from mrcnn.weights.zoo import published_weights as published_weights

_HOME = {
    "Annotation": "mrcnn.structures.records",
    "CityscapesMetric": "mrcnn.evaluation.cityscapes",
    "ConfigError": "mrcnn.base_config",
    "DataError": "mrcnn.data.errors",
    "Dataset": "mrcnn.data.dataset",
    "EvaluationReport": "mrcnn.report.evaluation_report",
    "ExportError": "mrcnn.export.errors",
    "FileError": "mrcnn.errors",
    "ImageSelection": "mrcnn.labeling.selection",
    "InputError": "mrcnn.errors",
    "Instances": "mrcnn.structures.instances",
    "LabelServer": "mrcnn.labeling.server",
    "MaskRCNN": "mrcnn.modeling.mask_rcnn",
    "MaskRCNNConfig": "mrcnn.modeling.mask_rcnn",
    "MrcnnError": "mrcnn.errors",
    "PanopticSegments": "mrcnn.structures.panoptic",
    "ReadOptions": "mrcnn.data.read_options",
    "Recipe": "mrcnn.recipes",
    "ResultWriter": "mrcnn.structures.result_format",
    "Tracker": "mrcnn.structures.tracks",
    "UnknownNetworkError": "mrcnn.weights.pretrained",
    "VideoReader": "mrcnn.data.video",
    "VideoWriter": "mrcnn.data.video",
    "WeightsError": "mrcnn.weights.report",
    "build_ops": "mrcnn.native.build",
    "compare_reports": "mrcnn.report.comparison",
    "dataset_splits": "mrcnn.data.formats.loading",
    "describe_weights": "mrcnn.weights.pretrained",
    "detect": "mrcnn.inference",
    "detect_augmented": "mrcnn.inference",
    "detect_panoptic": "mrcnn.inference",
    "detect_tiled": "mrcnn.inference",
    "diagnose": "mrcnn.doctor",
    "download_weights": "mrcnn.weights.download",
    "downloaded_weights": "mrcnn.weights.cache",
    "draw": "mrcnn.drawing",
    "draw_boxes": "mrcnn.drawing",
    "draw_grid": "mrcnn.drawing",
    "draw_panoptic": "mrcnn.drawing",
    "dry_run": "mrcnn.training.dry_run",
    "encode_masks": "mrcnn.data.rle",
    "evaluate": "mrcnn.training.evaluation_run",
    "evaluate_panoptic": "mrcnn.training.panoptic_evaluation",
    "export_onnx": "mrcnn.export.onnx",
    "export_openvino": "mrcnn.export.openvino",
    "export_saved_model": "mrcnn.export.saved_model",
    "export_tflite": "mrcnn.export.tflite",
    "fold_batch_norm": "mrcnn.modeling.folding",
    "image_suffixes": "mrcnn.data.image_file",
    "inspect": "mrcnn.inspection",
    "inspect_batch": "mrcnn.inspection",
    "iter_detect": "mrcnn.inference",
    "join_workers": "mrcnn.training.devices",
    "launch_app": "mrcnn.app.server",
    "list_images": "mrcnn.data.image_list",
    "list_formats": "mrcnn.data.formats.registry",
    "load_coco": "mrcnn.data.formats.coco",
    "load_dataset": "mrcnn.data.formats.loading",
    "load_imagenet": "mrcnn.weights.imagenet",
    "load_model": "mrcnn.weights.checkpoint",
    "load_onnx": "mrcnn.export.onnx",
    "load_openvino": "mrcnn.export.openvino",
    "load_pretrained": "mrcnn.weights.pretrained",
    "load_splits": "mrcnn.data.formats.loading",
    "load_tflite": "mrcnn.export.tflite",
    "load_via": "mrcnn.data.formats.via",
    "load_weights": "mrcnn.weights.pretrained",
    "make_pipeline": "mrcnn.data.pipeline",
    "published_weights": "mrcnn.weights.zoo",
    "push_to_hub": "mrcnn.weights.hub_push",
    "quiet_start": "mrcnn.quiet",
    "read_image": "mrcnn.data.images",
    "recipes": "mrcnn.recipes",
    "remove_download": "mrcnn.weights.download",
    "run_stages": "mrcnn.modeling.stages",
    "save_checkpoint": "mrcnn.weights.checkpoint",
    "save_image": "mrcnn.drawing",
    "save_panoptic": "mrcnn.data.formats.coco_panoptic_writer",
    "save_json": "mrcnn.data.formats.coco_writer",
    "select_images": "mrcnn.labeling.selection",
    "set_precision": "mrcnn.modeling.precision",
    "set_threads": "mrcnn.inference",
    "set_trainable": "mrcnn.training.freezing",
    "to_coco_results": "mrcnn.evaluation.coco_results",
    "track_colors": "mrcnn.drawing.colors",
    "train": "mrcnn.training.fit",
    "training_targets": "mrcnn.modeling.stages",
    "use_devices": "mrcnn.training.devices",
}
"""Public name -> the module that defines it; a name that is a module stands for itself."""

__all__ = ["__version__", *sorted(_HOME)]


repair_before_imgaug()
warn_of_other()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mrcnn' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    module = importlib.import_module(_HOME[name])
    value = module if _HOME[name] == f"mrcnn.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
