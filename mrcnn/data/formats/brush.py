"""Label Studio's run-length encoding of brush masks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from mrcnn.data.errors import DataError

_MAX_VALUES = 2**28


def decode_brush(data: bytes, expected: int) -> np.ndarray:
    """Values u8[n] of Label Studio's run-length encoding.

    Four numbers of 32, 5 and four times 4 bits (count, bits of a value, bits of a length), then blocks: one bit whether
    a value is repeated, two bits that choose the bits of the length, the length, and the value or values.

    Args:
        data: as the file lists it.
        expected: number of values.

    Raises:
        DataError: cut off, or of another number of values.

    Ref: label_studio_sdk.converter.brush.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    position = 0

    def read(number: int) -> int:
        nonlocal position
        end = position + number
        if end > bits.size:
            raise DataError("rle is cut off")
        value = 0
        for bit in bits[position:end].tolist():
            value = 2 * value + bit
        position = end
        return value

    count = read(32)
    if count != expected or count > _MAX_VALUES:
        raise DataError(f"rle of {count} values, expected {expected}, four for each pixel of its image")
    word = read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    out, i = np.zeros(count, np.uint8), 0
    weights = 1 << np.arange(word - 1, -1, -1)
    while i < count:
        repeated = read(1)
        j = min(i + 1 + read(lengths[read(2)]), count)
        if repeated:
            out[i:j] = read(word) & 255
        else:
            end = position + word * (j - i)
            if end > bits.size:
                raise DataError("rle is cut off")
            out[i:j] = (bits[position:end].reshape(-1, word) * weights).sum(axis=1) & 255
            position = end
        i = j
    return out


def encode_brush(values: np.ndarray) -> list[int]:
    """Values u8[n] in Label Studio's run-length encoding; the inverse of `decode_brush`.

    Example:
        >>> decode_brush(bytes(encode_brush(np.array([0, 0, 9, 9], np.uint8))), 4).tolist()
        [0, 0, 9, 9]
    """
    values = np.asarray(values, np.uint8).ravel()
    lengths = (3, 4, 8, 16)
    parts = [_bits(len(values), 32), _bits(7, 5), *(_bits(n - 1, 4) for n in lengths)]
    edges = np.flatnonzero(np.diff(values)) + 1
    for start, end in _pieces([0, *edges.tolist(), len(values)], 2 ** lengths[-1]):
        run = end - start
        choice = next(k for k, n in enumerate(lengths) if run - 1 < 2**n)
        parts += ["1", _bits(choice, 2), _bits(run - 1, lengths[choice]), _bits(int(values[start]), 8)]
    text = "".join(parts)
    text += "0" * (-len(text) % 8)
    return [int(text[k : k + 8], 2) for k in range(0, len(text), 8)]


def _bits(value: int, number: int) -> str:
    return format(value, f"0{number}b")


def _pieces(edges: list[int], longest: int) -> Iterator[tuple[int, int]]:
    for start, end in itertools.pairwise(edges):
        for k in range(start, end, longest):
            yield k, min(k + longest, end)
