"""Images made small enough to lie inside a page."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image

LONG_SIDE = 480
_QUALITIES = (82, 70, 55)
_MAX_BYTES = 70_000


def jpeg_uri(image: np.ndarray, long_side: int = LONG_SIDE, max_bytes: int = _MAX_BYTES) -> str:
    """An image as the data URI of a JPEG.

    Args:
        image: u8[h, w, 3], RGB.
        long_side: larger images are reduced to it, in pixels.
        max_bytes: of the JPEG; its quality is lowered towards it, down to a floor.

    Example:
        >>> jpeg_uri(np.zeros((4, 6, 3), np.uint8))[:23]
        'data:image/jpeg;base64,'
    """
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
        content = buffer.getvalue()
        if len(content) <= max_bytes:
            break
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")
