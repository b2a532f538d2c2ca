"""Large JSON files, a piece at a time: the elements of the arrays of a top-level object.

The file is read once for its structure: quotes and brackets, found in blocks. What is kept is where the elements of the
wanted arrays lie, and the rest of the file, which is small. Pieces of whole elements are read again when they are
needed, so that no more than one is in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

_BLOCK = 2**20
_OTHER, _QUOTE, _OPEN, _CLOSE, _ESCAPE = range(5)
_KINDS = bytearray(256)
for _codes, _kind in ((b'"', _QUOTE), (b"{[", _OPEN), (b"}]", _CLOSE), (b"\\", _ESCAPE)):
    for _code in _codes:
        _KINDS[_code] = _kind
_TABLE = bytes(_KINDS)
_MARK = b"\xef\xbb\xbf"
_MAX_REST = 2**26
_SPACES = b" \t\r\n"
_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")


class Place(NamedTuple):
    """Bytes of a file."""

    offset: int
    length: int


class JsonArrays:
    """The arrays of a top-level object.

    Args:
        path: of the file.
        keys: of the arrays.

    Attributes:
        rest: the file without the elements of those arrays, as JSON.
        places: key -> where the pieces of its array lie, in order; the first holds what follows the bracket.

    Raises:
        ValueError: the brackets and quotes of the file do not match, it is no object, a key is given twice, or the rest
            is large: whatever it is, it is to be read as a whole.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self.path = path
        self.places: dict[str, list[Place]] = {}
        self._keys = {f'"{key}"'.encode(): key for key in keys}
        self._rest: list[bytes] = []
        self._depth, self._in_string, self._escaped = 0, False, False
        self._key = b""
        self._array: str | None = None
        self._start = 0  # of the piece, or of the rest that is not kept yet
        self._string = -1  # where the string in work began
        with open(path, "rb") as file:
            offset = len(_MARK) if file.read(len(_MARK)) == _MARK else 0
            file.seek(offset)
            self._start = offset
            while block := file.read(_BLOCK):
                self._scan(file, block, offset)
                offset += len(block)
            if self._depth or self._in_string:
                raise ValueError("cut off")
            self._keep(file, self._start, offset)
        self.rest = b"".join(self._rest)

    def pieces(self, key: str) -> Iterator[bytes]:
        """The elements of an array, several at a time, with commas between them; each piece is JSON in brackets.

        Raises:
            ValueError: the commas between the elements do not match.
            OSError: the file cannot be read.
        """
        is_first = True
        with open(self.path, "rb") as file:
            places = self.places.get(key, [])
            for number, place in enumerate(places, start=1):
                file.seek(place.offset)
                piece = file.read(place.length).rstrip(_SPACES)
                start = 0
                if not is_first and piece:
                    comma = _COMMA.match(piece)
                    if comma is None:
                        raise ValueError("no comma between two elements")
                    start = comma.end()
                    if start == len(piece):
                        raise ValueError("no element after a comma")
                if not piece:
                    continue
                if number < len(places) and not piece.endswith((b"}", b"]")):
                    raise ValueError("an element is cut")
                is_first = False
                yield b"".join((b"[", memoryview(piece)[start:], b"]"))

    def mentions(self, key: str, text: bytes) -> bool:
        """Whether a text without spaces and brackets is in some element of an array."""
        with open(self.path, "rb") as file:
            for place in self.places.get(key, []):
                file.seek(place.offset)
                if text in file.read(place.length):
                    return True
        return False

    def _keep(self, file: BinaryIO, start: int, end: int) -> None:
        """Bytes that belong to the rest."""
        if sum(map(len, self._rest)) + end - start > _MAX_REST:
            raise ValueError("large beside its arrays")
        self._rest.append(_read(file, start, end))

    def _scan(self, file: BinaryIO, block: bytes, offset: int) -> None:
        """Follow the structure through a block."""
        kinds = np.frombuffer(block.translate(_TABLE), np.uint8)
        places = np.flatnonzero(kinds != _OTHER)
        kinds = kinds[places]
        kinds, places = self._without_escapes(kinds, places, len(block))
        quotes = kinds == _QUOTE
        inside = (np.cumsum(quotes) + self._in_string) % 2 == 1  # after this mark
        closing = quotes & ~inside
        counts = np.where(inside | quotes, 0, (kinds == _OPEN).astype(np.int8) - (kinds == _CLOSE).astype(np.int8))
        depths = self._depth + np.cumsum(counts, dtype=np.int32)
        # What decides: strings at depth 1, which may be keys, and arrays and objects from depth 1 to 2 and back.
        low = np.flatnonzero((depths <= 1) | ((depths == 2) & (counts == 1)))
        last = self._last_element(counts, depths)
        position = 0
        for k in low.tolist():
            place = offset + int(places[k])
            if counts[k] == 1 and depths[k] == 2:
                self._open(file, place, block[places[k] : places[k] + 1])
            elif counts[k] == -1 and depths[k] == 1:
                self._close(file, place)
            elif quotes[k] and depths[k] == 1:
                if closing[k]:
                    self._key = _read(file, self._string, place + 1)
                else:
                    self._string = place
            elif depths[k] < 0:
                raise ValueError("a bracket closes nothing")
            position = k
        if self._array is not None and last is not None and last >= position:
            end = offset + int(places[last]) + 1
            if end > self._start:
                self.places[self._array].append(Place(self._start, end - self._start))
                self._start = end
        if len(depths):
            self._depth, self._in_string = int(depths[-1]), bool(inside[-1])

    @staticmethod
    def _last_element(counts: np.ndarray, depths: np.ndarray) -> int | None:
        """The last mark of a block at which an element of an array of depth 2 ends."""
        ends = np.flatnonzero((counts == -1) & (depths == 2))
        return int(ends[-1]) if ends.size else None

    def _without_escapes(self, kinds: np.ndarray, places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Marks of a block without backslashes and what they escape."""
        if not self._escaped and not (kinds == _ESCAPE).any():
            return kinds, places
        keep = kinds != _ESCAPE
        escaped = 0 if self._escaped else -1  # the place that the last backslash escapes
        if len(places) and places[0] == escaped:
            keep[0] = False
        for k in np.flatnonzero(kinds == _ESCAPE).tolist():
            if places[k] != escaped:
                escaped = int(places[k]) + 1
                if k + 1 < len(places) and places[k + 1] == escaped:
                    keep[k + 1] = False
        self._escaped = escaped == size
        return kinds[keep], places[keep]

    def _open(self, file: BinaryIO, place: int, bracket: bytes) -> None:
        key = self._keys.get(self._key) if bracket == b"[" else None
        if key is None:
            return
        if key in self.places:
            raise ValueError("a key is given twice")
        self._keep(file, self._start, place + 1)
        self._array, self.places[key], self._start = key, [], place + 1

    def _close(self, file: BinaryIO, place: int) -> None:
        if self._array is not None:
            self.places[self._array].append(Place(self._start, place - self._start))
            self._array, self._start = None, place


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    """Some bytes of a file, whose position stays."""
    place = file.tell()
    file.seek(start)
    data = file.read(end - start)
    file.seek(place)
    return data
