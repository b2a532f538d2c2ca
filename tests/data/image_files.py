"""Image files written for the tests of this folder."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20

COLOR = np.stack([GRAY, GRAY + 5, 255 - GRAY], axis=-1)


def save(folder: Path, array: np.ndarray, name: str = "p.png", **options) -> str:
    path = str(folder / name)
    Image.fromarray(array).save(path, **options)
    return path


def write_tiff(
    path: Path, bands: np.ndarray, *, photometric: int = 1, planar: int = 1, orientation: int = 1, extra: bytes = b""
) -> None:
    """An uncompressed TIFF of one strip (a strip a band), written by hand. `extra`: text of GDAL's metadata tag."""
    height, width, samples = bands.shape
    data = (np.moveaxis(bands, 2, 0) if planar == 2 else bands).astype(bands.dtype.newbyteorder("<")).tobytes()
    strips = samples if planar == 2 else 1
    size = len(data) // strips
    code = {"u": 1, "i": 2, "f": 3}[bands.dtype.kind]
    entries = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [bands.dtype.itemsize * 8] * samples), (259, 3, [1]),
        (262, 3, [photometric]), (273, 4, [8 + i * size for i in range(strips)]), (274, 3, [orientation]),
        (277, 3, [samples]), (278, 4, [height]), (279, 4, [size] * strips), (284, 3, [planar]),
        (338, 3, [0] * (samples - (3 if photometric == 2 else 1))), (339, 3, [code] * samples),
        (42112, 2, list(extra + b"\0") if extra else []),
    ]  # fmt: skip
    entries = [entry for entry in entries if entry[2]]
    head, rest, place = b"", b"", 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{ {2: 'B', 3: 'H', 4: 'L'}[kind] }", *values)
        inline = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<L", place + len(rest))
        head += struct.pack("<HHL", tag, kind, len(values)) + inline
        rest += packed if len(packed) > 4 else b""
    directory = struct.pack("<H", len(entries)) + head + struct.pack("<L", 0) + rest
    path.write_bytes(b"II*\0" + struct.pack("<L", 8 + len(data)) + data + directory)
