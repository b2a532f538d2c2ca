"""Configs of earlier versions, brought up to this one: plain data in, plain data out.

Each change of the config's form is one function here, in the order in which the changes were made. A function gets the
plain data of the model's config (`MaskRCNNConfig.to_dict()`, as checkpoints and recipes store it), may change it in
place, and leaves alone what it does not know: the data may be damaged, and is checked afterwards.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger("mrcnn")


def migrate_model(data: dict[str, Any]) -> dict[str, Any]:
    """The plain data of a model's config in this version's form.

    Applied to data of this version, it changes nothing.

    Args:
        data: as an earlier version wrote it; stays as it is.

    Example:
        >>> migrate_model({"input": {"padding": "centre"}})
        {'input': {'padding': 'center'}}
    """
    data = copy.deepcopy(data)
    for change in MODEL_CHANGES:
        change(data)
    return data


def _padding_is_spelled_center(data: dict[str, Any]) -> None:
    section = data.get("input")
    if isinstance(section, dict) and section.get("padding") == "centre":
        section["padding"] = "center"


def _losses_are_components(data: dict[str, Any]) -> None:
    """Parameters of a head's losses belong to the losses; what makes probabilities of a mask is `activation`."""
    heads = data.get("heads")
    for head in [data.get("box_head"), *(heads if isinstance(heads, list) else [])]:
        if not isinstance(head, dict):
            continue
        if "smooth_l1_beta" in head:
            head["box_loss"] = {"kind": "SmoothL1", "beta": head.pop("smooth_l1_beta")}
        focal = {name: head.pop(name) for name in ("focal_gamma", "class_weights") if name in head}
        if focal:
            head["class_loss"] = {"kind": "ClassCrossEntropy", **focal}
        if head.get("loss") in ("sigmoid", "softmax"):
            head["activation"], head["loss"] = head["loss"], {"kind": "MaskCrossEntropy"}


def _perceptrons_are_a_head_of_their_own(data: dict[str, Any]) -> None:
    """A mask head with `mlp_dims` is an `MLPMaskHeadConfig`; its mask was twice the side of what it saw."""
    heads = data.get("heads")
    for head in heads if isinstance(heads, list) else []:
        if not isinstance(head, dict) or head.get("kind", "MaskHeadConfig") != "MaskHeadConfig":
            continue
        dims = head.pop("mlp_dims", None)
        if not dims:
            continue
        for name in ("conv_dims", "conv_norm", "norm_epsilon", "deconv_dim"):
            head.pop(name, None)
        pool = head.get("pool")
        size = pool.get("size", 7) if isinstance(pool, dict) else 14
        head |= {"kind": "MLPMaskHeadConfig", "fc_dims": dims}
        if isinstance(size, int):
            head["mask_size"] = size if data.get("roi_stage") else 2 * size


MODEL_CHANGES: tuple[Callable[[dict[str, Any]], None], ...] = (
    _padding_is_spelled_center,
    _losses_are_components,
    _perceptrons_are_a_head_of_their_own,
)
"""Changes of the model's config, the oldest first."""


# Before the model's input config decided about training too, the data config had a size of its own.
_MOVED = ("long_side", "divisor")
_OLD_DEFAULTS = {"short_side": 800, "long_side": 1333, "divisor": 32, "never_shrink_for_short": False}


def migrate_recipe(recipe: Any) -> Any:
    """The plain data of a recipe in its present form.

    `data.short_sides` of one value, `data.long_side` and `data.divisor` become `model.input`: the size a recipe trains
    at is the size its model detects at. Several `short_sides` stay, as scales to train at. A change of the model's
    input is logged. The `model` part is migrated by `migrate_model`.

    Args:
        recipe: as an earlier version wrote it; stays as it is.
    """
    if not isinstance(recipe, Mapping):
        return recipe
    data, model = recipe.get("data"), recipe.get("model") or {}
    if not isinstance(model, Mapping):
        return recipe
    if model:
        model = migrate_model(dict(model))
        recipe = {**recipe, "model": model}
    if not isinstance(data, Mapping):
        return recipe
    stated = model.get("input") or {}
    is_old = any(name in data for name in _MOVED)
    if not isinstance(stated, Mapping) or not (is_old or "short_side" not in stated):
        return recipe
    before = _OLD_DEFAULTS | dict(stated)
    remaining, moved = _split(data, before["short_side"])
    if is_old and data.get("short_sides") == []:  # images at their own size, up to long_side
        moved |= {"short_side": 1, "never_shrink_for_short": True}
    changes = {name: value for name, value in moved.items() if before[name] != value}
    if changes:
        _log(changes)
        model = {**model, "input": {**stated, **changes}}
    return {**recipe, "data": remaining, **({"model": model} if model else {})}


def migrate_overrides(changes: Mapping[str, Any], short_side: int) -> dict[str, Any]:
    """Dotted overrides of a recipe, such as `--set` makes, in their present form.

    Args:
        changes: such as {"data.short_sides": [256], "data.long_side": 352}, which become `model.input.short_side` and
            `model.input.long_side`. An override of `model.input` beside them wins.
        short_side: the recipe's `model.input.short_side`.
    """
    names = ("short_sides", *_MOVED)
    old = {name: changes[f"data.{name}"] for name in names if f"data.{name}" in changes}
    result = {path: value for path, value in changes.items() if path not in {f"data.{name}" for name in old}}
    if not old:
        return result
    explicit = result.get("model.input.short_side")
    remaining, moved = _split(old, short_side if explicit is None else explicit)
    if explicit is not None and moved.get("short_side", explicit) != explicit:
        remaining["short_sides"] = old["short_sides"]  # trains at another size than it detects at, as both are stated
    moved = {name: value for name, value in moved.items() if f"model.input.{name}" not in result}
    if moved:
        _log(moved)
    result |= {f"data.{name}": value for name, value in remaining.items()}
    return result | {f"model.input.{name}": value for name, value in moved.items()}


def _split(data: Mapping[str, Any], short_side: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of an earlier data config that remain, and those of the model's input that the others become."""
    remaining = {name: value for name, value in data.items() if name not in _MOVED}
    moved = {name: data[name] for name in _MOVED if name in data}
    sides = data.get("short_sides")
    if not isinstance(sides, (list, tuple)) or not sides:
        return remaining, moved
    if len(sides) == 1:
        remaining["short_sides"] = []
        moved["short_side"] = sides[0]
    elif "long_side" in moved and all(isinstance(n, int) and n > 0 for n in (*sides, short_side, moved["long_side"])):
        # It was the limit at the largest scale; that of the model's own size is smaller in proportion.
        moved["long_side"] = round(moved["long_side"] * short_side / max(short_side, *sides))
    return remaining, moved


def _log(changes: Mapping[str, Any]) -> None:
    stated = ", ".join(f"model.input.{name}={value}" for name, value in changes.items())
    logger.warning("data.short_sides, data.long_side and data.divisor now belong to the model: set %s", stated)
