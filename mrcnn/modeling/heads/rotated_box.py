"""Box head of rotated RoIs. Ref: Ma et al., arXiv 1703.01086, section 3.4."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.ops.box_geometry import ROTATED, BoxGeometry


@dataclasses.dataclass(frozen=True)
class RotatedBoxHeadConfig(BoxHeadConfig):
    """Configuration of a box head that refines rotated RoIs by five deltas, and suppresses detections by rotated IoU.

    Example:
        >>> RotatedBoxHeadConfig().pool.op
        'align_rotated'
    """

    geometry: ClassVar[BoxGeometry] = ROTATED
    takes_rotated: ClassVar[bool] = True

    pool: RoiPoolConfig = RoiPoolConfig(size=7, op="align_rotated")
    # (dy, dx, dh, dw, turn); of the turn in radians detectron2 takes the same
    delta_weights: tuple[float, float, float, float, float] = (10.0, 10.0, 5.0, 5.0, 1.0)  # type: ignore[assignment]
