"""Pickles that ask for more memory, time or stack than any file of weights has reason to."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from mrcnn.weights.numpy_pickle import ALLOWED
from mrcnn.weights.report import WeightsError
from mrcnn.weights.safe_pickle import load_pickle
from tests.weights.limited import read_in_child

ARRAY = pickle.dumps(np.zeros(3, np.float32), 2)[2:-1]  # without the protocol and the end
HEAD = b"\x80\x02"


def _deep(depth: int) -> bytes:
    return b")" + b"\x85" * depth  # EMPTY_TUPLE, TUPLE1


def _doubled(times: int) -> bytes:
    return b")\x85" + b"".join(
        b"r" + i.to_bytes(4, "little") + b"j" + i.to_bytes(4, "little") + b"\x86" for i in range(times)
    )


def _dtype(state: bytes) -> bytes:
    return b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R(K\x03" + state + b"NNNtb"


def _zip(program: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", program)
    return file.getvalue()


def _memo_names(names: int, length: int) -> bytes:
    """Dicts in dicts, whose keys are one long string that is written once."""
    key = b"X" + length.to_bytes(4, "little") + b"k" * length + b"r\x00\x00\x00\x00"
    inner = b"".join(b"}j\x00\x00\x00\x00K\x01s" for _ in range(names))
    return key + b"0](" + inner + b"e"


BOMBS = {
    "deep_key": b"}" + _deep(200_000) + b"K\x01s",
    "deep_key_of_several": b"}(" + _deep(200_000) + b"K\x01u",
    "deep_key_of_a_dict": b"(" + _deep(200_000) + b"K\x01d",
    "deep_member_of_a_frozenset": b"(" + _deep(200_000) + b"\x91",
    "deep_member_of_a_set": b"\x8f(" + _deep(200_000) + b"\x90",
    "deep_key_of_an_ordered_dict": b"ccollections\nOrderedDict\n](" + _deep(200_000) + b"K\x01\x86e\x85R",
    "deep_value": b"}X\x01\x00\x00\x00a" + _deep(200_000) + b"s",
    "deep_name_of_a_class": _deep(200_000) + b"X\x01\x00\x00\x00a\x93",
    "deep_state_of_a_dtype": _dtype(_deep(200_000)),
    "deep_shape": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    + _deep(200_000)
    + _dtype(b"U\x01<")
    + b"\x89U\x00tb",
    "doubled_key": b"}" + _doubled(27) + b"K\x01s",
    "doubled_value": b"}X\x01\x00\x00\x00a" + _doubled(27) + b"s",
    "doubled_state_of_a_dtype": _dtype(_doubled(27)),
    "doubled_dtype": b"cnumpy\ndtype\n" + _doubled(27) + b"\x85R",
    "doubled_encoding": b"c_codecs\nencode\nX\x01\x00\x00\x00a" + _doubled(27) + b"\x86R",
    "long_names": b"}(" + ARRAY[:0] + b"X\x01\x00\x00\x00w" + _memo_names(100_000, 60_000) + b"u",
    "copies_of_a_list": b"cbuiltins\nset\nr\x01\x00\x00\x000]("
    + b"N" * 500_000
    + b"er\x02\x00\x00\x000]("
    + b"j\x01\x00\x00\x00j\x02\x00\x00\x00\x85R" * 5_000
    + b"e",
    "copies_of_a_text": b"c_codecs\nencode\nr\x01\x00\x00\x000X\xff\xff\x00\x00"
    + b"a" * 65_535
    + b"r\x02\x00\x00\x000]("
    + b"j\x01\x00\x00\x00j\x02\x00\x00\x00U\x06latin1\x86R" * 50_000
    + b"e",
    "decoded_bytes": b"C\xff" + b"a" * 255 + b"r\x02\x00\x00\x000](" + b"j\x02\x00\x00\x00" * 900_000 + b"e",
    "nothing_but_none": b"N" * 1_100_000,
    "lists_in_itself": b"]r\x01\x00\x00\x00" + b"j\x01\x00\x00\x00a" * 40,
}
AS_PTH = ("deep_key", "doubled_key", "long_names")
"""These also inside the archive that torch.save writes; the reader is the same."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str] | None, float]]:
    folder = tmp_path_factory.mktemp("bombs")
    paths = {}
    for name, program in BOMBS.items():
        paths[name] = folder / f"{name}.pkl"
        paths[name].write_bytes(HEAD + program + b".")
    for name in AS_PTH:
        paths[f"{name}.pth"] = folder / f"{name}.pth"
        paths[f"{name}.pth"].write_bytes(_zip(HEAD + BOMBS[name] + b"."))
    storage = b"(U\x07storagectorch\nFloatStorage\n" + _doubled(27) + b"U\x03cpuK\x01tQ"
    for name, program in {
        "doubled_storage": storage,
        "doubled_reference": _doubled(27) + b"Q",
        "doubled_strides": b"ctorch._utils\n_rebuild_tensor_v2\n"
        b"((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ"
        b"K\x00" + _doubled(27) + _doubled(20) + b"\x89NtR",
    }.items():
        paths[name] = folder / f"{name}.pth"
        paths[name].write_bytes(_zip(HEAD + program + b"."))
    return read_in_child(paths)


@pytest.mark.parametrize(
    "name", [*BOMBS, *(f"{n}.pth" for n in AS_PTH), "doubled_storage", "doubled_reference", "doubled_strides"]
)
def test_a_bomb_is_refused_at_once(outcomes: dict, name: str) -> None:
    error, seconds = outcomes[name]
    assert error is not None and error[0] in ("WeightsError", "UnknownNetworkError"), error
    assert len(error[1]) < 600
    assert seconds < 20  # parsing a million instructions on a busy machine; each took minutes, or the process


def _load(content: object, protocol: int) -> object:
    return load_pickle(io.BytesIO(pickle.dumps(content, protocol)), Path("x.pkl"), ALLOWED)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_containers_are_what_they_were(protocol: int) -> None:
    content = {
        "a": [1, -1, 2**40, -(2**100), 1.5, True, False, None, "text", "ä\n'\""],
        "b": {"c": (1,), "d": (1, 2), "e": (1, 2, 3), "f": (1, 2, 3, 4), "g": ()},
        3: {(1, "x"): [], None: {}, 0.5: [[[]]]},
    }
    assert _load(content, protocol) == content


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers_without_an_instruction(protocol: int) -> None:
    assert _load(OrderedDict(b=1, a=2), protocol) == {"b": 1, "a": 2}
    assert list(_load(OrderedDict(b=1, a=2), protocol)) == ["b", "a"]  # type: ignore[call-overload]
    assert sorted(_load({3, 4}, protocol)) == [3, 4]  # type: ignore[call-overload]
    assert sorted(_load(frozenset({3, 4}), protocol)) == [3, 4]  # type: ignore[call-overload]
    assert _load(b"bytes", protocol) == b"bytes"


def test_one_object_twice_stays_one() -> None:
    shared: list[int] = []
    first, second = _load([shared, shared], 2)  # type: ignore[misc]
    assert first is second


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"0",
        b"N0",
        b"(",
        b"a",
        b"Na",
        b"NNNs",
        b"}(Nu",
        b"(Nd",
        b"t",
        b"1",
        b"R",
        b"NR",
        b"b",
        b"N}b",
        b"h\x07",
        b"(q\x00",
    ],
)
def test_impossible_programs(program: bytes) -> None:
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        load_pickle(io.BytesIO(HEAD + program + b"."), Path("x.pkl"), ALLOWED)


def test_only_what_was_named_is_called() -> None:
    with pytest.raises(WeightsError, match=r"x\.pkl: refused, the file asks for os\.system"):
        load_pickle(io.BytesIO(b"\x80\x02cos\nsystem\nU\x02ls\x85R."), Path("x.pkl"), ALLOWED)
    with pytest.raises(pickle.UnpicklingError, match="calls what is no function"):
        load_pickle(io.BytesIO(b"\x80\x02U\x02ls)R."), Path("x.pkl"), ALLOWED)
