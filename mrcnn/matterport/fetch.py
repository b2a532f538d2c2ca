"""Fetching a published file, whole or not at all."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

COCO_MODEL_URL = "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5"
KNOWN_FILES = {COCO_MODEL_URL: (257_557_808, "e98aaff6f99e307b5e2a8a3ff741a518")}
"""Length in bytes and MD5 digest of published files, by URL."""
_TIMEOUT = 60.0  # seconds without a byte


def fetch(url: str, path: Path) -> None:
    """Write what lies at a URL to a file, and see that it is whole.

    Raises:
        OSError: it cannot be fetched, ended early, or is not the file that is known by this URL.
    """
    digest = hashlib.md5(usedforsecurity=False)
    length = 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, path.open("wb") as file:
        announced = response.headers.get("Content-Length")
        while block := response.read(1 << 20):
            file.write(block)
            digest.update(block)
            length += len(block)
    if announced is not None and length != int(announced):
        raise OSError(f"the connection ended after {length} of {announced} bytes")
    known = KNOWN_FILES.get(url)
    if known is not None and (length, digest.hexdigest()) != known:
        raise OSError(f"expected {known[0]} bytes of MD5 {known[1]}, got {length} bytes of MD5 {digest.hexdigest()}")
