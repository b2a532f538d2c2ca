"""TIFF files band by band: what their directories state, and samples of any depth and number of bands.

Pillow opens the common kinds of TIFF as images of 8 bits a channel. This module reads the others (several bands, 16-bit
color, band by band): it takes the tags from Pillow's reader and decompresses the samples by handing the same strips or
tiles to Pillow (libtiff) as an image of plain bytes.

Ref: TIFF, revision 6.0; band names as GDAL writes them (tag 42112).
"""

from __future__ import annotations

import dataclasses
import html
import io
import re
import struct
from typing import Any, BinaryIO

import numpy as np
from PIL import TiffImagePlugin

from mrcnn.data.errors import DataError

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS = 273, 274, 277, 278, 279
_MAX_VALUE, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = (
    281,
    284,
    317,
    322,
    323,
    324,
    325,
)
_EXTRA_SAMPLES, _FORMAT, _SUBFILE, _GDAL_METADATA = 338, 339, 254, 42112
_REDUCED_OR_MASK = 1 | 4
_MAX_PAGES = 100_000
_HEADER, _LONG = 8, 4  # bytes of a header; the code of 32-bit integers

# Compression schemes of plain bytes, which do not depend on what the bytes mean.
_BYTE_SCHEMES = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "ZSTD"}
_KINDS = {1: "u", 2: "i", 3: "f"}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2

_BAD = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error)


@dataclasses.dataclass(frozen=True)
class Page:
    """One image of a TIFF file, as its directory states it.

    Attributes:
        height, width: as stored, before the orientation tag is applied.
        bands: samples of a pixel.
        band_names: as GDAL writes them, else "band 1", "band 2", ...
        bits: of a sample; 0 where the bands differ.
        photometric: how values become light; see the constants of this module.
        orientation: 1 to 8, as in EXIF.
        max_value: the largest value that the file states, or None.
        directory: number of the directory in the file.
    """

    height: int
    width: int
    bands: int
    band_names: tuple[str, ...]
    bits: int
    photometric: int
    orientation: int
    max_value: int | None
    directory: int
    tags: dict[int, tuple[Any, ...]]
    byte_order: str


def is_tiff(prefix: bytes) -> bool:
    """Whether a file that begins like this is a TIFF."""
    return prefix.startswith(tuple(TiffImagePlugin.PREFIXES))


def read_pages(file: BinaryIO, name: str) -> list[Page]:
    """The pages of a TIFF, without the reduced copies and masks that belong to them (pyramids, thumbnails).

    Args:
        file: open for reading.
        name: of the file, for messages.

    Raises:
        DataError: a directory is damaged.
    """
    pages: list[Page] = []
    try:
        file.seek(0)
        header = file.read(8)
        if header.startswith(b"MM\0\x2b"):
            raise DataError(f"{name}: a BigTIFF in big-endian byte order, which cannot be read; store it little-endian")
        if header.startswith(b"II\x2b\0"):
            header += file.read(8)
        directory = TiffImagePlugin.ImageFileDirectory_v2(header)
        seen: set[int] = set()
        while directory.next and directory.next not in seen and len(seen) < _MAX_PAGES:
            seen.add(directory.next)
            file.seek(directory.next)
            directory.load(file)
            tags = {key: _tuple(directory[key]) for key in directory if key in _USED}
            if not _first(tags, _SUBFILE, 0) & _REDUCED_OR_MASK or not pages:
                pages.append(_page(tags, header[:2], len(seen) - 1))
    except DataError:
        raise
    except _BAD as error:
        raise DataError(f"{name}: the TIFF directory is damaged ({error})") from error
    if not pages:
        raise DataError(f"{name}: a TIFF without a page")
    return pages


def read_bands(file: BinaryIO, page: Page, bands: tuple[int, ...], name: str) -> np.ndarray:
    """Some bands of a page, as stored.

    Args:
        file: open for reading.
        page: of `read_pages`.
        bands: numbers of bands, from 0.
        name: of the file, for messages.

    Returns:
        [height, width, len(bands)] of the page's type, in this machine's byte order.

    Raises:
        DataError: samples of a type or compression that cannot be read, or that are damaged.
    """
    dtype = _dtype(page, name)
    scheme = _first(page.tags, _COMPRESSION, 1)
    if scheme not in _BYTE_SCHEMES:
        raise DataError(
            f"{name}: {page.bands} bands of {page.bits} bits in TIFF compression {scheme}; expected none, LZW, deflate,"
            " PackBits, LZMA or ZSTD"
        )
    try:
        if _first(page.tags, _PLANAR, 1) == 2:
            planes = [_decoded(file, page, dtype, band, 1)[:, :, 0] for band in bands]
            return np.stack(planes, axis=2)
        return _decoded(file, page, dtype, 0, page.bands)[:, :, list(bands)]
    except (*_BAD, MemoryError) as error:
        raise DataError(f"{name}: the image is damaged or cut off ({error})") from error


_USED = (
    _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _ORIENTATION, _SAMPLES,
    _ROWS_PER_STRIP, _STRIP_COUNTS, _MAX_VALUE, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS,
    _TILE_COUNTS, _EXTRA_SAMPLES, _FORMAT, _SUBFILE, _GDAL_METADATA,
)  # fmt: skip


def _tuple(value: object) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _first(tags: dict[int, tuple[Any, ...]], key: int, default: int) -> int:
    values = tags.get(key) or (default,)
    return int(values[0])


def _page(tags: dict[int, tuple[Any, ...]], order: bytes, number: int) -> Page:
    height, width, bands = _first(tags, _LENGTH, 0), _first(tags, _WIDTH, 0), _first(tags, _SAMPLES, 1)
    bits = {int(b) for b in tags.get(_BITS, (1,))}
    if height < 1 or width < 1 or bands < 1:
        raise ValueError(f"size {height} x {width} with {bands} bands")
    orientation = _first(tags, _ORIENTATION, 1)
    return Page(
        height,
        width,
        bands,
        _band_names(tags, bands),
        bits.pop() if len(bits) == 1 else 0,
        _first(tags, _PHOTOMETRIC, BLACK_IS_ZERO),
        orientation if 1 <= orientation <= 8 else 1,
        _first(tags, _MAX_VALUE, 0) or None,
        number,
        tags,
        "<" if order == b"II" else ">",
    )


def _band_names(tags: dict[int, tuple[Any, ...]], bands: int) -> tuple[str, ...]:
    names = [f"band {n}" for n in range(1, bands + 1)]
    text = str((tags.get(_GDAL_METADATA) or ("",))[0])
    for attributes, value in re.findall(r"<Item ([^>]*)>([^<]*)</Item>", text):
        sample = re.search(r'sample="(\d{1,6})"', attributes)
        if sample and 'role="description"' in attributes and int(sample[1]) < bands and value.strip():
            names[int(sample[1])] = html.unescape(value).strip()
    return tuple(names)


def _dtype(page: Page, name: str) -> np.dtype:
    kinds = {_KINDS.get(int(v)) for v in page.tags.get(_FORMAT, (1,))}
    kind = kinds.pop() if len(kinds) == 1 else None
    allowed = {"u": (8, 16, 32), "i": (8, 16, 32), "f": (16, 32, 64)}.get(kind or "", ())
    if page.bits not in allowed or _first(page.tags, _FILL_ORDER, 1) != 1:
        raise DataError(
            f"{name}: a TIFF of {page.bands} bands with {page.bits or 'mixed'} bits a sample; expected integers of 8,"
            " 16 or 32 bits, or floating point, the same for all bands"
        )
    return np.dtype(f"{page.byte_order}{kind}{page.bits // 8}")


def _decoded(file: BinaryIO, page: Page, dtype: np.dtype, plane: int, samples: int) -> np.ndarray:
    """[height, width, samples] of one plane."""
    tags, size = page.tags, dtype.itemsize * samples
    tiled = _TILE_OFFSETS in tags
    if tiled:
        block_width, block_height = _first(tags, _TILE_WIDTH, 0), _first(tags, _TILE_LENGTH, 0)
    else:
        block_width, block_height = page.width, min(_first(tags, _ROWS_PER_STRIP, page.height), page.height)
    if block_width < 1 or block_height < 1:
        raise ValueError(f"blocks of {block_height} x {block_width} pixels")
    across, down = -(-page.width // block_width), -(-page.height // block_height)
    offsets, counts = (
        tags[key][plane * across * down : (plane + 1) * across * down]
        for key in ((_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS))
    )
    if len(offsets) != across * down or len(counts) != across * down:
        raise ValueError(f"{len(offsets)} blocks of samples, expected {across * down}")
    rows = down * block_height if tiled else page.height
    blocks = []
    for offset, count in zip(offsets, counts, strict=True):
        file.seek(offset)
        block = file.read(count)
        if len(block) != count:
            raise ValueError("the file ends before its samples")
        blocks.append(block)
    packed = _as_bytes(tags, blocks, rows, across * block_width * size, block_height, block_width * size, tiled)
    values = _unpredicted(packed, _first(tags, _PREDICTOR, 1), dtype, samples, block_width)
    return values[: page.height, : page.width]


def _as_bytes(
    tags: dict[int, tuple[Any, ...]],
    blocks: list[bytes],
    rows: int,
    row_bytes: int,
    block_rows: int,
    block_bytes: int,
    tiled: bool,
) -> np.ndarray:
    """u8[rows, row_bytes], decompressed: a TIFF made of the same blocks, whose pixels are bytes."""
    places, sizes = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    starts = np.cumsum([_HEADER, *(len(block) for block in blocks)])
    entries: dict[int, list[int]] = {
        _WIDTH: [row_bytes],
        _LENGTH: [rows],
        _BITS: [8],
        _COMPRESSION: [_first(tags, _COMPRESSION, 1)],
        _PHOTOMETRIC: [BLACK_IS_ZERO],
        _SAMPLES: [1],
        places: starts[:-1].tolist(),
        sizes: [len(block) for block in blocks],
    }
    entries |= {_TILE_WIDTH: [block_bytes], _TILE_LENGTH: [block_rows]} if tiled else {_ROWS_PER_STRIP: [block_rows]}
    end = int(starts[-1]) + int(starts[-1]) % 2
    file = io.BytesIO()
    file.write(b"II*\0" + struct.pack("<L", end))
    file.writelines(blocks)
    file.seek(end)
    file.write(_directory(entries, end))
    file.seek(0)
    with TiffImagePlugin.TiffImageFile(file) as image:
        return np.asarray(image)


def _directory(entries: dict[int, list[int]], start: int) -> bytes:
    """A little-endian TIFF directory of 32-bit integers, to be written at `start`."""
    place = start + 2 + 12 * len(entries) + 4
    head, rest = struct.pack("<H", len(entries)), b""
    for key, values in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}L", *values)
        inline = packed if len(values) == 1 else struct.pack("<L", place + len(rest))
        head += struct.pack("<HHL", key, _LONG, len(values)) + inline
        rest += b"" if len(values) == 1 else packed
    return head + struct.pack("<L", 0) + rest


def _unpredicted(packed: np.ndarray, predictor: int, dtype: np.dtype, samples: int, block_width: int) -> np.ndarray:
    """Samples [rows, width, samples] from bytes, the differences to the left neighbor summed up in each block."""
    rows = len(packed)
    native = dtype.newbyteorder("=")
    if predictor == 3:
        if dtype.kind != "f":
            raise ValueError(f"predictor 3 of {dtype} samples")
        blocks = packed.reshape(rows, -1, block_width * dtype.itemsize, samples)
        summed = np.cumsum(blocks, axis=2, dtype=np.uint8).reshape(rows, -1, dtype.itemsize, block_width * samples)
        # All first bytes of a row, then all second ones, the most significant first.
        joined = np.ascontiguousarray(summed.transpose(0, 1, 3, 2)).view(dtype.newbyteorder(">"))
        return joined.reshape(rows, -1, samples).astype(native)
    values = np.ascontiguousarray(packed).view(dtype).astype(native, copy=False)
    if predictor == 2:
        unsigned = values.view(f"u{dtype.itemsize}").reshape(rows, -1, block_width, samples)
        values = np.cumsum(unsigned, axis=2, dtype=unsigned.dtype).view(native)
    elif predictor != 1:
        raise ValueError(f"predictor {predictor}")
    return values.reshape(rows, -1, samples)
