"""Video files as images, and back."""

from __future__ import annotations

import logging
import math
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.files import atomic_write
from mrcnn.text import printable

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
"""Codec that a file is written with, by its suffix."""

logger = logging.getLogger("mrcnn")

_LOWEST_RATE = 0.01  # frames a second
_MOST_TICKS = 65535  # MPEG-4 counts time in 16 bits: its rates are n / 10^k with n up to this
_HIGHEST_RATE = {".avi": 1000.0, ".mkv": 1000.0}  # above, AVI drops frames; Matroska counts milliseconds
_TRIES = 64  # reads that may fail in a row where the number of frames is not known
_MOST_TRIES = 10_000
_LISTED = 10


def is_container(prefix: bytes) -> bool:
    """Whether a file that begins like this (1 KiB) is a video container.

    FFmpeg also opens playlists and other texts (ffconcat, HLS, DASH, SDP), which lead it to further files and to the
    network; what is not a container is therefore not handed to it.
    """
    return (
        prefix[4:8] in (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip")  # MP4, QuickTime
        or (prefix[:4] == b"RIFF" and prefix[8:12] in (b"AVI ", b"AVIX"))
        or prefix.startswith(
            (
                b"\x1a\x45\xdf\xa3",  # Matroska, WebM
                b"\x00\x00\x01\xba",  # MPEG program stream
                b"\x00\x00\x01\xb3",  # MPEG video
                b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
                b"\x06\x0e\x2b\x34",  # MXF
                b"FLV\x01",
                b"OggS",
                b"DKIF",  # IVF
                b"GIF8",
            )
        )
        or any(prefix[start : start + 3 * size : size] == b"GGG" for start, size in ((0, 188), (4, 192)))  # MPEG-TS
    )


class VideoReader:
    """The frames of a file in order, u8[height, width, 3] RGB, decoded one at a time.

    A damaged frame repeats the one before, so that numbering and timing stay; `damaged_frames` names it. A file that
    is cut off ends early. Both are logged when the last frame has been read.

    Args:
        path: of a video container that FFmpeg reads: MP4, QuickTime, AVI, Matroska, MPEG, ASF, Ogg, ...

    Attributes:
        fps: frames a second; 25 where the file does not state it.
        num_frames: as the file's header states it; None where it does not.
        frames_read: decoded in the latest iteration.
        damaged_frames: numbers, from 1, of the frames that could not be decoded in the latest iteration.

    Raises:
        DataError: the file is missing or no video; names the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.frames_read = 0
        self.damaged_frames: list[int] = []
        self._check_file()
        capture = self._open()
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.fps = float(fps) if np.isfinite(fps) and fps > 0 else 25.0
        self.num_frames = int(count) if 0 < count < 2**40 else None

    def _check_file(self) -> None:
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise DataError(f"{self.path}: expected a video, found a folder, a pipe or a device")
            with open(self.path, "rb") as file:
                prefix = file.read(1024)
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.path}: no such video, or it cannot be read ({error})") from error
        if not is_container(prefix):
            raise DataError(
                f"{self.path}: not a video in a known format; expected a container such as MP4, AVI, Matroska or MPEG"
            )
        name, suffix = os.path.splitext(os.path.basename(self.path))
        if "%" in name and suffix.lower() not in (*CODECS, ".webm", ".wmv", ".mpg", ".mpeg", ".ts", ".flv", ".ogv"):
            # FFmpeg takes such a name for the pattern of an image sequence.
            raise DataError(f"{self.path}: rename the file; a name with % stands for a sequence of images")

    def _open(self) -> cv2.VideoCapture:
        # The absolute path, for "pipe:1" or "http:..." are protocols to FFmpeg even where a file has that name.
        capture = cv2.VideoCapture(os.path.abspath(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise DataError(f"{self.path}: the video is damaged, or in no format that FFmpeg knows")
        return capture

    def __iter__(self) -> Iterator[np.ndarray]:
        self.frames_read, self.damaged_frames = 0, []
        capture = self._open()
        try:
            yield from self._frames(capture)
        finally:
            capture.release()
        if not self.frames_read:
            raise DataError(f"{self.path}: no frame can be decoded")
        self._log_damage()

    def _frames(self, capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
        position, failures = 0, 0  # frames handed over; reads that failed since
        last: np.ndarray | None = None
        while failures <= self._most_failures(position):
            decoded, frame = capture.read()
            if not decoded:
                failures += 1
                continue
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            if failures:
                for _ in range(self._missing(position, failures, capture.get(cv2.CAP_PROP_POS_MSEC))):
                    position += 1
                    self.damaged_frames.append(position)
                    yield frame if last is None else last
            position, failures, last = position + 1, 0, frame
            self.frames_read += 1
            yield frame

    def _most_failures(self, position: int) -> int:
        """Reads that may fail in a row before the video has ended."""
        return _TRIES if self.num_frames is None else min(max(0, self.num_frames - position), _MOST_TRIES)

    def _missing(self, position: int, failures: int, milliseconds: float) -> int:
        """Frames that were not decoded: as many as reads failed, or more where the next frame's time says so."""
        by_time = round(milliseconds * self.fps / 1000) - position if np.isfinite(milliseconds) else 0
        number = max(failures, by_time)
        return number if self.num_frames is None else max(0, min(number, self.num_frames - position - 1))

    def _log_damage(self) -> None:
        damaged, count = self.damaged_frames, self.num_frames
        if damaged:
            listed = ", ".join(map(str, damaged[:_LISTED])) + (", ..." if len(damaged) > _LISTED else "")
            logger.warning(
                "%s: %d damaged frame%s (%s), each shown as the frame before it",
                *(printable(self.path), len(damaged), "s" * (len(damaged) > 1), listed),
            )
        if count is not None and self.frames_read + len(damaged) < count:
            logger.warning(
                "%s: %d of %d frames could be read; the file is cut off or damaged",
                *(printable(self.path), self.frames_read, count),
            )


class VideoWriter:
    """A video file that appears whole, when the block is left without an error.

        with VideoWriter("out.mp4", fps=25) as video:
            video.write(frame)

    Args:
        path: the file wanted; its suffix decides on the codec, see `CODECS`.
        fps: frames a second. Where the container cannot hold this rate, the nearest one is taken and logged.

    Attributes:
        fps: the rate that is written.

    Raises:
        DataError: a suffix that is not known; no codec for it; a rate that is not positive; a frame of another size
            than the first; no frame.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        self.path = os.fspath(path)
        suffix = os.path.splitext(self.path)[1].lower()
        if suffix not in CODECS:
            raise DataError(f"{self.path}: expected a name that ends in {', '.join(CODECS)}")
        if not (math.isfinite(fps) and fps > 0):
            raise DataError(f"{self.path}: {fps} frames a second; expected a positive number")
        self._codec = CODECS[suffix]
        self.fps = nearest_rate(fps, suffix)
        if abs(self.fps - fps) > 1e-3:  # OpenCV rounds to that itself
            logger.warning(
                "%s: %s cannot hold %.6g frames a second, so it gets %.6g",
                *(printable(self.path), suffix, fps, self.fps),
            )
        self._stack = ExitStack()
        self._temporary: Path | None = None
        self._writer: cv2.VideoWriter | None = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> VideoWriter:
        self._temporary = self._stack.enter_context(atomic_write(self.path))
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, u8[height, width, 3] RGB."""
        if self._writer is None:
            height, width = frame.shape[:2]
            fourcc = cv2.VideoWriter.fourcc(*self._codec)
            self._writer = cv2.VideoWriter(os.path.abspath(str(self._temporary)), fourcc, self.fps, (width, height))
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


def nearest_rate(fps: float, suffix: str) -> float:
    """The frame rate nearest to `fps` that a container written here can hold.

    Args:
        fps: frames a second, positive.
        suffix: of the file, a key of `CODECS`.
    """
    fps = min(max(fps, _LOWEST_RATE), _HIGHEST_RATE.get(suffix, float(_MOST_TICKS)))
    decimals = 3
    if CODECS[suffix] == "mp4v":
        while decimals and round(fps * 10**decimals) > _MOST_TICKS:
            decimals -= 1
    return round(fps, decimals)
