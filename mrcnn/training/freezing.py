"""Which part of a model trains."""

from __future__ import annotations

import re
from collections.abc import Callable

from mrcnn.errors import InputError
from mrcnn.modeling.backbones.base import frozen_layers
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.variables import named_variables


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
        InputError: an unknown name, or nothing would train.
        ConfigError: the backbone's config does not know the stages of its layers, see `frozen_layers`; nothing changes.
    """
    first_stage = 1 if callable(which) else _first_stage(model, which)
    backbone = model.backbone
    if which == "heads":
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
    if which == "heads":
        return 6
    if which == "all_but_frozen":
        return model.config.backbone.freeze_at + 1
    match = re.fullmatch(r"([2-5])\+", which)
    if not match:
        raise InputError(f"train_layers: expected heads, 2+, 3+, 4+, 5+, all or all_but_frozen, got {which!r}")
    return int(match.group(1))


def _frozen_by_path(model: MaskRCNN) -> set[str]:
    if not hasattr(model, "frozen_paths"):  # a model of the user's own
        object.__setattr__(model, "frozen_paths", set())
    return model.frozen_paths
