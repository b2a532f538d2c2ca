"""What a RoI head gives for each detection, as its config declares it. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

from mrcnn.base_config import ConfigError
from mrcnn.structures.masks import Paste

Frame = Literal["box", "image", "none"]
Draw = Literal["mask", "points", "label", "none"]
Mirror = Literal["columns", "joints", "none"]


@dataclasses.dataclass(frozen=True)
class Pasting:
    """How a grid over a box becomes pixels of the image; see `structures.masks.paste_masks`."""

    convention: Paste = "exact"
    end_offset: float = 0.0  # pixels, added to y2 and x2 of the box first


@dataclasses.dataclass(frozen=True)
class HeadOutput:
    """One value that a RoI head gives for each detection: what it is, and what others do with it.

    The model returns it as [B, D, *shape] under its name, exports write it under its name, and `Instances` holds it in
    the field of that name (`masks`, `keypoints`) or in `extra`.

    Attributes:
        name: in the model's outputs. A head with a `name` of its own puts that before it: "fine_masks".
        shape: of one detection's value; None where it follows from other components.
        dtype: of the value.
        frame: what the value refers to. "box": a grid [rows, columns, ...] over the detection's box; "image": points
            [..., 2 or more] whose first two numbers are x and y in pixels of the model's input, which inference and
            exports take to pixels of the original image; "none": the value has no place in the image.
        paste: how a probability in each cell of a grid [rows, columns] becomes a mask of the image, which is then what
            `Instances` holds; None: the value stays as it is.
        exported: whether exported models return it.
        result_key: its key in results in COCO's format; None: left out.
        draw: how it is shown on an image. "mask": a colored region, of what is pasted; "points": joints, of [n, 3];
            "label": a number in the label; "none": not at all.
        mirror: how the value of a mirrored image becomes that of the image itself, for test-time augmentation.
            "columns": the second axis of the grid reversed; "joints": the last axis, one entry a joint, also put into
            the order of mirrored joints; "none": it is the same. Points of the "image" frame are always mirrored.

    Raises:
        ConfigError: values that contradict each other; the message names the output.
    """

    name: str
    shape: tuple[int | None, ...] = ()
    dtype: Literal["float32", "int32"] = "float32"
    frame: Frame = "none"
    paste: Pasting | None = None
    exported: bool = True
    result_key: str | None = None
    draw: Draw = "none"
    mirror: Mirror = "none"

    def __post_init__(self) -> None:
        def refuse(message: str) -> None:
            raise ConfigError(f"output {self.name!r}: {message}")

        if not self.name.isidentifier() or self.name in RESERVED:
            refuse(f"expected a Python identifier other than {', '.join(RESERVED)}")
        if self.frame == "box" and len(self.shape) < 2:
            refuse(f"a grid over a box has two or more axes, got shape {self.shape}")
        if self.frame == "image" and (not self.shape or (self.shape[-1] or 2) < 2):
            refuse(f"points have two or more numbers in the last axis, got shape {self.shape}")
        if self.paste is not None and (self.frame != "box" or len(self.shape) != 2):
            refuse(
                f"only a grid [rows, columns] over a box can be pasted, got frame {self.frame!r}, shape {self.shape}"
            )
        if self.draw == "mask" and self.paste is None:
            refuse("drawn as a mask, but it is not pasted")
        if self.draw == "points" and (self.frame != "image" or len(self.shape) != 2 or self.shape[-1] not in (3, None)):
            refuse(f"drawn as points, which have shape (number, 3), got {self.shape} in frame {self.frame!r}")
        if self.draw == "label" and self.shape:
            refuse(f"drawn in the label, which takes one number, got shape {self.shape}")
        if self.name == "masks" and self.paste is None:
            refuse("`Instances.masks` are pasted, expected paste=Pasting(...)")
        if self.name == "keypoints" and (self.frame != "image" or len(self.shape) != 2 or self.shape[1] != 3):
            refuse(f"`Instances.keypoints` are points of shape (number, 3), got {self.shape} in frame {self.frame!r}")
        if (self.mirror != "none") != (self.frame == "box"):
            refuse(f'a grid over a box is mirrored by "columns" or "joints", nothing else is; got {self.mirror!r}')

    @property
    def boxes_name(self) -> str:
        """Name under which exports give the boxes that a pasted output is stretched over: "masks" -> "mask_boxes"."""
        return f"{self.name.removesuffix('s')}_boxes"


RESERVED = ("boxes", "class_ids", "scores", "valid", "image_shape", "is_crowd", "num_detections", "mask_boxes")
"""Names that mean something else in the outputs of a model, of its exports, or in `Instances`."""

MASKS = HeadOutput(
    "masks",
    (None, None),
    frame="box",
    paste=Pasting(),
    result_key="segmentation",
    draw="mask",
    mirror="columns",
)
"""Masks as `Instances.masks` holds them."""

KEYPOINTS = HeadOutput("keypoints", (None, 3), frame="image", result_key="keypoints", draw="points")
"""Keypoints (x, y, score) as `Instances.keypoints` holds them."""

STANDARD = (MASKS, KEYPOINTS)
"""What has a field of its own in `Instances`."""


def extra_outputs(outputs: Iterable[HeadOutput]) -> tuple[HeadOutput, ...]:
    """Those that `Instances` holds in `extra`, for they have no field of their own there."""
    own = {output.name for output in STANDARD}
    return tuple(output for output in outputs if output.name not in own)
