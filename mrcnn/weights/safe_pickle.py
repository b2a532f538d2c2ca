"""Reading a pickle without running what it says.

A pickle is a program. This reader looks at every instruction before the first one runs, gives the program nothing
but stand-ins for the names it may use, and refuses whatever else it asks for by name. Long strings of bytes are not
read: the program gets their place in the file, so that a checkpoint of any size takes no memory until its arrays are
asked for.
"""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mrcnn.weights.report import WeightsError

MAX_NODES = 1_000_000  # of all containers and their items
MAX_DEPTH = 64  # of containers in containers
_LONG = 1 << 16  # bytes; strings from here on stay in the file
_REFUSED_OPCODES = {"INST", "OBJ", "NEWOBJ_EX", "PERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_COUNTED = {  # instructions whose argument is a length and so many bytes: format of the length, is it text
    "BINSTRING": ("<i", False),
    "BINBYTES": ("<I", False),
    "BINBYTES8": ("<Q", False),
    "BYTEARRAY8": ("<Q", False),
    "BINUNICODE": ("<I", True),
    "BINUNICODE8": ("<Q", True),
}


# What a pickle can get hold of is a NamedTuple: its BUILD instruction can change attributes of anything else.
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


PLAIN: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): collections.OrderedDict}
"""What every pickle may name: the containers that have no instruction of their own."""


class _Unpickler(pickle.Unpickler):
    """Knows the allowed names and nothing else."""

    def __init__(
        self,
        program: bytes,
        path: Path,
        allowed: Mapping[tuple[str, str], Any],
        places: list[Place],
        reference: Callable[[Any], Any] | None,
        encoding: str,
    ) -> None:
        super().__init__(io.BytesIO(program), encoding=encoding)
        self._path, self._allowed, self._places, self._reference = path, allowed, places, reference

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for module.name."""
        if (module, name) not in self._allowed:
            raise refusal(self._path, f"{module}.{name}")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """A long string's place, or what the caller makes of a reference."""
        if isinstance(pid, int):
            return self._places[pid]
        if self._reference is None:
            raise refusal(self._path, "a reference to something outside")
        return self._reference(pid)


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
        allowed: stand-ins by (module, name): NamedTuples, or types that cannot be changed.
        reference: makes something of the persistent ids of torch.save; None: refused.
        encoding: of strings written by Python 2.
        keep_long: leave long strings in the file, which must then be `path` itself; the result has a `Place` instead.

    Raises:
        WeightsError: the file asks for a name that is not allowed.
        pickle.UnpicklingError, EOFError, ValueError and their like: it is damaged; see `reading`.
    """
    program, places = _checked(file, path, allowed, reference is not None, keep_long)
    return _Unpickler(program, path, allowed, places, reference, encoding).load()


def _checked(
    file: BinaryIO, path: Path, allowed: Mapping[tuple[str, str], Any], with_references: bool, keep_long: bool
) -> tuple[bytes, list[Place]]:
    """The program, long strings replaced by references to their places, after a look at each instruction."""
    program, places, count = bytearray(), [], 0
    begin = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(begin)
    while True:
        start = file.tell()
        code = file.read(1)
        if not code:
            raise EOFError("ends inside a pickle")
        if code not in _OPCODES:
            raise pickle.UnpicklingError(f"unknown instruction {code!r} at byte {start}")
        opcode = _OPCODES[code]
        if opcode.name in _REFUSED_OPCODES or (opcode.name == "BINPERSID" and not with_references):
            raise refusal(path, f"the pickle instruction {opcode.name}")
        count += 1
        if opcode.name in _COUNTED:
            length_format, is_text = _COUNTED[opcode.name]
            (size,) = struct.unpack(length_format, _exactly(file, struct.calcsize(length_format)))
            here = file.tell()
            if size < 0 or here + size > end:
                raise EOFError(f"{here + size - end} bytes are missing" if size >= 0 else "a string of negative length")
            if keep_long and size >= _LONG:
                file.seek(here + size)
                program += b"J" + struct.pack("<i", len(places)) + b"Q"  # BININT, BINPERSID
                places.append(Place(path, here, size, is_text))
                continue
            file.seek(here + size)
        elif opcode.arg is not None:
            argument = opcode.arg.reader(file)
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                if (module, name) not in allowed:
                    raise refusal(path, f"{module}.{name}")
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= argument <= count:
                raise pickle.UnpicklingError("memo index out of range")  # would allocate that many slots
            if opcode.name == "FRAME":
                continue  # announces how many bytes follow, which may be fewer now
        stop = file.tell()
        file.seek(start)
        program += _exactly(file, stop - start)
        if opcode.name == "STOP":
            return bytes(program), places


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("ends inside a pickle")
    return data


def leaves(root: Any, kinds: type | tuple[type, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What lies in nested containers, by names joined with dots.

    Args:
        root: what a pickle made.
        kinds: types of the leaves wanted.

    Returns:
        (leaves of those kinds, plain values beside them: text, numbers, ground truth values), in the order of the file.

    Raises:
        MemoryError: containers that contain each other very many times, or themselves.
        ValueError: two leaves share a name.
    """
    wanted: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    visits = 0
    stack = [("", root, 0)]
    while stack:
        prefix, node, depth = stack.pop()
        visits += 1
        if visits > MAX_NODES or depth > MAX_DEPTH:
            raise MemoryError
        if isinstance(node, kinds):
            if prefix in wanted:
                raise ValueError(f"two tensors named {prefix}")
            wanted[prefix] = node
        elif isinstance(node, (dict, list, tuple)):
            items = dict.items(node) if isinstance(node, dict) else enumerate(node)
            below = [(f"{prefix}.{_text(key)}" if prefix else _text(key), value, depth + 1) for key, value in items]
            stack.extend(reversed(below))
        elif isinstance(node, (str, bytes, int, float, bool)):
            plain[prefix] = _text(node) if isinstance(node, bytes) else node
    return wanted, plain


def _text(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile file leads to into a WeightsError that names it."""
    try:
        yield
    except WeightsError:
        raise
    except (pickle.UnpicklingError, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: truncated or damaged ({error})") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, NotImplementedError) as error:
        raise WeightsError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    except (MemoryError, RecursionError) as error:
        raise WeightsError(f"{path}: refused, it unpacks to an unreasonable size or depth") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
