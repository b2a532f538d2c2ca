"""Config of a region proposal network of rotated boxes. Ref: Ma et al., arXiv 1703.01086, section 3."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.rpn.config import AnchorConfig, RPNConfig
from mrcnn.ops.box_geometry import ROTATED, BoxGeometry
from mrcnn.ops.rotated_boxes import rotated_cell_anchors, rotated_grid_anchors


@dataclasses.dataclass(frozen=True)
class RotatedAnchorConfig(AnchorConfig):
    """Rotated anchors: one tuple of sizes per pyramid level, the same aspect ratios and angles on all.

    `order`, `rounding`, `stride` and `end_offset` are of axis-aligned anchors only.

    Example:
        >>> RotatedAnchorConfig(sizes=((16.0,),), ratios=(0.25,), angles=(0.0, 90.0)).cells(0, 4).tolist()
        [[0.0, 0.0, 8.0, 32.0, 0.0], [0.0, 0.0, 8.0, 32.0, 90.0]]
    """

    # A rectangle of ratio 0.5 at 90 degrees is the one of ratio 2 at 0, so ratios above 1 would repeat others.
    ratios: tuple[float, ...] = (1.0, 0.5, 0.2)
    angles: tuple[float, ...] = (-60.0, -30.0, 0.0, 30.0, 60.0, 90.0)  # degrees counter-clockwise, of the side w

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.angles:
            raise ConfigError("anchors.angles: expected at least one, got none")
        plain = {field.name: field.default for field in dataclasses.fields(AnchorConfig)}
        for name in ("order", "rounding", "stride", "end_offset"):
            if getattr(self, name) != plain[name]:
                raise ConfigError(
                    f"anchors.{name}: rotated anchors have no such choice, expected {plain[name]!r}, got"
                    f" {getattr(self, name)!r}"
                )

    @property
    def per_cell(self) -> int:
        """See `AnchorConfig.per_cell`."""
        return super().per_cell * len(self.angles)

    def cells(self, level: int, stride: float) -> np.ndarray:
        """f32[per_cell, 5], the anchors of one cell of a level, centered at the origin."""
        tall = self.ratio_is == "height_over_width"
        ratios = [ratio if tall else 1.0 / ratio for ratio in self.ratios]
        return rotated_cell_anchors(self.sizes[level], ratios, self.angles)

    def grid(self, height: Any, width: Any, stride: Any, cells: np.ndarray) -> tf.Tensor:
        """See `AnchorConfig.grid`."""
        return rotated_grid_anchors(height, width, stride, cells, self.offset)


@dataclasses.dataclass(frozen=True)
class RotatedRPNConfig(RPNConfig):
    """Configuration of a region proposal network of rotated anchors, deltas and proposals.

    Anchors are matched by rotated IoU and proposals suppressed by it; all else is as with `RPNConfig`. Boxes that are
    nearly axis-aligned are clipped to the image, the others are not.

    Example:
        >>> RotatedRPNConfig().anchors.per_cell
        18
    """

    geometry: ClassVar[BoxGeometry] = ROTATED

    anchors: RotatedAnchorConfig = RotatedAnchorConfig()
    delta_weights: tuple[float, float, float, float, float] = (1.0,) * 5  # type: ignore[assignment]  # (dy, dx, dh, dw, turn)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.allowed_border is not None:
            raise ConfigError(f"rpn.allowed_border: expected none for rotated anchors, got {self.allowed_border}")
        if self.match_edges:
            raise ConfigError("rpn.match_edges: expected false for rotated anchors, got true")
