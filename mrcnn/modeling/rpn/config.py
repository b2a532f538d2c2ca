"""Config of the region proposal network and of its anchors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.box_geometry import ALIGNED, BoxGeometry

if TYPE_CHECKING:
    from mrcnn.modeling.rpn.network import RPN

# A config comes from a file as well, and a number in it must not decide how much memory is taken.
_MAX_CONVS = 64
_MAX_PER_CELL = 10_000


@dataclasses.dataclass(frozen=True)
class AnchorConfig(BaseConfig):
    """Anchor boxes: one tuple of sizes per pyramid level, the same aspect ratios on all."""

    components: ClassVar[str | None] = "mrcnn.modeling.rpn"

    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))  # sqrt(area), pixels
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width, unless ratio_is says otherwise
    ratio_is: Literal["height_over_width", "width_over_height"] = "height_over_width"
    order: anchor_ops.Order = "size_major"  # of a cell's anchors and so of the channels: sizes or ratios vary slowest
    rounding: anchor_ops.Rounding = "none"  # see `ops.anchors.cell_anchors`
    offset: float = 0.0  # center of a cell's anchors, in strides: 0 its corner, 0.5 its middle
    # "nominal": each level's own. "from_sizes": canvas side // cells, which differs where the canvas is no multiple of
    # the level's stride; the canvas is the first level times its stride.
    stride: Literal["nominal", "from_sizes"] = "nominal"
    end_offset: float = 0.0  # of y2 and x2 from the box's edge, as `InputConfig.end_offset`

    def __post_init__(self) -> None:
        counts = {len(level) for level in self.sizes}
        if len(counts) != 1 or not self.ratios or 0 in counts:
            raise ConfigError(f"anchors: every level needs the same number of sizes, at least one; got {self.sizes}")
        if self.per_cell > _MAX_PER_CELL:
            raise ConfigError(f"anchors: {self.per_cell} for each feature cell, expected at most {_MAX_PER_CELL}")

    @property
    def per_cell(self) -> int:
        """Anchors per feature cell."""
        return len(self.sizes[0]) * len(self.ratios)

    def cells(self, level: int, stride: float) -> np.ndarray:
        """f32[per_cell, 4], the anchors of one cell of a level (its place among the sizes), centerd at the origin."""
        tall = self.ratio_is == "height_over_width"
        ratios = [ratio if tall else 1.0 / ratio for ratio in self.ratios]
        cells = anchor_ops.cell_anchors(self.sizes[level], ratios, self.order, self.rounding, stride)
        return cells + np.array([0.0, 0.0, self.end_offset, self.end_offset], np.float32)

    def grid(self, height: Any, width: Any, stride: Any, cells: np.ndarray) -> tf.Tensor:
        """The anchors of a whole feature map, see `ops.anchors.grid_anchors`."""
        return anchor_ops.grid_anchors(height, width, stride, cells, self.offset)


@dataclasses.dataclass(frozen=True)
class RPNConfig(BaseConfig):
    """Configuration of the region proposal network; defaults are those of Mask R-CNN with FPN."""

    components: ClassVar[str | None] = "mrcnn.modeling.rpn"
    geometry: ClassVar[BoxGeometry] = ALIGNED  # what anchors and proposals are

    anchors: AnchorConfig = AnchorConfig()
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5", "p6")
    channels: int = 256  # of the hidden convolutions
    num_convs: int = 1  # hidden convolutions
    fg_iou: float = 0.7  # anchors that overlap an object at least so much are positive
    bg_iou: float = 0.3  # below this, negative; between, ignored
    batch_per_image: int = 256  # anchors sampled per image for the loss
    positive_fraction: float = 0.5
    # Losses are divided by batch_per_image times the images, or by the number of anchors actually sampled. "means": the
    # box loss is the mean over its elements instead, four for each positive anchor.
    normalizer: Literal["batch_per_image", "sampled", "means"] = "batch_per_image"
    # "sigmoid": one logit for each anchor; "softmax": one for background and one for an object, which compete.
    objectness: Literal["sigmoid", "softmax"] = "sigmoid"
    # A negative anchor is ignored where its IoU with a crowd region reaches this; None: where half of it lies inside.
    crowd_iou: float | None = None
    low_quality_iou: float = 0.0  # the best anchor of an object is positive if their IoU is above 0 and at least this
    best_belongs: bool = False  # and belongs to that object even where it overlaps another one more
    # Anchors that reach farther than so many pixels beyond the image take no part in the losses; None: all do.
    allowed_border: float | None = None
    match_edges: bool = False  # targets are those of the boxes' edges though anchors.end_offset names another frame
    delta_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)  # (dy, dx, dh, dw)
    max_log_scale: float | None = box_ops.MAX_LOG_SCALE  # of decoded dh and dw; None: unbounded
    smooth_l1_beta: float = 1.0 / 9.0
    nms_iou: float = 0.7
    nms_across_levels: bool = False  # one NMS, and one choice of the best before it, for all levels together
    pre_nms_train: int = 2000  # best anchors that enter NMS, per level unless nms_across_levels
    pre_nms_test: int = 1000
    post_nms_train: int = 2000  # proposals per image
    post_nms_test: int = 1000
    score_threshold: float = 0.0  # proposals whose probability is below this are dropped
    min_size: float = 0.0  # proposals with a side of at most this many pixels are dropped; negative: none are
    loss_weight: float = 1.0
    box_loss_weight: float | None = None  # of the box term alone; None: loss_weight

    def __post_init__(self) -> None:
        if len(self.anchors.sizes) != len(self.levels):
            raise ConfigError(f"rpn: {len(self.levels)} levels but anchor sizes for {len(self.anchors.sizes)}")
        if not 1 <= self.num_convs <= _MAX_CONVS:
            raise ConfigError(f"rpn.num_convs: expected 1 to {_MAX_CONVS}, got {self.num_convs}")

    def on_one_map(self, level: str) -> RPNConfig:
        """The same network on a single map, which has the anchors of all levels.

        Ref: Faster R-CNN, section 3.3; the numbers before and after NMS as in its published code.
        """
        sizes = tuple(size for of_level in self.anchors.sizes for size in of_level)
        return dataclasses.replace(
            self,
            anchors=dataclasses.replace(self.anchors, sizes=(sizes,)),
            levels=(level,),
            pre_nms_train=12_000,
            pre_nms_test=6_000,
            post_nms_train=2_000,
        )

    def build(self, in_channels: int, strides: Mapping[str, int], name: str = "rpn") -> RPN:
        """The network with its weights created, for a pyramid of the given channels and strides."""
        from mrcnn.modeling.rpn.network import RPN  # which knows its config

        layer = RPN(self, strides, name=name)
        layer.build((None, None, None, in_channels))
        return layer
