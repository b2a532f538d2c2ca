"""Published weights of other programs, as a model of this package, in one line."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig, head_name
from mrcnn.settings import SettingsError
from mrcnn.weights import checkpoint, detectron, detectron2, matterport, torchvision
from mrcnn.weights.architecture import Architecture
from mrcnn.weights.coco_classes import NOT_A_CLASS
from mrcnn.weights.name_map import Converted
from mrcnn.weights.open_file import FileContents, read_arrays
from mrcnn.weights.profile import PROFILES
from mrcnn.weights.report import LoadReport, WeightsError, assign, named_variables

IMPORTERS: tuple[ModuleType, ...] = (torchvision, detectron2, detectron, matterport)
"""One module per code base: `matches(arrays)`, `describe(arrays, plain, source)`, `to_ours(arrays, architecture)`."""

_SHORT_NAMES = {
    "short_side": "input.short_side",
    "long_side": "input.long_side",
    "score_threshold": "box_head.score_threshold",
    "nms_iou": "box_head.nms_iou",
    "max_detections": "box_head.max_detections",
}


class UnknownNetworkError(WeightsError):
    """A readable weights file that is of no detector this package knows, such as that of a classifier."""


class Foreign(NamedTuple):
    """Weights of another program: the network they are of, and the arrays by our names, in our layouts."""

    architecture: Architecture
    arrays: Converted


def read_foreign(path: str | os.PathLike[str]) -> tuple[FileContents, Foreign | None]:
    """What a weights file holds, and, unless this package wrote it, whose network that is.

    Raises:
        WeightsError: no weights file, a damaged one, or one of a network this package does not have.
        UnknownNetworkError: a whole file, of no detector.
    """
    contents = read_arrays(path)
    if contents.container == "mrcnn":
        return contents, None
    for importer in IMPORTERS:
        if importer.matches(contents.arrays):
            architecture = importer.describe(contents.arrays, contents.metadata, str(path))
            return contents, Foreign(architecture, importer.to_ours(contents.arrays, architecture))
    names = ", ".join(list(contents.arrays)[:3])
    raise UnknownNetworkError(
        f"{path}: {contents.container} weights of an unknown network; expected a Mask, Faster or Keypoint R-CNN of"
        f" torchvision, detectron2, Detectron, matterport/Mask_RCNN or this package. It has {names}, ..."
        f" ({len(contents.arrays)} arrays)"
    )


def load_pretrained(
    path: str | os.PathLike[str], *, class_names: Sequence[str] | None = None, **settings: Any
) -> MaskRCNN:
    """A model with the weights of a file, built to compute what the program that wrote it computes.

    The file may come from torchvision (.pth), detectron2 (.pkl, .pth), Detectron (.pkl), matterport/Mask_RCNN (.h5),
    or this package; it is recognised by its content, never by its name, and nothing in it is executed.

    Args:
        path: the file, or the folder of a training run of this package.
        class_names: names of the classes, where the file has none and is of no known data set.
        settings: fields of the model's settings to replace: `short_side`, `long_side`, `score_threshold`, `nms_iou`,
            `max_detections`, or any field by its path, `**{"rpn.post_nms_test": 300}`.

    Returns:
        The model, ready for `mrcnn.detect`; `model.config.profile` names the family whose conventions it follows.

    Raises:
        WeightsError: no weights file, a damaged one, or one of a network this package does not have.
        SettingsError: `settings` names a field that does not exist or gives it a wrong value.
    """
    changes = {_SHORT_NAMES.get(name, name): value for name, value in settings.items()}
    if "num_classes" in changes:
        raise SettingsError("num_classes: the file decides it; to train on other classes use mrcnn.load_weights")
    _, foreign = read_foreign(path)
    if foreign is None:
        return checkpoint.load_model(path, class_names=class_names, changes=changes)
    network, source = foreign.architecture, str(path)
    model = MaskRCNN(
        PROFILES[network.family].model_config(network).override(changes),
        network.class_names if class_names is None else class_names,
        network.category_ids,
    )
    assign(named_variables(model), foreign.arrays, source, strict=True)
    return model


def load_weights(model: Any, path: str | os.PathLike[str], *, num_classes: int | None = None) -> LoadReport:
    """Load what fits of a file into a model that may differ, e.g. in its number of classes.

    Args:
        model: a MaskRCNN, or any Keras model whose variables have the same names.
        path: a weights file of any program `load_pretrained` reads, or a run's folder.
        num_classes: things in the file, to be sure that it is the file that was meant; None: any.

    Returns:
        Which variables were set, which were skipped for their shape, which the file lacks, which of its arrays were
        of no use.

    Raises:
        WeightsError: the file cannot be read, has another number of classes than said, or nothing in it fits.
    """
    _, foreign = read_foreign(path)
    if foreign is None:
        return checkpoint.load_weights(model, path)
    found = foreign.architecture.num_classes
    if num_classes is not None and num_classes != found:
        raise WeightsError(f"{path}: weights for {found} classes, expected {num_classes}")
    report = assign(named_variables(model), foreign.arrays, str(path))
    return dataclasses.replace(report, unused=(*report.unused, *foreign.arrays.unused))


@dataclasses.dataclass(frozen=True)
class WeightsDescription:
    """What a weights file is; `str` of it is meant to be read.

    container: how it is written. family: whose conventions it follows. network: one line on its parts. class_names,
    assumptions: see `Architecture`. unused: names of arrays no variable is made of.
    """

    source: str
    container: str
    family: str
    network: str
    num_arrays: int
    num_parameters: int
    class_names: tuple[str, ...] | None
    assumptions: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.network}",
            f"  written as  {self.container}, {self.num_arrays} arrays, {self.num_parameters / 1e6:.1f} million values",
        ]
        if self.class_names is not None:
            names = [name for name in self.class_names if name != NOT_A_CLASS]
            some = ", ".join(names[:6]) + (f", ... ({len(names)} in all)" if len(names) > 6 else "")
            lines.append(f"  classes     {some}")
        lines += [f"  taken as    {assumption}" for assumption in self.assumptions]
        if self.unused:
            some = ", ".join(self.unused[:4]) + (f", ... ({len(self.unused)} in all)" if len(self.unused) > 4 else "")
            lines.append(f"  not used    {some}")
        return "\n".join(lines)


def describe_weights(path: str | os.PathLike[str]) -> WeightsDescription:
    """What a weights file is, without building the model.

    Args:
        path: a weights file of any program `load_pretrained` reads, or a run's folder.

    Raises:
        WeightsError: as `load_pretrained`.
    """
    contents, foreign = read_foreign(path)
    values = sum(math.prod(array.shape) for array in contents.arrays.values())
    shared = (str(path), contents.container)
    if foreign is None:
        config = MaskRCNNConfig.from_dict(contents.metadata["model"])
        heads = ["box", *(head_name(head).removesuffix("_head") for head in config.heads)]
        backbone = type(config.backbone).__name__.removesuffix("Config")
        network = f"mrcnn {backbone}, {config.num_classes} classes, {' + '.join(heads)}"
        names = tuple(contents.metadata["class_names"])
        return WeightsDescription(*shared, config.profile, network, len(contents.arrays), values, names)
    network = foreign.architecture
    return WeightsDescription(
        *shared,
        network.family,
        str(network),
        len(contents.arrays),
        values,
        network.class_names,
        network.assumptions,
        foreign.arrays.unused,
    )
