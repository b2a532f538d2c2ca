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

from mrcnn.weights.containers import MAX_NODES, set_items, short
from mrcnn.weights.report import WeightsError

MAX_STEPS = 1_000_000  # instructions of one pickle
_LONG = 1 << 16  # bytes; strings from here on stay in the file
_BYTES_PER_NODE = 256
_MAX_INT = 256  # bytes of an integer
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
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE"}
_MARK = object()


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


class _Machine:
    """The stack, the memo and the count of what was made."""

    def __init__(
        self,
        path: Path,
        allowed: Mapping[tuple[str, str], Any],
        reference: Callable[[Any], Any] | None,
        encoding: str,
    ) -> None:
        self._path, self._allowed, self._reference, self._encoding = path, allowed, reference, encoding
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._nodes = 0
        self.steps = 0  # instructions so far

    def run(self, name: str, argument: Any) -> None:
        """One instruction.

        Raises:
            WeightsError: it is not one of those that make plain containers; names it.
            MemoryError: too much was made.
        """
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _ARGUMENTS:
            if isinstance(argument, int) and argument.bit_length() > 8 * _MAX_INT:
                raise pickle.UnpicklingError("an impossible integer")
            self._stack.append(argument)
        elif name == "STRING":  # of Python 2
            self._stack.append(self.decoded(argument.encode("latin1")))
        else:
            method = getattr(self, f"do_{name.lower()}", None)
            if method is None:
                raise refusal(self._path, f"the pickle instruction {name}")
            method(argument)

    def push(self, value: Any) -> None:
        """Put a string onto the stack."""
        self._stack.append(value)

    def decoded(self, data: bytes) -> Any:
        """A string of Python 2."""
        return data.decode(self._encoding)

    def result(self) -> Any:
        """What the program made, at its end."""
        return self._pop()

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("takes more from the stack than there is")
        return self._stack.pop()

    def _top(self, kind: type | tuple[type, ...]) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise pickle.UnpicklingError("puts items into what is no container")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise pickle.UnpicklingError("there is no mark on the stack")

    def _count(self, value: Any) -> Any:
        """The value, after its size was added to that of all others."""
        if isinstance(value, (list, tuple, dict)):
            self._nodes += 1 + len(value)
        elif isinstance(value, (str, bytes)):
            self._nodes += 1 + len(value) // _BYTES_PER_NODE
        if self._nodes > MAX_NODES:
            raise MemoryError
        return value

    # The instructions, by their names in pickletools.

    def do_proto(self, version: int) -> None:
        if version > 5:
            raise pickle.UnpicklingError(f"pickle protocol {version}, expected at most 5")

    def do_frame(self, _: Any) -> None:
        """Announces how many bytes follow, which is of use to a reader of streams only."""

    def do_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def do_pop_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def do_pop(self, _: Any) -> None:
        if not self._stack:
            raise pickle.UnpicklingError("takes more from the stack than there is")
        self._stack.pop()

    def do_dup(self, _: Any) -> None:
        value = self._pop()
        self._stack += [value, value]

    def do_empty_list(self, _: Any) -> None:
        self._stack.append(self._count([]))

    def do_empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def do_empty_dict(self, _: Any) -> None:
        self._stack.append(self._count({}))

    def do_empty_set(self, _: Any) -> None:
        self._stack.append(self._count([]))  # members are not hashed

    def do_list(self, _: Any) -> None:
        self._stack.append(self._count(self._pop_to_mark()))

    do_frozenset = do_list

    def do_tuple(self, _: Any) -> None:
        self._stack.append(self._count(tuple(self._pop_to_mark())))

    def do_tuple1(self, _: Any) -> None:
        self._stack.append(self._count((self._pop(),)))

    def do_tuple2(self, _: Any) -> None:
        second, first = self._pop(), self._pop()
        self._stack.append(self._count((first, second)))

    def do_tuple3(self, _: Any) -> None:
        third, second, first = self._pop(), self._pop(), self._pop()
        self._stack.append(self._count((first, second, third)))

    def do_dict(self, _: Any) -> None:
        made: dict[Any, Any] = {}
        self._put(made, self._pop_to_mark())
        self._stack.append(made)

    def do_append(self, _: Any) -> None:
        item = self._pop()
        self._extend([item])

    def do_appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    do_additems = do_appends

    def _extend(self, items: list[Any]) -> None:
        self._count(items)
        self._top(list).extend(items)

    def do_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._put(self._top(dict), [key, value])

    def do_setitems(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._put(self._top(dict), items)

    def _put(self, target: dict[Any, Any], items: list[Any]) -> None:
        if len(items) % 2:
            raise pickle.UnpicklingError("a key without a value")
        self._count(items)
        set_items(target, items)

    def do_binget(self, index: Any) -> None:
        if index not in self._memo:
            raise pickle.UnpicklingError(f"nothing was remembered as {short(index)}")
        self._stack.append(self._memo[index])

    do_get = do_long_binget = do_binget

    def do_binput(self, index: Any) -> None:
        if not self._stack or self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("remembers what is not there")
        if not 0 <= index <= self.steps:
            raise pickle.UnpicklingError("memo index out of range")
        self._memo[index] = self._stack[-1]

    do_put = do_long_binput = do_binput

    def do_memoize(self, _: Any) -> None:
        self.do_binput(len(self._memo))

    def do_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._find(module, name)

    def do_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise pickle.UnpicklingError("a name that is no text")
        self._find(module, name)

    def _find(self, module: str, name: str) -> None:
        if (module, name) not in self._allowed:
            raise refusal(self._path, f"{module[:80]}.{name[:80]}")
        self._stack.append(self._allowed[module, name])

    def do_reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple) or not any(function is known for known in self._allowed.values()):
            raise pickle.UnpicklingError("calls what is no function")
        self._stack.append(self._count(function(*arguments)))

    do_newobj = do_reduce

    def do_build(self, _: Any) -> None:
        state = self._pop()
        target = self._top(object)
        if isinstance(target, dict):
            return  # attributes of an OrderedDict, such as the versions of PyTorch's modules
        if not hasattr(type(target), "__setstate__"):
            raise pickle.UnpicklingError("changes what has no state")
        target.__setstate__(state)

    def do_binpersid(self, _: Any) -> None:
        if self._reference is None:
            raise refusal(self._path, "the pickle instruction BINPERSID")
        self._stack.append(self._reference(self._pop()))


def refusal(path: Path, name: str) -> WeightsError:
    """The error for a file that wants more than arrays and plain containers."""
    return WeightsError(f"{path}: refused, the file asks for {name}; only arrays and plain containers are read")


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
    machine = _Machine(path, allowed, reference, encoding)
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


def _string(file: BinaryIO, path: Path, name: str, end: int, machine: _Machine, keep_long: bool) -> Any:
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
