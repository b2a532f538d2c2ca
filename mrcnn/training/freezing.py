"""Which part of a model trains, and by which losses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mrcnn.errors import InputError
from mrcnn.modeling.backbones.base import frozen_layers
from mrcnn.modeling.mask_rcnn import RPN_LOSSES, MaskRCNN
from mrcnn.modeling.variables import named_variables

_ALTERNATING = ("rpn", "detector", "rpn_only", "detector_only")
"""The four steps of alternating training. Ref: Faster R-CNN, section 3.2."""


def set_trainable(model: MaskRCNN, which: str | Callable[[str], bool]) -> list[str]:
    """Choose the weights that train; call before `compile`, or compile again afterwards.

    Args:
        model: changed in place.
        which: "heads": all but the backbone; "3+", "4+", "5+": also the backbone from that stage on; "all";
            "all_but_frozen": all but the backbone stages its `freeze_at` names. "rpn": these less the heads, by the
            losses of the RPN alone; "detector": these less the RPN, by the losses of the heads alone; "rpn_only",
            "detector_only": the same with backbone and neck fixed, too. Or a function of a variable's path
            ("backbone/stage3_block1_conv1/kernel") that says whether it trains. Frozen batch norm never trains.

    Returns:
        Paths of the weights that train now.

    Raises:
        InputError: an unknown name, or nothing would train.
        ConfigError: the backbone's config does not know the stages of its layers, see `frozen_layers`; nothing changes.
    """
    first_stage = 1 if callable(which) else _first_stage(model, which)
    backbone = model.backbone
    _alternate(model, which if which in _ALTERNATING else "")
    if which in ("heads", "rpn_only", "detector_only"):
        still = list(backbone.layers)
    else:
        still = frozen_layers(backbone, model.config.backbone, first_stage - 1)
    named, frozen = named_variables(model), _frozen_by_path(model)
    for path in frozen:  # undo an earlier choice by function
        named[path].trainable = True
    frozen.clear()
    for layer in backbone.layers:
        layer.trainable = True
    for layer in still:
        layer.trainable = False
    training = {id(v) for v in model.trainable_variables}
    paths = [path for path, v in named.items() if id(v) in training]
    if callable(which):
        frozen.update(path for path in paths if not which(path))
        for path in frozen:
            named[path].trainable = False
        paths = [path for path in paths if path not in frozen]
    if not paths:
        raise InputError("set_trainable: no weight would train")
    return paths


def _first_stage(model: MaskRCNN, which: str) -> int:
    if which == "all":
        return 1
    if which in ("heads", "rpn_only", "detector_only"):
        return 6
    if which in ("all_but_frozen", "rpn", "detector"):
        return model.config.backbone.freeze_at + 1
    match = re.fullmatch(r"([2-5])\+", which)
    if not match:
        raise InputError(
            "train_layers: expected heads, 2+, 3+, 4+, 5+, all or all_but_frozen, or of alternating training rpn,"
            f" detector, rpn_only or detector_only, got {which!r}"
        )
    return int(match.group(1))


def _frozen_by_path(model: MaskRCNN) -> set[str]:
    if not hasattr(model, "frozen_paths"):  # a model of the user's own
        object.__setattr__(model, "frozen_paths", set())
    return model.frozen_paths


def _alternate(model: MaskRCNN, which: str) -> None:
    """Fixes the components that a step of alternating training leaves alone, and chooses its losses; "" ends it.

    What is fixed here trains again with the next choice; a component that the user fixed stays so.
    """
    for component in getattr(model, "fixed_components", ()):
        component.trainable = True
    object.__setattr__(model, "fixed_components", [])  # by hand, for Keras would track another list of layers
    model.trained_losses = None
    if not which:
        return
    shared: list[Any] = [model.neck] if which.endswith("_only") else []
    others: list[Any] = [model.rpn]
    losses = frozenset(RPN_LOSSES)
    if which.startswith("rpn"):
        stages = [model.roi_stage] if model.roi_stage is not None else []
        semantic = [] if getattr(model, "semantic_head", None) is None else [model.semantic_head]
        others = [*stages, model.box_head, *model.heads, *semantic]
    else:
        losses = frozenset(model.loss_names) - losses
    for component in (*shared, *others):
        if component.trainable:
            component.trainable = False
            model.fixed_components.append(component)
    model.trained_losses = losses
