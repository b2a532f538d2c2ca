"""Fetching a published file to a path of the script's choosing, whole or not at all."""

from __future__ import annotations

import os
import shutil

from mrcnn.files import atomic_write
from mrcnn.weights.download import download
from mrcnn.weights.zoo import Checksum, ZooEntry

COCO_MODEL_URL = "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5"
KNOWN_FILES = {COCO_MODEL_URL: (257_557_808, "e98aaff6f99e307b5e2a8a3ff741a518")}
"""Length in bytes and MD5 digest of published files, by URL."""


def fetch(url: str, path: str | os.PathLike[str], *, quiet: bool = False) -> None:
    """Put what lies at a URL at a path, by way of the cache of `mrcnn download`, where it is fetched once.

    Args:
        url: https; plain http on this machine only.
        path: the file to write; its folder is created.
        quiet: show no progress.

    Raises:
        OSError: it cannot be fetched, or is not the file that is known by this URL. Nothing stands at the path then.
    """
    size, digest = KNOWN_FILES.get(url, (None, None))
    checksum = None if digest is None else Checksum("md5", digest)
    entry = ZooEntry(name="", family="matterport", url=url, license="", checksum=checksum, size=size)
    cached = download(entry, progress=_silent if quiet else None)
    with atomic_write(path) as temporary:
        shutil.copyfile(cached, temporary)


def _silent(have: int, total: int | None) -> None:
    pass
