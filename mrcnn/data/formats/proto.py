"""`tf.train.Example` without TensorFlow: a map from names to lists of bytes, floats or integers.

Ref: https://protobuf.dev/programming-guides/encoding/, tensorflow/core/example/feature.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from mrcnn.data.errors import DataError

Value = list[bytes] | np.ndarray | list[int]


class Features:
    """The features of an example; one that is absent, or of another type, is empty."""

    def __init__(self, values: dict[str, Value]) -> None:
        self.values = values

    def texts(self, key: str) -> list[bytes]:
        """A list of bytes."""
        value = self.values.get(key)
        texts = [v for v in value if isinstance(v, bytes)] if isinstance(value, list) else []
        return texts if isinstance(value, list) and len(texts) == len(value) else []

    def floats(self, key: str) -> np.ndarray:
        """f64[n]."""
        value = self.values.get(key)
        return value if isinstance(value, np.ndarray) else np.zeros(0)

    def integers(self, key: str) -> list[int]:
        """A list of integers."""
        value = self.values.get(key)
        integers = [v for v in value if isinstance(v, int)] if isinstance(value, list) else []
        return integers if isinstance(value, list) and len(integers) == len(value) else []


def parse_example(data: bytes, where: str) -> Features:
    """The features of a serialized example.

    Raises:
        DataError: it is damaged; begins with `where`.
    """
    values: dict[str, Value] = {}
    try:
        for number, features in _fields(data):
            for entry in _messages(features) if number == 1 and isinstance(features, bytes) else ():
                fields = dict(_fields(entry))
                key, feature = fields.get(1), fields.get(2, b"")
                if isinstance(key, bytes) and isinstance(feature, bytes):
                    values[key.decode("utf-8", "replace")] = _feature(feature)
    except (IndexError, struct.error, ValueError) as error:
        raise DataError(f"{where}: not a tf.train.Example ({error})") from error
    return Features(values)


def _messages(data: bytes) -> Iterator[bytes]:
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            yield value


def _feature(data: bytes) -> Value:
    for number, content in _fields(data):
        if not isinstance(content, bytes):
            raise ValueError("a feature without a list")
        if number == 1:
            return list(_messages(content))
        if number == 2:
            parts = [v if isinstance(v, bytes) else struct.pack("<I", v) for k, v in _fields(content) if k == 1]
            return np.frombuffer(b"".join(parts), "<f4").astype(np.float64)
        if number == 3:
            integers: list[int] = []
            for k, value in _fields(content):
                if k == 1 and isinstance(value, bytes):
                    place = 0
                    while place < len(value):
                        item, place = _varint(value, place)
                        integers.append(_signed(item))
                elif k == 1 and isinstance(value, int):
                    integers.append(_signed(value))
            return integers
    return []


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, value) of a message: bytes of what has a length or 8 bytes, else an integer."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, place = _varint(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of type {kind}")
        if place + length > len(data):
            raise ValueError("a field that is cut off")
        content = data[place : place + length]
        place += length
        yield tag >> 3, struct.unpack("<I", content)[0] if kind == 5 else content


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def serialize_example(features: dict[str, list[bytes] | list[float] | list[int]]) -> bytes:
    """A serialized example, features in the order of their names.

    Args:
        features: lists of bytes, floats or integers; an empty list is a list of integers.

    Example:
        >>> parse_example(serialize_example({"a": [1, -2], "b": [b"x"]}), "text").integers("a")
        [1, -2]
    """
    entries = b""
    for key, values in sorted(features.items()):
        if values and isinstance(values[0], bytes):
            feature = _field(1, b"".join(_field(1, v) for v in values if isinstance(v, bytes)))
        elif values and isinstance(values[0], float):
            feature = _field(2, _field(1, np.array(values, "<f4").tobytes()))
        else:
            feature = _field(3, _field(1, b"".join(_number(int(v)) for v in values)))
        entries += _field(1, _field(1, key.encode()) + _field(2, feature))
    return _field(1, entries)


def _field(number: int, data: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(data)) + data


def _number(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
