"""Reading a pickle without running what it says.

A pickle is a program for a stack machine. This one has an interpreter of its own that knows the instructions which make
plain containers, calls nothing but stand-ins for the names a file may use, and refuses whatever else the file asks for
by name. It counts what the program makes, hashes nothing but short keys and prints nothing whole, so that a small file
cannot ask for much memory or time. Long strings of bytes are not read: the program gets their place in the file, so
that a checkpoint of any size takes no memory until its arrays are asked for.
"""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mrcnn.weights.containers import set_items
from mrcnn.weights.stack_machine import StackMachine

MAX_STEPS = 1_000_000  # instructions of one pickle
_LONG = 1 << 16  # bytes; strings from here on stay in the file
_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_COUNTED = {  # instructions whose argument is a length and so many bytes: format of the length, what the bytes are
    "SHORT_BINSTRING": ("<B", "string"),
    "BINSTRING": ("<i", "string"),
    "SHORT_BINBYTES": ("<B", "bytes"),
    "BINBYTES": ("<I", "bytes"),
    "BINBYTES8": ("<Q", "bytes"),
    "BYTEARRAY8": ("<Q", "bytes"),
    "SHORT_BINUNICODE": ("<B", "text"),
    "BINUNICODE": ("<I", "text"),
    "BINUNICODE8": ("<Q", "text"),
}


class Place(NamedTuple):
    """A long string of the pickle, still in the file. is_text: UTF-8 whose code points are the bytes."""

    path: Path
    offset: int
    size: int
    is_text: bool = False

    def read(self) -> bytes:
        """The bytes themselves.

        Raises:
            EOFError: the file has become shorter.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise EOFError(f"ends {self.size - len(data)} bytes early")
        return data.decode("utf-8", "surrogatepass").encode("latin1") if self.is_text else data


class _OrderedDict(NamedTuple):
    """Stands in for collections.OrderedDict."""

    def __call__(self, items: Any = ()) -> dict[Any, Any]:
        """A dict of (key, value) pairs."""
        pairs = list(items.items() if isinstance(items, dict) else items)
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
            raise pickle.UnpicklingError("impossible OrderedDict")
        result: dict[Any, Any] = collections.OrderedDict()
        set_items(result, (part for pair in pairs for part in pair))
        return result


PLAIN: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): _OrderedDict()}
"""What every pickle may name: the containers that have no instruction of their own."""


def load_pickle(
    file: BinaryIO,
    path: Path,
    allowed: Mapping[tuple[str, str], Any],
    *,
    reference: Callable[[Any], Any] | None = None,
    encoding: str = "latin1",
    keep_long: bool = False,
) -> Any:
    """What the next pickle of a file makes.

    Args:
        file: open at the pickle's first byte; left behind its last.
        path: of the file, for messages and for reading long strings later.
        allowed: stand-ins by (module, name); whatever they make is counted.
        reference: makes something of the persistent ids of torch.save; None: refused.
        encoding: of strings written by Python 2.
        keep_long: leave long strings in the file, which must then be `path` itself; the result has a `Place` instead.

    Raises:
        WeightsError: the file asks for a name that is not allowed.
        pickle.UnpicklingError, EOFError, ValueError, MemoryError and their like: it is damaged; see `reading`.
    """
    machine = StackMachine(path, allowed, reference, encoding)
    begin = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(begin)
    for machine.steps in range(1, MAX_STEPS):
        code = file.read(1)
        if not code:
            raise EOFError("ends inside a pickle")
        if code not in _OPCODES:
            raise pickle.UnpicklingError(f"unknown instruction {code!r} at byte {file.tell() - 1}")
        opcode = _OPCODES[code]
        if opcode.name == "STOP":
            return machine.result()
        if opcode.name in _COUNTED:
            machine.push(_string(file, path, opcode.name, end, machine, keep_long))
        else:
            machine.run(opcode.name, None if opcode.arg is None else opcode.arg.reader(file))
    raise MemoryError


def _string(file: BinaryIO, path: Path, name: str, end: int, machine: StackMachine, keep_long: bool) -> Any:
    """The string at this place of the file, or its place."""
    length_format, kind = _COUNTED[name]
    (size,) = struct.unpack(length_format, _exactly(file, struct.calcsize(length_format)))
    here = file.tell()
    if size < 0 or here + size > end:
        raise EOFError(f"{here + size - end} bytes are missing" if size >= 0 else "a string of negative length")
    if keep_long and size >= _LONG:
        file.seek(here + size)
        return Place(path, here, size, kind == "text")
    data = _exactly(file, size)
    if kind == "text":
        return data.decode("utf-8", "surrogatepass")
    return machine.decoded(data) if kind == "string" else data


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("ends inside a pickle")
    return data
