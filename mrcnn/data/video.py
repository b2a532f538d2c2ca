"""Video files as images, and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import cv2
import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.files import atomic_write

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "X264"}
"""How a file is written, by its suffix."""


class VideoReader:
    """The frames of a file in order, u8[height, width, 3] RGB, decoded one at a time.

    Args:
        path: of a file in a format that OpenCV reads.

    Attributes:
        fps: frames a second, 25 where the file does not say.
        num_frames: as the file's header says; None where it does not.

    Raises:
        DataError: the file is missing or no video; names the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        if not os.path.isfile(self.path):
            raise DataError(f"{self.path}: no such video")
        capture = self._open()
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.fps = float(fps) if np.isfinite(fps) and fps > 0 else 25.0
        self.num_frames = int(count) if count > 0 else None

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self.path)
        if not capture.isOpened():
            raise DataError(f"{self.path}: not a video in a known format")
        return capture

    def __iter__(self) -> Iterator[np.ndarray]:
        capture = self._open()
        try:
            number = 0
            while True:
                there, frame = capture.read()
                if not there:
                    break
                number += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            if number == 0:
                raise DataError(f"{self.path}: no frame can be decoded")
        finally:
            capture.release()


class VideoWriter:
    """A video file that appears whole, when the block is left without an error.

        with VideoWriter("out.mp4", fps=25) as video:
            video.write(frame)

    Args:
        path: the file wanted; its suffix decides on the codec, see `CODECS`.
        fps: frames a second.

    Raises:
        DataError: a suffix that is not known; no codec for it; a frame of another size than the first; no frame.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        self.path, self.fps = os.fspath(path), fps
        suffix = os.path.splitext(self.path)[1].lower()
        if suffix not in CODECS:
            raise DataError(f"{self.path}: expected a name that ends in {', '.join(CODECS)}")
        self._codec = CODECS[suffix]
        self._stack = ExitStack()
        self._writer: cv2.VideoWriter | None = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> VideoWriter:
        self._temporary = self._stack.enter_context(atomic_write(self.path))
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, u8[height, width, 3] RGB."""
        if self._writer is None:
            height, width = frame.shape[:2]
            fourcc = cv2.VideoWriter_fourcc(*self._codec)
            self._writer = cv2.VideoWriter(str(self._temporary), fourcc, self.fps, (width, height))
            self._shape = frame.shape
            if not self._writer.isOpened():
                raise DataError(f"{self.path}: OpenCV cannot write {self._codec} here; try a name that ends in .avi")
        if frame.shape != self._shape:
            raise DataError(f"{self.path}: a frame of shape {frame.shape} after frames of shape {self._shape}")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        elif error is None:
            kind = DataError
            error = DataError(f"{self.path}: no frame was written")
            self._stack.__exit__(kind, error, None)
            raise error
        self._stack.__exit__(kind, error, trace)
