"""Values of annotation files, whose types nobody promises: read, or refused in one sentence."""

from __future__ import annotations

import json
import math
import os
import reprlib
import stat
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mrcnn.data.errors import DataError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_FLAGS = {"0": False, "1": True, "false": False, "true": True}


def short(value: Any) -> str:
    """A value for a message: its `repr`, of bounded length and depth."""
    return _SHORT.repr(value)


def read_text(path: Path, what: str = "annotation file", expected: str = "file") -> str:
    """The text of a file, UTF-8 with or without a byte-order mark.

    Args:
        path: of the file.
        what: what messages call it.
        expected: what it should have been, where it is a folder or a pipe.

    Raises:
        DataError: missing, a folder, a pipe, or no text.
    """
    try:
        return read_bytes(path, what, expected).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8 text ({error})") from error


def read_bytes(path: Path, what: str = "annotation file", expected: str = "file") -> bytes:
    """The content of a file; arguments and errors as for `read_text`."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: expected a {expected}, found a {'folder' if path.is_dir() else 'pipe or device'}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such {what}") from error
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def parse_json(text: str, where: str) -> Any:
    """JSON text as plain data.

    Raises:
        DataError: not JSON, nested too deeply, or a number of thousands of digits; begins with `where`.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})") from error


def parse_entries(text: bytes) -> Any:
    """Part of a large JSON file as plain data, several times faster than `json`; integers past 64 bits become floats.

    Raises:
        ValueError: not JSON.
        RecursionError: nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # it reads more, NaN for one, and says what is wrong


def as_id(value: Any) -> int | str | None:
    """An id: an integer or a text; 7.0 is 7. None: neither."""
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def as_number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_flag(value: Any) -> bool | None:
    """A yes or no as people write it: 0, 1, 0.0, false, "0", "true"; None means no. None returned: none of these."""
    if value is None:
        return False
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def as_numbers(value: Any) -> np.ndarray:
    """f64 of numbers or nested lists of them; what is not finite stays.

    Raises:
        DataError: something else is among them, lists of different lengths, or an integer that no float holds.
    """
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{short(value)} holds something that is not a number ({error})") from error
    return numbers
