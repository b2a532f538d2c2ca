"""Decimal numbers in a text as an array, many at once.

A number of at most eight characters is read as one word of eight bytes: its digits are brought together without the
point, summed in pairs, in fours and in eights, and divided by a power of ten. Both are whole numbers that a float
holds, so the quotient is the float nearest to the decimal number, as `float` gives it. Longer numbers, and those with a
sign or an exponent, are few in annotation files and are left to `float`.
"""

from __future__ import annotations

import numpy as np

from mrcnn.data.errors import DataError

_WORD = 8
_STEP = 2**15  # numbers at a time, whose words stay in the processor's cache
_ALLOWED = b"0123456789.,-+eE"
SPACES = b" \t\r\n"
_ODD = b"-+eE"
_ODD_TABLE = bytes(code in _ODD for code in range(256))
_TENS = 10.0 ** np.arange(_WORD + 1)


def _every_byte(value: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([value] * _WORD), "little"))


_POINTS, _ONES, _TOPS, _DIGITS = (_every_byte(v) for v in (0x2E, 0x01, 0x80, 0x0F))
_PAIRS, _FOURS, _EIGHTS = (np.uint64(v) for v in (0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0x00000000FFFFFFFF))


def parse_numbers(text: bytes) -> np.ndarray:
    """f64[n] of numbers with commas between them, as JSON writes them; spaces are passed over.

    Raises:
        DataError: something else is among them.

    Example:
        >>> parse_numbers(b"12.5, 7,-1e3").tolist()
        [12.5, 7.0, -1000.0]
    """
    return split_numbers(text.translate(None, SPACES))[0]


def split_numbers(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """`parse_numbers` of a text without spaces, and the place after each number, i64[n].

    Raises:
        DataError: see `parse_numbers`.

    Example:
        >>> split_numbers(b"12.5,7")[1].tolist()
        [4, 6]
    """
    if text.translate(None, _ALLOWED):
        raise DataError("numbers: expected digits and commas")
    codes = np.frombuffer(b"0" * _WORD + text, np.uint8)
    commas = np.flatnonzero(codes == ord(","))
    ends = np.append(commas, len(codes))
    starts = np.concatenate([[_WORD], commas + 1])
    lengths = ends - starts
    if not lengths.all():
        raise DataError("numbers: nothing between two commas")
    is_odd = lengths > _WORD
    if any(code in text for code in _ODD):
        places = np.flatnonzero(np.frombuffer(text.translate(_ODD_TABLE), bool)) + _WORD
        is_odd[np.searchsorted(ends, places, side="right")] = True
    # At every byte a word of eight that begins there; those of numbers end where the numbers end.
    words = np.lib.stride_tricks.as_strided(
        np.ndarray((1,), "<u8", codes), (len(codes) - _WORD + 1,), (1,), writeable=False
    )
    values = np.empty(len(ends))
    for k in range(0, len(ends), _STEP):
        part = slice(k, k + _STEP)
        values[part] = _short_numbers(words[ends[part] - _WORD], np.minimum(lengths[part], _WORD), is_odd[part])
    odd = np.flatnonzero(is_odd).tolist()
    for k in odd:
        try:
            values[k] = float(text[starts[k] - _WORD : ends[k] - _WORD])
        except ValueError as error:
            raise DataError(f"numbers: {error}") from error
    return values, ends - _WORD


def _short_numbers(words: np.ndarray, lengths: np.ndarray, is_odd: np.ndarray) -> np.ndarray:
    """f64[n] of words u64[n] whose last bytes, as many as `lengths` says, are digits and at most one point."""
    words = words >> (np.uint64(8) * (_WORD - lengths).astype(np.uint64))  # the first character is the lowest byte
    others = words ^ _POINTS
    marks = (others - _ONES) & ~others & _TOPS
    lowest = marks & -marks  # the top bit of the first point's byte, or 0
    before = (lowest >> np.uint64(7)) - np.uint64(1)  # all bytes before the point; all where there is none
    digits = (words & before) | ((words >> np.uint64(8)) & ~before)
    has_point = lowest != 0
    digits <<= np.uint64(8) * (_WORD - lengths + has_point).astype(np.uint64)
    others = digits ^ _POINTS
    if (((others - _ONES) & ~others & _TOPS) != 0)[~is_odd].any() or (lengths == has_point)[~is_odd].any():
        raise DataError("numbers: a number with two points, or a point alone")
    digits &= _DIGITS
    digits = (digits * np.uint64(10) + (digits >> np.uint64(8))) & _PAIRS
    digits = (digits * np.uint64(100) + (digits >> np.uint64(16))) & _FOURS
    digits = (digits * np.uint64(10000) + (digits >> np.uint64(32))) & _EIGHTS
    exponent = (lowest.astype(np.float64).view(np.int64) >> 52) - 1023  # of 2 ** (8 k + 7), the point at byte k
    decimals = np.where(has_point, lengths - 1 - (exponent >> 3), 0)
    return digits.astype(np.float64) / _TENS[decimals]
