"""What a file is, by what it holds: names and extensions of weights files are not to be trusted."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Literal

from mrcnn.weights.reading import regular_file
from mrcnn.weights.report import WeightsError

Format = Literal["torch_zip", "torch_legacy", "pickle", "hdf5", "safetensors"]
EXPECTED = (
    "a weights file: .pth of PyTorch (both formats), .pkl of Detectron or detectron2, .h5 of Keras, or .safetensors"
)
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of the format's magic number
_BEGINNINGS = {
    b"\x1f\x8b": "a gzip archive (unpack it first)",
    b"BZh": "a bzip2 archive (unpack it first)",
    b"\xfd7zXZ\x00": "an xz archive (unpack it first)",
    b"\x28\xb5\x2f\xfd": "a zstandard archive (unpack it first)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive (unpack it first)",
    b"Rar!": "a RAR archive (unpack it first)",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\x93NUMPY": "a NumPy .npy array",
    b"version https://git-lfs": "a Git LFS pointer (run git lfs pull)",
}


def file_format(path: str | os.PathLike[str]) -> Format:
    """The container a weights file is written in.

    Args:
        path: the file.

    Returns:
        "torch_zip" (any zip archive with a data.pkl), "torch_legacy", "pickle", "hdf5" or "safetensors".

    Raises:
        WeightsError: a folder, no such file, or no weights file; the message says what it is instead.
    """
    path = Path(path)
    if path.is_dir():
        raise WeightsError(f"{path}: a folder without model.safetensors, expected {EXPECTED}")
    regular_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return "torch_zip"
    if head.startswith(_LEGACY_TORCH):
        return "torch_legacy"
    if head.startswith(b"\x80") and len(head) > 1 and 2 <= head[1] <= 5:
        return "pickle"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if _is_safetensors(head, path.stat().st_size):
        return "safetensors"
    raise WeightsError(f"{path}: {_what_it_is(head)}, expected {EXPECTED}")


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 9 or head[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", head[:8])
    # a text of 8 letters and a brace reads as a length of 2^61
    return length < 1 << 40 and size > 8


def _check_zip(path: Path) -> None:
    """Say what a zip archive is that torch.save did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, LookupError, RuntimeError) as error:
        raise WeightsError(f"{path}: truncated or damaged (a zip archive without its directory: {error})") from error
    if sum(name.count("/") == 1 and name.endswith("/data.pkl") for name in names) == 1:
        return
    what = "a zip archive without data.pkl"
    if names and all(name.endswith(".npy") for name in names):
        what = "a NumPy .npz archive"
    elif "config.json" in names and "model.weights.h5" in names:
        what = "a .keras model, which is not read as weights"
    raise WeightsError(f"{path}: {what}, expected {EXPECTED}")


def _what_it_is(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a file of zeros (an unfinished download?)"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<error")):
        return "a web page (the download failed?)"
    for beginning, what in _BEGINNINGS.items():
        if head.startswith(beginning):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive (unpack it first; PyTorch before 0.2 wrote such files: save it again with a newer one)"
    if text.startswith((b"{", b"[")):
        return "a JSON text"
    try:
        words = head[:500].decode("utf-8").split()
    except UnicodeDecodeError as error:
        words = head[: error.start].decode("utf-8").split() if error.start > 400 else []
    if words and all(word.isprintable() for word in words):
        return f"a text, beginning {' '.join(words)[:40]!r}"
    return "an unknown kind of file"
