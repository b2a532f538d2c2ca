"""Which components of a model fit together: all of them are made for one kind of boxes."""

from __future__ import annotations

from collections.abc import Sequence

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import RoiHeadConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.mask import BaseMaskHeadConfig
from mrcnn.modeling.rpn import RPNConfig
from mrcnn.ops.box_geometry import ALIGNED
from mrcnn.preprocessing import InputConfig


def check_geometry(
    rpn: RPNConfig, box_head: BoxHeadConfig, heads: Sequence[RoiHeadConfig], model_input: InputConfig
) -> None:
    """Refuses parts of a model that are made for different kinds of boxes.

    Args:
        rpn, box_head, heads, model_input: of one model.

    Raises:
        ConfigError: names the two fields.
    """
    all_heads = {"box_head": box_head, **{f"heads.{i}": head for i, head in enumerate(heads)}}
    if rpn.geometry is ALIGNED:
        for name, head in all_heads.items():
            if getattr(head, "geometry", ALIGNED) is not ALIGNED:
                raise ConfigError(
                    f"rpn and {name}: {type(head).__name__} needs rotated RoIs, expected RotatedRPNConfig"
                )
            if head.pool.op == "align_rotated":
                raise ConfigError(
                    f'rpn and {name}.pool.op: {type(rpn).__name__} proposes axis-aligned boxes, expected op "align",'
                    f' "pool", "warp" or "crop", or RotatedRPNConfig; got "{head.pool.op}"'
                )
        return
    kind = type(rpn).__name__
    if box_head.geometry is not rpn.geometry:
        raise ConfigError(
            f"rpn and box_head: {kind} proposes rotated boxes, expected RotatedBoxHeadConfig, got"
            f" {type(box_head).__name__}"
        )
    for name, head in all_heads.items():
        _check_rotated_head(kind, name, head)
    for field in ("end_offset", "whole_pixels"):
        if getattr(model_input, field):
            raise ConfigError(
                f"rpn and input.{field}: {kind} proposes rotated boxes, which have no last pixel and no whole corners;"
                f" got {getattr(model_input, field)}"
            )


def _check_rotated_head(kind: str, name: str, head: RoiHeadConfig) -> None:
    if not vars(type(head)).get("takes_rotated", False):  # not inherited: a subclass may do what its base does not
        raise ConfigError(f"rpn and {name}: {kind} proposes rotated boxes, which {type(head).__name__} cannot take")
    if head.pool.op != "align_rotated":
        raise ConfigError(
            f'rpn and {name}.pool.op: {kind} proposes rotated boxes, expected op "align_rotated", got "{head.pool.op}"'
        )
    if isinstance(head, BaseMaskHeadConfig):
        for field, expected in (("target", "grid"), ("paste", "exact")):
            if getattr(head, field) != expected:
                raise ConfigError(
                    f'rpn and {name}.{field}: {kind} proposes rotated boxes, expected "{expected}", got'
                    f' "{getattr(head, field)}"'
                )
