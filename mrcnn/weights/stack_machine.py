"""The instructions of a pickle, as far as they make plain containers, and a count of what they make."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mrcnn.weights.containers import MAX_NODES, set_items, short
from mrcnn.weights.report import WeightsError

_BYTES_PER_NODE = 256
_MAX_INT = 256  # bytes of an integer
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE"}
_MARK = object()


def refusal(path: Path, name: str) -> WeightsError:
    """The error for a file that wants more than arrays and plain containers."""
    return WeightsError(f"{path}: refused, the file asks for {name}; only arrays and plain containers are read")


class StackMachine:
    """The stack, the memo and the count of what was made.

    Args:
        path: of the file, for messages.
        allowed: stand-ins by (module, name).
        reference: makes something of a persistent id; None: refused.
        encoding: of strings written by Python 2.
    """

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
