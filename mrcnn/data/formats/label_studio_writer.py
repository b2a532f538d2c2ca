"""Label Studio's regions: polygons of one outline, brush masks for everything else that has pixels, rectangles."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.data.formats.label_studio import encode_brush
from mrcnn.data.outlines import outlines
from mrcnn.data.rasterize import annotation_mask
from mrcnn.structures.records import Annotation


def label_studio_region(
    label: str, annotation: Annotation, height: int, width: int, region_id: str
) -> dict[str, Any] | None:
    """One object as a region of a task, whose label config has the tags `polygon`, `brush` and `rectangle` of `image`.

    Args:
        label: the name of its class.
        annotation: the object.
        height, width: of the image.
        region_id: unique in the task.

    Returns:
        the entry of "result"; None: a mask without a pixel.

    Ref: Label Studio's documentation, "Export annotations", units of annotations: percentages of the image.
    """
    if annotation.segmentation is None:
        y1, x1, y2, x2 = np.clip(annotation.box, 0, [height, width, height, width]).tolist()
        sides = {"x": x1 / width, "y": y1 / height, "width": (x2 - x1) / width, "height": (y2 - y1) / height}
        kind, value = "rectangle", {**{key: 100 * v for key, v in sides.items()}, "rotation": 0}
    else:
        loops = outlines(annotation, height, width)
        if not loops:
            return None
        if len(loops) == 1:
            points = (np.asarray(loops[0], np.float64) / (width, height) * 100).tolist()
            kind, value = "polygon", {"points": points, "closed": True}
        else:
            pixels = np.repeat(annotation_mask(annotation, height, width).ravel().astype(np.uint8) * 255, 4)
            kind, value = "brush", {"format": "rle", "rle": encode_brush(pixels)}
    return {
        "id": region_id,
        "type": f"{kind}labels",
        "from_name": kind,
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, f"{kind}labels": [label]},
    }


def label_studio_image(name: str) -> str:
    """The address of an image in Label Studio's local files."""
    return f"/data/local-files/?d={name}"
