from __future__ import annotations

import collections
import contextlib
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn.weights.numpy_pickle import open_numpy_pickle
from mrcnn.weights.report import WeightsError
from tests.reference.python2_pickle import python2_pickle

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1_w": RNG.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "long": RNG.normal(size=(150, 200)).astype(np.float32),  # 120 kB: not held in memory
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "double": np.array([1e300, -1.0]),
    "half": np.array([0.5, -2], np.float16),
    "ints": np.array([[1, -(2**40)]]),
    "bytes": np.arange(256, dtype=np.uint8),
    "bools": np.array([True, False]),
    "scalar": np.array(7.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _assert_arrays(arrays: dict, prefix: str) -> None:
    assert list(arrays) == [f"{prefix}{name}" for name in ARRAYS]
    for name, expected in ARRAYS.items():
        stored = arrays[f"{prefix}{name}"]
        value = np.asarray(stored)
        assert stored.shape == value.shape == expected.shape and stored.dtype == value.dtype == expected.dtype, name
        np.testing.assert_array_equal(value, expected)


def test_reads_what_python_2_wrote(tmp_path: Path) -> None:
    path = _write(tmp_path / "model_final.pkl", python2_pickle({"blobs": ARRAYS, "cfg": "NUM_GPUS: 8\n"}))
    arrays, plain = open_numpy_pickle(path)
    _assert_arrays(arrays, "blobs.")
    assert plain == {"cfg": "NUM_GPUS: 8\n"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_python_3_wrote(tmp_path: Path, protocol: int) -> None:
    root = {"model": ARRAYS, "__author__": "zoo", "matching_heuristics": True, "iteration": np.int64(3), "raw": b""}
    arrays, plain = open_numpy_pickle(_write(tmp_path / "a.pkl", pickle.dumps(root, protocol)))
    _assert_arrays(arrays, "model.")
    assert plain == {"__author__": "zoo", "matching_heuristics": True, "iteration": 3, "raw": ""}


@pytest.mark.parametrize("protocol", [2, 3])
def test_reads_names_of_numpy_1(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(collections.OrderedDict(ARRAYS), protocol).replace(b"numpy._core.", b"numpy.core.")
    _assert_arrays(open_numpy_pickle(_write(tmp_path / "a.pkl", content))[0], "")


def test_arrays_stay_in_the_file(tmp_path: Path) -> None:
    big = {f"w{i}": np.full((256, 1024), i, np.float32) for i in range(8)}  # 1 MB each
    for content in (python2_pickle(big), pickle.dumps(big, 4)):
        path = _write(tmp_path / "a.pkl", content)
        del content
        tracemalloc.start()
        arrays, _ = open_numpy_pickle(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 19
        assert np.asarray(arrays["w3"])[0, 0] == 3


@pytest.mark.parametrize(
    "content, name",
    [
        (b"\x80\x02cos\nsystem\nU\x04echoR.", r"os\.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93U\x04echoR.", r"os\.system"),
        (b"\x80\x02cbuiltins\neval\nU\x011R.", r"builtins\.eval"),
        (b"\x80\x02cnumpy\nload\nU\x01xR.", r"numpy\.load"),
        (b"\x80\x02cnumpy\nfromfile\n.", r"numpy\.fromfile"),
        (b"\x80\x02(ios\nsystem\n.", "INST"),
        (b"\x80\x02U\x01x\x51.", "BINPERSID"),
        (b"\x80\x02Px\n.", "PERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
    ],
)
def test_refuses_by_name_whatever_is_no_array(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(WeightsError, match=rf"a\.pkl: refused, the file asks for .*{name}"):
        open_numpy_pickle(_write(tmp_path / "a.pkl", content))


@pytest.mark.parametrize("protocol", [2, 4])
def test_objects_of_classes_are_refused(tmp_path: Path, protocol: int) -> None:
    root = {"w": ARRAYS["conv1_w"], "where": Path("/etc")}
    with pytest.raises(WeightsError, match=r"refused, the file asks for pathlib"):
        open_numpy_pickle(_write(tmp_path / "a.pkl", pickle.dumps(root, protocol)))


@pytest.mark.parametrize(
    "root",
    [
        {"w": np.array([{}, []], object)},
        {"w": np.zeros(2, [("a", "f4"), ("b", "i4")])},
        {"w": np.array(["a"])},
        {"w": np.zeros(1, "V4")},
        {"w": np.array([1j])},
    ],
)
def test_arrays_of_anything_but_real_numbers(tmp_path: Path, root: Any) -> None:
    with pytest.raises(WeightsError, match=r"a\.pkl"):
        open_numpy_pickle(_write(tmp_path / "a.pkl", pickle.dumps(root)))


_DTYPE = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
_MAKE = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"


def _array(shape: bytes, data: bytes, dtype: bytes = _DTYPE) -> bytes:
    return b"\x80\x02}U\x01w" + _MAKE + b"(K\x01" + shape + dtype + b"\x89" + data + b"tbs."


def test_the_hand_written_array_is_readable(tmp_path: Path) -> None:
    arrays, _ = open_numpy_pickle(_write(tmp_path / "a.pkl", _array(b"K\x01\x85", b"U\x04\0\0\x80\x3f")))
    np.testing.assert_array_equal(arrays["w"], [1])


@pytest.mark.parametrize(
    "shape, data, dtype",
    [
        (b"K\x02\x85", b"U\x04\0\0\x80\x3f", _DTYPE),
        (b"J\xff\xff\xff\xff\x85", b"U\x04\0\0\x80\x3f", _DTYPE),
        (b"\x88\x85", b"U\x04\0\0\x80\x3f", _DTYPE),
        (b"U\x01a\x85", b"U\x04\0\0\x80\x3f", _DTYPE),
        (b"K\x01", b"U\x04\0\0\x80\x3f", _DTYPE),
        (b"J\0\0\0\x7f\x85", b"U\x04\0\0\x80\x3f", _DTYPE),
        (b"K\x01\x85", b"]", _DTYPE),
        (b"K\x01\x85", b"N", _DTYPE),
        (b"K\x01\x85", b"U\x04\0\0\x80\x3f", b"N"),
        (b"K\x01\x85", b"U\x04\0\0\x80\x3f", b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R"),
    ],
)
def test_impossible_arrays(tmp_path: Path, shape: bytes, data: bytes, dtype: bytes) -> None:
    with pytest.raises(WeightsError, match=r"a\.pkl: (truncated or )?damaged"):
        open_numpy_pickle(_write(tmp_path / "a.pkl", _array(shape, data, dtype)))


@pytest.mark.parametrize("name", [b"numpy\ndtype", b"numpy\nndarray", b"collections\nOrderedDict", b"builtins\nset"])
@pytest.mark.parametrize("state", [b"}U\x04whatU\x04evils", b"N}U\x04whatU\x04evils\x86"])
def test_a_file_cannot_change_the_reader(tmp_path: Path, name: bytes, state: bytes) -> None:
    with pytest.raises(WeightsError):
        open_numpy_pickle(_write(tmp_path / "a.pkl", b"\x80\x02c" + name + b"\n" + state + b"b."))
    test_the_hand_written_array_is_readable(tmp_path)


def test_bombs_are_refused(tmp_path: Path) -> None:
    nested: Any = [ARRAYS["conv1_w"]]
    for _ in range(40):
        nested = [nested, nested]
    with pytest.raises(WeightsError, match="unreasonable"):
        open_numpy_pickle(_write(tmp_path / "laughs.pkl", pickle.dumps(nested)))
    for content in (
        b"\x80\x02}r\xff\xff\xff\xff.",  # a memo of 2^32 entries
        b"\x80\x02cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",  # bytes(2^31)
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a bytearray of 2^63
        b"\x80\x02T\xff\xff\xff\xff.",  # a string of negative length
    ):
        with pytest.raises(WeightsError, match=r"bomb\.pkl: (truncated or )?damaged"):
            open_numpy_pickle(_write(tmp_path / "bomb.pkl", content))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_every_truncation_is_an_error_that_names_the_file(tmp_path: Path, protocol: int) -> None:
    small = {name: array for name, array in ARRAYS.items() if name != "long"}
    content = pickle.dumps({"model": small}, protocol) if protocol else python2_pickle({"blobs": small, "cfg": "x"})
    for length in range(2, len(content) - 1, 41):
        with pytest.raises(WeightsError, match=r"cut\.pkl"):
            open_numpy_pickle(_write(tmp_path / "cut.pkl", content[:length]))
    with pytest.raises(WeightsError, match="something follows"):
        open_numpy_pickle(_write(tmp_path / "long.pkl", content + b"x"))


def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = {"a": np.ones((2, 3), np.float32), "b": np.arange(4)}
    for content in (python2_pickle(small), pickle.dumps(small, 2), pickle.dumps(small, 5)):
        for _ in range(200):
            damaged = bytearray(content)
            for position in rng.integers(0, len(content), 2):
                damaged[position] = rng.integers(0, 256)
            with contextlib.suppress(WeightsError):
                for array in open_numpy_pickle(_write(tmp_path / "a.pkl", bytes(damaged)))[0].values():
                    np.asarray(array)


def test_a_file_that_changed_meanwhile(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.pkl", pickle.dumps(ARRAYS))
    arrays, _ = open_numpy_pickle(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"a\.pkl: truncated"):
        np.asarray(arrays["long"])


def test_nothing_but_plain_values_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no NumPy array"):
        open_numpy_pickle(_write(tmp_path / "a.pkl", pickle.dumps({"epoch": 3})))
