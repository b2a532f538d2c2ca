"""Which image files are read, and opening them: raster formats only, recognized by their content.

Pillow would open more: PostScript by starting Ghostscript, Windows metafiles by the graphics system, and stubs that
hand a file to whatever handler is registered. None of these is a format that data sets come in, so they are not opened
at all.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import stat
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import Image, features

from mrcnn.data.errors import DataError
from mrcnn.data.remote import open_remote, remote_path

# Format -> Pillow's module for it, and its name among Pillow's optional features.
_PLUGINS = {
    "PNG": ("PngImagePlugin", "zlib"),
    "JPEG": ("JpegImagePlugin", "jpg"),
    "TIFF": ("TiffImagePlugin", None),
    "BMP": ("BmpImagePlugin", None),
    "GIF": ("GifImagePlugin", None),
    "WEBP": ("WebPImagePlugin", "webp"),
    "AVIF": ("AvifImagePlugin", "avif"),
    "JPEG2000": ("Jpeg2KImagePlugin", "jpg_2000"),
    "PPM": ("PpmImagePlugin", None),
    "TGA": ("TgaImagePlugin", None),
}
_TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")  # the only format without a signature
_HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NOT_READ = (".pfm",)  # floating point, whose range is unknown
_PREFIX = 32
_BAD_HEADER = (SyntaxError, IndexError, TypeError, KeyError, struct.error)


@functools.cache
def image_suffixes() -> tuple[str, ...]:
    """The suffixes of the files that `read_image` reads on this machine, in lower case, sorted.

    They depend on what Pillow was built with; ".heic" is among them if the package pillow-heif is installed.

    Example:
        >>> ".jpg" in image_suffixes() and ".png" in image_suffixes()
        True
    """
    readable = {name for name in _PLUGINS if _factory(name) is not None}
    suffixes = {suffix for suffix, name in Image.EXTENSION.items() if name in readable} - set(_NOT_READ)
    if _heif() is not None:
        suffixes |= set(_HEIF_SUFFIXES)
    return tuple(sorted(suffixes))


@functools.cache
def _factory(name: str) -> tuple[Callable[..., Any], Callable[[bytes], Any] | None] | None:
    """Pillow's class for a format and its test of the first bytes; None where this Pillow cannot decode it."""
    module, feature = _PLUGINS[name]
    try:
        importlib.import_module(f"PIL.{module}")
    except ImportError:  # an older Pillow
        return None
    if feature is not None and not features.check(feature):
        return None
    return Image.OPEN.get(name)


@functools.cache
def _heif() -> Callable[..., Any] | None:
    """The class of pillow-heif, where that is installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        return None
    return importlib.import_module("pillow_heif").HeifImageFile


def open_file(path: str) -> BinaryIO:
    """A file that may hold an image, open for reading; see `data.remote` for paths with a scheme.

    Raises:
        DataError: it is missing, empty, or no regular file.
    """
    remote = remote_path(path)
    if remote is not None:
        return open_remote(remote)
    try:
        state = os.stat(path)
        if stat.S_ISDIR(state.st_mode):
            raise DataError(f"{path}: expected an image, found a folder")
        if not stat.S_ISREG(state.st_mode):
            raise DataError(f"{path}: expected an image, found a pipe or a device")
        if state.st_size == 0:
            raise DataError(f"{path}: expected an image, the file is empty")
        return open(path, "rb")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image") from error
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be opened ({error})") from error


def open_image(file: BinaryIO, path: str) -> Image.Image:
    """The image in an open file, its pixels not decoded yet; recognized by content, whatever the file is called.

    Unlike `PIL.Image.open` this has no limit on the number of pixels: the caller checks `size`.

    Args:
        file: open for reading; owned by the caller.
        path: its name, for messages.

    Raises:
        DataError: the content is none of the formats read here.
    """
    file.seek(0)
    prefix = file.read(_PREFIX)
    reason = ""
    for name in _PLUGINS:
        known = _factory(name)
        if known is None or (name == "TGA" and not path.lower().endswith(_TGA_SUFFIXES)):
            continue
        factory, accept = known
        file.seek(0)
        try:
            if accept is not None and (not (accepted := accept(prefix)) or isinstance(accepted, str)):
                continue  # a text says that this Pillow lacks the decoder
            # Without the name: Pillow would map an uncompressed file into memory, and then forgets its orientation.
            return factory(file)
        except _BAD_HEADER as error:
            reason = f" ({name}: {error})"
        except Exception as error:  # decoders raise many kinds on damaged data
            raise DataError(f"{path}: cannot be opened as an image ({error})") from error
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS:
        return _open_heif(file, path)
    if prefix.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF")):
        reason = " (PostScript and PDF are programs, which are not run)"
    raise DataError(f"{path}: not an image in a known format{reason}")


def _open_heif(file: BinaryIO, path: str) -> Image.Image:
    factory = _heif()
    if factory is None:
        raise DataError(f"{path}: a HEIC image, for which no decoder is installed; run: pip install pillow-heif")
    file.seek(0)
    try:
        return factory(file)
    except Exception as error:  # as above
        raise DataError(f"{path}: cannot be opened as an image ({error})") from error
