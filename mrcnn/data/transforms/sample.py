"""`Sample`: one image with its objects, a dict in which nothing is padded.

image        u8[h, w, c], RGB; f32, 0 to 255, once it has been resized without rounding
boxes        f32[n, 4], (y1, x1, y2, x2), pixels of this image
class_ids    i32[n]; is_crowd bool[n]
masks        n grids u8[rows, columns], 0 or 255, each covering its row of
windows      f32[n, 4], where that grid lies, pixels of this image; it may reach beyond the image
keypoints    f32[n, J, 3] (x, y, visibility), absent where the set has none
semantic     u8[h, w], 0 a thing, 1..S stuff, 255 not labeled; absent where the set has none or it is not asked for
joint_order  the joint each joint becomes in a mirror, see `mirrored_joints`; absent where the set has none
source       `ImageRecord.source`; may be absent
"""

from __future__ import annotations

from typing import Any

import numpy as np

Sample = dict[str, Any]


def select(sample: Sample, index: np.ndarray) -> Sample:
    """The objects at `index` (integers), in that order, every field together."""
    result = dict(sample)
    for name in ("boxes", "class_ids", "is_crowd", "windows", "keypoints"):
        if name in sample:
            result[name] = sample[name][index]
    result["masks"] = [sample["masks"][i] for i in index]
    return result
