"""Images that must be the same at every read, for their masks are read once."""

from __future__ import annotations

import threading
import zlib

import numpy as np

from mrcnn.data.errors import DataError

_COMPARED = 3  # re-reads of an image that are compared: what makes images up differs at once


class UnchangedImages:
    """Checksums of the images that a data set has made up; safe between threads."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}  # index -> (checksum, re-reads compared)
        self._lock = threading.Lock()

    def check(self, index: int, image: np.ndarray, where: str) -> None:
        """Compare an image with its first read.

        Args:
            index: number of the image.
            image: u8[h, w, channels], as it was read now.
            where: what to call it in messages.

        Raises:
            DataError: the pixels differ.

        Example:
            >>> images = UnchangedImages()
            >>> images.check(0, np.zeros((2, 2, 3), np.uint8), "image 'a'")
            >>> images.check(0, np.zeros((2, 2, 3), np.uint8), "image 'a'")
        """
        with self._lock:
            known = self._seen.get(index)
        if known is not None and known[1] >= _COMPARED:
            return
        checksum = zlib.crc32(np.ascontiguousarray(image).data, zlib.crc32(repr(image.shape).encode()))
        if known is not None and known[0] != checksum:
            raise DataError(
                f"{where}: load_image gave other pixels than before, but its masks are read once and kept, so "
                "they would be those of another image; expected the same image at every call: derive image and masks "
                "from the index, for instance as the seed of a generator, keep nothing of one call for the next, as "
                "several threads call at once, and leave random changes to augmentations (data.augmentations, or "
                "augmentation= of train)"
            )
        with self._lock:
            self._seen[index] = (checksum, 0 if known is None else known[1] + 1)

    def __getstate__(self) -> dict[str, object]:
        """Without the lock, which cannot be copied."""
        return {"_seen": dict(self._seen)}

    def __setstate__(self, state: dict[str, dict[int, tuple[int, int]]]) -> None:
        self._seen, self._lock = state["_seen"], threading.Lock()
