"""Published weights of other programs, as a model of this package, in one line."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from mrcnn.base_config import ConfigError
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.modeling.precision import Precision, set_precision
from mrcnn.weights import checkpoint, detectron, detectron2, matterport, mmdetection, torchvision
from mrcnn.weights.coco_classes import NOT_A_CLASS
from mrcnn.weights.download import local_file
from mrcnn.weights.mvit_imagenet import is_mvit
from mrcnn.weights.name_map import Converted
from mrcnn.weights.network import Network
from mrcnn.weights.open_file import FileContents, read_arrays
from mrcnn.weights.profiles import PROFILES
from mrcnn.weights.reading import reading
from mrcnn.weights.report import LoadReport, WeightsError, assign, by_stable_names, named_variables
from mrcnn.weights.resnet_imagenet import is_resnet
from mrcnn.weights.swin_imagenet import is_swin
from mrcnn.weights.vit_imagenet import is_vit
from mrcnn.weights.zoo import ZooEntry, recognize

_log = logging.getLogger(__name__)

IMPORTERS: tuple[ModuleType, ...] = (torchvision, mmdetection, detectron2, detectron, matterport)
"""One module per code base: `matches(arrays)`, `describe(arrays, plain, source)`, `to_ours(arrays, network)`."""

_SHORT_NAMES = {
    "short_side": "input.short_side",
    "long_side": "input.long_side",
    "score_threshold": "box_head.score_threshold",
    "nms_iou": "box_head.nms_iou",
    "max_detections": "box_head.max_detections",
}
_CLASS_LOSSES = {"softmax": "ClassCrossEntropy", "sigmoid": "ClassSigmoidCrossEntropy"}

_BACKBONES: tuple[tuple[str, str, Callable[[Iterable[str]], bool]], ...] = (
    ("an MViTv2", "MViTConfig", is_mvit),
    ("a Vision Transformer", "ViTConfig", is_vit),
    ("a Swin Transformer", "SwinConfig", is_swin),
    ("a ResNet", "ResNetConfig", is_resnet),
)
"""What a classifier's file may hold, the config of such a backbone, and whether names are of one."""
_SPARE_VALUES = 1 << 24  # that a model with other classes may have beyond those of its file


class UnknownNetworkError(WeightsError):
    """A readable weights file that is of no detector this package knows, such as that of a classifier."""


class Foreign(NamedTuple):
    """Weights of another program: the network they are of, and the arrays by our names, in our layouts."""

    network: Network
    arrays: Converted


def read_foreign(path: str | os.PathLike[str]) -> tuple[FileContents, Foreign | None]:
    """What a weights file holds, and, unless this package wrote it, whose network that is.

    Raises:
        WeightsError: no weights file, a damaged one, or one of a network this package does not have.
        UnknownNetworkError: a whole file, of no detector.
    """
    contents = read_arrays(path)
    foreign = _foreign(contents, path)
    if foreign is None and contents.container != "mrcnn":
        raise _unknown(contents, path)
    return contents, foreign


def _foreign(contents: FileContents, path: str | os.PathLike[str]) -> Foreign | None:
    """Whose network a file holds; None: this package's, or one of a code base it does not know."""
    if contents.container == "mrcnn":
        return None
    with reading(Path(path)):
        for importer in IMPORTERS:
            if importer.matches(contents.arrays):
                network = importer.describe(contents.arrays, contents.metadata, str(path))
                return Foreign(network, importer.to_ours(contents.arrays, network))
    return None


def _unknown(contents: FileContents, path: str | os.PathLike[str], also: str = "") -> UnknownNetworkError:
    for kind, config, is_kind in _BACKBONES if not also else ():
        if is_kind(contents.arrays):
            return UnknownNetworkError(
                f"{path}: {kind} without a detector; as a backbone, a model with {config} starts from it by"
                " load_imagenet(model.backbone, model.config.backbone, path) or `mrcnn train --weights FILE`"
            )
    names = ", ".join(name[:80] for name in list(contents.arrays)[:3])
    if writer := mmdetection.writer(contents.metadata):
        classes = ", ".join(mmdetection.first_classes(contents.metadata))
        also = f"written by {writer}{f', with classes {classes}' if classes else ''}; {also}"
    return UnknownNetworkError(
        f"{path}: {contents.container} weights of an unknown network; {also}expected a Mask, Faster or Keypoint R-CNN"
        " of torchvision, detectron2, Detectron, matterport/Mask_RCNN, mmdetection or this package. It has"
        f" {names}, ... ({len(contents.arrays)} arrays)"
    )


def _squared(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`square_pad` as the two fields that it stands for; the others as they are."""
    changes = dict(overrides)
    side = changes.pop("square_pad", None)
    if side is None:
        return changes
    return {"input.canvas": "square" if side else "divisor", "input.square_side": side or None, **changes}


def _with_scores(config: MaskRCNNConfig, class_scores: Any) -> MaskRCNNConfig:
    """The config with other class scores, and with a loss that goes with them; as it is where it has them."""
    if class_scores not in _CLASS_LOSSES:
        raise ConfigError(f'class_scores: expected "softmax" or "sigmoid", got {class_scores!r}')
    if config.box_head.activation == class_scores:
        return config
    return config.override(
        {"box_head.activation": class_scores, "box_head.class_loss": {"kind": _CLASS_LOSSES[class_scores]}}
    )


def load_pretrained(
    path: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    precision: Precision = "float32",
    **overrides: Any,
) -> MaskRCNN:
    """A model with the weights of a file, built to compute what the program that wrote it computes.

    The file may come from torchvision (.pth), detectron2 (.pkl, .pth), Detectron (.pkl), matterport/Mask_RCNN (.h5),
    mmdetection (.pth), or this package; it is recognized by its content, never by its name, and nothing in it is
    executed.

    Args:
        path: the file, or the folder of a training run of this package; or a name of `mrcnn weights --list`, such as
            "detectron2/mask_rcnn_r50_fpn_3x", or an https address: these are downloaded once and checked.
        num_classes: C of the model, things only, to fine-tune on other classes: the layers that depend on it start
            anew where the file has another number. None: as many as the file has.
        class_names: names of the classes, where the file has none, is of no known data set, or has others.
        precision: what it computes in, see `mrcnn.set_precision`.
        overrides: fields of the model's config to replace: `short_side`, `long_side`, `score_threshold`, `nms_iou`,
            `max_detections`, `square_pad` (the side of the square that images are padded to; 0: just as far as
            needed), `class_scores` ("softmax" or "sigmoid", which no array tells), or any field by its path,
            `**{"rpn.post_nms_test": 300}`.

    Returns:
        The model, ready for `mrcnn.detect` or, with other classes, `mrcnn.train`. `model.config.profile` names the
        family whose conventions it follows, `model.load_report` says what became of every array.

    Raises:
        WeightsError: no weights file, a damaged one, or one of a network this package does not have.
        ConfigError: `overrides` names a field that does not exist or gives it a wrong value.
        ValueError: `class_names` are not as many as the classes.
    """
    changes = {_SHORT_NAMES.get(name, name): value for name, value in _squared(overrides).items()}
    class_scores = changes.pop("class_scores", None)
    path = local_file(path)
    contents, foreign = read_foreign(path)
    names: Sequence[str] | None
    ids: Sequence[int] | None
    if foreign is None:
        config, names, ids = checkpoint.stored_model(contents.metadata, str(path))
        arrays: Mapping[str, Any] = contents.arrays
        unused: tuple[str, ...] = ()
    else:
        network = foreign.network
        config = _config_of(network, path)
        names, ids, arrays, unused = network.class_names, network.category_ids, foreign.arrays, foreign.arrays.unused
    in_file = config.num_classes
    if class_scores is not None:
        config = _with_scores(config, class_scores)
    config = config.override(changes | ({} if num_classes is None else {"num_classes": num_classes}))
    is_same = config.num_classes == in_file
    if not is_same:
        names = ids = None
        loss = config.box_head.class_loss.for_classes(config.num_classes)
        config = dataclasses.replace(config, box_head=dataclasses.replace(config.box_head, class_loss=loss))
    model = checkpoint.build_model(
        config,
        names if class_names is None else class_names,
        ids,
        arrays,
        str(path),
        num_values=None if is_same else _allowed_values(arrays, config.num_classes / in_file),
        is_blank=is_same,
        is_changed=foreign is not None or class_names is not None or class_scores is not None or bool(changes),
    )
    if foreign is None:
        arrays = by_stable_names(arrays, model)
    report = assign(named_variables(model), arrays, str(path), strict=config.num_classes == in_file)
    if report.missing:
        raise WeightsError(f"{path}: does not fit the model\n{report}")
    model.load_report = dataclasses.replace(report, unused=(*report.unused, *unused))
    if precision != "float32":
        set_precision(model, precision)
    return model


def _config_of(network: Network, path: str | os.PathLike[str]) -> MaskRCNNConfig:
    """The config of a model of a network; sizes that no model here has are the file's fault, which is named."""
    try:
        return PROFILES[network.family].model_config(network.overrides)
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}") from error


def _allowed_values(arrays: Mapping[str, Any], more_classes: float) -> int:
    """How many values a model with another number of classes than the file, or wider heads, may reasonably have."""
    values = sum(math.prod(array.shape) for array in arrays.values())
    return int(values * max(1.0, more_classes)) + _SPARE_VALUES


def load_weights(model: Any, path: str | os.PathLike[str], *, num_classes: int | None = None) -> LoadReport:
    """Load what fits of a file into a model that may differ, e.g. in its number of classes.

    Args:
        model: a MaskRCNN, or any Keras model whose variables have the same names.
        path: whatever `load_pretrained` takes.
        num_classes: things the model, or the file, has, to be sure that they are those that were meant; None: any.

    Returns:
        Which variables were set, which were skipped for their shape, which the file lacks, which of its arrays were
        of no use. A warning is logged where the weights come from a program with other conventions than the model's,
        such as other pixel statistics; `load_pretrained(path, num_classes=...)` makes a model that has them.

    Raises:
        WeightsError: the file cannot be read, neither it nor the model has that many classes, or nothing in it fits.
    """
    path = local_file(path)
    contents = read_arrays(path)
    foreign = _foreign(contents, path)
    if foreign is None:
        names = contents.metadata.get("class_names")
        in_file = len(names) if isinstance(names, (list, tuple)) else None
    else:
        in_file = foreign.network.num_classes
    in_model = getattr(getattr(model, "config", None), "num_classes", None)
    if num_classes is not None and num_classes not in (in_file, in_model):
        raise WeightsError(f"{path}: weights for {in_file} classes and a model for {in_model}, expected {num_classes}")
    if foreign is None:
        variables, arrays = named_variables(model), by_stable_names(contents.arrays, model)
        if contents.container != "mrcnn" and not any(name in variables for name in arrays):
            raise _unknown(contents, path, "nothing in it fits the model; ")
        return assign(variables, arrays, str(path))
    if foreign.network.family == "matterport":  # whose weights two kinds of norm and of objectness can hold
        fitted = matterport.fitted(foreign.network, named_variables(model))
        foreign = Foreign(foreign.network, matterport.to_ours(contents.arrays, fitted))
    report = assign(named_variables(model), foreign.arrays, str(path))
    differing = _other_conventions(model, foreign.network)
    if differing:
        _log.warning(
            "%s: made for other values of %s than the model's; load_pretrained(path, num_classes=...) takes them over",
            path,
            ", ".join(differing),
        )
    return dataclasses.replace(report, unused=(*report.unused, *foreign.arrays.unused))


def _other_conventions(model: Any, network: Network) -> list[str]:
    """Configuration of the first layers in which the model and the family of the weights differ."""
    mine = getattr(getattr(model, "config", None), "backbone", None)
    theirs = PROFILES[network.family].model_config(network.overrides).backbone
    names = ("pixel_norm", "stride_in_1x1", "stem_pool")
    return [
        f"backbone.{name}"
        for name in names
        if hasattr(mine, name) and _differ(getattr(mine, name), getattr(theirs, name))
    ]


def _differ(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, PixelNorm):
        close = np.allclose([mine.mean, mine.std], [theirs.mean, theirs.std], atol=0.1)
        return not close or mine.bgr != theirs.bgr
    return mine != theirs


@dataclasses.dataclass(frozen=True)
class WeightsDescription:
    """What a weights file is; `str` of it is meant to be read.

    container: how it is written. family: whose conventions it follows. network: one line on its parts. class_names,
    assumptions: see `Network`. unused: names of arrays no variable is made of. writer: what the file says of the
    program that wrote it. published: which published weights they are, if they are any; has license and AP.
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
    writer: str = ""
    published: ZooEntry | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.network}",
            f"  written as  {self.container}, {self.num_arrays} arrays, {self.num_parameters / 1e6:.1f} million values",
        ]
        if self.class_names is not None:
            names = [name for name in self.class_names if name != NOT_A_CLASS]
            some = ", ".join(names[:6]) + (f", ... ({len(names)} in all)" if len(names) > 6 else "")
            lines.append(f"  classes     {some}")
        if self.writer:
            lines.append(f"  written by  {self.writer}")
        if self.published is not None:
            ap = " / ".join(f"{what} {number}" for what, number in self.published.ap.items())
            lines.append(f"  published   {self.published.name}{f', AP {ap}' if ap else ''}")
            lines.append(f"  license     {self.published.license}")
        lines += [f"  taken as    {assumption}" for assumption in self.assumptions]
        if self.unused:
            some = ", ".join(self.unused[:4]) + (f", ... ({len(self.unused)} in all)" if len(self.unused) > 4 else "")
            lines.append(f"  not used    {some}")
        return "\n".join(lines)


def describe_weights(path: str | os.PathLike[str]) -> WeightsDescription:
    """What a weights file is, without building the model.

    Args:
        path: whatever `load_pretrained` takes.

    Raises:
        WeightsError: as `load_pretrained`.
    """
    path = local_file(path)
    contents, foreign = read_foreign(path)
    values = sum(math.prod(array.shape) for array in contents.arrays.values())
    shared = (str(path), contents.container)
    if foreign is None:
        config, class_names, _ = checkpoint.stored_model(contents.metadata, str(path))
        heads = ["box", *(head.layer_name.removesuffix("_head") for head in config.heads)]
        heads += [] if config.semantic_head is None else ["semantic"]
        title = f"mrcnn {config.backbone.title}, {config.num_classes} classes, {' + '.join(heads)}"
        return WeightsDescription(*shared, config.profile, title, len(contents.arrays), values, tuple(class_names))
    network = foreign.network
    return WeightsDescription(
        *shared,
        network.family,
        str(network),
        len(contents.arrays),
        values,
        network.class_names,
        network.assumptions,
        foreign.arrays.unused,
        mmdetection.writer(contents.metadata) if network.family == "mmdetection" else "",
        recognize(Path(path), network.family),
    )
