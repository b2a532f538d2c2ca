"""Which part of a model trains."""

from __future__ import annotations

import re
from collections.abc import Callable

from mrcnn.modeling.backbones.base import stage_of
from mrcnn.modeling.mask_rcnn import MaskRCNN


def set_trainable(model: MaskRCNN, which: str | Callable[[str], bool]) -> list[str]:
    """Choose the weights that train; call before `compile`, or compile again afterwards.

    Args:
        model: changed in place.
        which: "heads": all but the backbone; "3+", "4+", "5+": also the backbone from that stage on; "all";
            "all_but_frozen": all but the backbone stages its `freeze_at` names; or a function of a variable's path
            ("backbone/stage3_block1_conv1/kernel") that says whether it trains. Frozen batch norm never trains.

    Returns:
        Paths of the weights that train now.

    Raises:
        ValueError: an unknown name, or nothing would train.
    """
    for variable in model.variables:  # undo an earlier choice by function
        if variable.path in _frozen_by_path(model):
            variable.trainable = True
    _frozen_by_path(model).clear()
    first_stage = 1 if callable(which) else _first_stage(model, which)
    for layer in model.backbone.layers:
        stage = stage_of(layer.name)
        layer.trainable = stage is None or stage >= first_stage
    if callable(which):
        for variable in model.trainable_variables:
            if not which(_inner_path(model, variable.path)):
                variable.trainable = False
                _frozen_by_path(model).add(variable.path)
    paths = [_inner_path(model, v.path) for v in model.trainable_variables]
    if not paths:
        raise ValueError("set_trainable: no weight would train")
    return paths


def _first_stage(model: MaskRCNN, which: str) -> int:
    if which == "all":
        return 1
    if which == "heads":
        return 6
    if which == "all_but_frozen":
        return model.config.backbone.freeze_at + 1
    match = re.fullmatch(r"([2-5])\+", which)
    if not match:
        raise ValueError(f"train_layers: expected heads, 2+, 3+, 4+, 5+, all or all_but_frozen, got {which!r}")
    return int(match.group(1))


def _inner_path(model: MaskRCNN, path: str) -> str:
    return path.removeprefix(model.name + "/")


def _frozen_by_path(model: MaskRCNN) -> set[str]:
    if not hasattr(model, "frozen_paths"):
        object.__setattr__(model, "frozen_paths", set())
    return model.frozen_paths
