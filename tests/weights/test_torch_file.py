from __future__ import annotations

import collections
import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn.weights.report import WeightsError
from mrcnn.weights.torch_file import read_torch_file

FILES = Path(__file__).parents[1] / "assets" / "torch_files"
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
EXPECTED = {
    "model.plain": BASE,
    "model.transposed": BASE.T,
    "model.slice": BASE[1:3, ::2],
    "model.shared": BASE,
    "model.half": np.array([0.5, -2], np.float16),
    "model.bfloat16": np.array([1, -3.140625], np.float32),
    "model.double": np.array([1e300]),
    "model.long": np.array([2**40]),
    "model.bool": np.array([True, False]),
    "model.scalar": np.array(7, np.int32),
    "model.empty": np.zeros((0, 3), np.float32),
    "model.uint8": np.array([255], np.uint8),
    "list.0": np.ones((2, 2), np.float32),
}


@pytest.mark.parametrize("name", ["tensors_zip.pth", "tensors_legacy.pth"])
def test_reads_both_formats_of_torch(name: str) -> None:
    arrays = read_torch_file(FILES / name)
    assert list(arrays) == list(EXPECTED)
    for key, expected in EXPECTED.items():
        assert arrays[key].dtype == expected.dtype and arrays[key].shape == expected.shape, key
        np.testing.assert_array_equal(arrays[key], expected)
        assert arrays[key].flags.writeable and arrays[key].flags.c_contiguous


class _Named:
    """Pickles as a reference to module.name."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Call:
    """Pickles as function(*arguments)."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state


class _Reference(tuple):
    """Pickles as a persistent id."""


class _Writer(pickle._Pickler):
    """Writes pickles torch would not write."""

    def persistent_id(self, obj: Any) -> Any:
        return tuple(obj) if isinstance(obj, _Reference) else None

    def save(self, obj: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(obj, _Named):
            if self.proto >= 4:
                self.save(obj.module)
                self.save(obj.name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Call):
            self.save(obj.function)
            if obj.arguments != (None,):
                self.save(tuple(obj.arguments))
                self.write(pickle.REDUCE)
            if obj.state is not None:
                self.save(obj.state)
                self.write(pickle.BUILD)
        else:
            super().save(obj, *args, **kwargs)


def _dumps(obj: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    _Writer(buffer, protocol).dump(obj)
    return buffer.getvalue()


def _tensor(shape: tuple = (2,), strides: tuple = (1,), offset: int = 0, size: int = 2, key: str = "0") -> _Call:
    storage = _Reference(("storage", _Named("torch", "FloatStorage"), key, "cpu", size))
    rebuild = _Named("torch._utils", "_rebuild_tensor_v2")
    return _Call(rebuild, storage, offset, shape, strides, False, collections.OrderedDict())


def _zip(
    path: Path, root: Any, storages: dict[str, bytes] | None = None, protocol: int = 2, raw: bytes | None = None
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", raw if raw is not None else _dumps(root, protocol))
        for key, data in (storages if storages is not None else {"0": struct.pack("<2f", 1, 2)}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def _legacy(path: Path, root: Any, size: int = 2, data: bytes = struct.pack("<2f", 1, 2)) -> Path:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, root, ["0"]]
    path.write_bytes(b"".join(_dumps(part) for part in head) + struct.pack("<q", size) + data)
    return path


@pytest.mark.parametrize("write", [_zip, _legacy])
def test_the_writers_of_these_tests_write_readable_files(tmp_path: Path, write: Any) -> None:
    arrays = read_torch_file(write(tmp_path / "a.pth", {"w": _tensor()}))
    np.testing.assert_array_equal(arrays["w"], [1, 2])


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("module, name", [("os", "system"), ("builtins", "eval"), ("torch.nn", "Linear")])
@pytest.mark.parametrize("write", [_zip, _legacy])
def test_refuses_whatever_is_no_tensor_by_name(
    tmp_path: Path, write: Any, module: str, name: str, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    if module == "torch.nn":
        fake = types.ModuleType("torch.nn")
        fake.Linear = ran.append
        monkeypatch.setitem(sys.modules, "torch.nn", fake)
    root = {"w": _tensor(), "bad": _Call(_Named(module, name), "echo")}
    path = tmp_path / "a.pth"
    if write is _zip:
        _zip(path, root, protocol=protocol)
    else:
        _legacy(path, root)
    with pytest.raises(WeightsError, match=rf"a\.pth: refused, the file asks for {module}\.{name};"):
        read_torch_file(path)
    assert not ran


@pytest.mark.parametrize("opcode", [b"i", b"o"])
def test_refuses_old_ways_of_making_objects(tmp_path: Path, opcode: bytes) -> None:
    raw = b"(ios\nsystem\n." if opcode == b"i" else b"(cos\nsystem\no."
    with pytest.raises(WeightsError, match="refused"):
        read_torch_file(_zip(tmp_path / "a.pth", None, raw=raw))


@pytest.mark.parametrize(
    "target",
    [
        _Named("torch", "FloatStorage"),
        _Named("torch._utils", "_rebuild_tensor_v2"),
        _Named("collections", "OrderedDict"),
    ],
)
@pytest.mark.parametrize("state", [{"dtype": "<f8", "what": "x"}, (None, {"dtype": "<f8", "what": "x"})])
def test_a_file_cannot_change_the_reader(tmp_path: Path, target: _Named, state: Any) -> None:
    """The BUILD instruction sets attributes of whatever lies on the stack."""
    bad = _Call(target, None, state=state)
    with pytest.raises(WeightsError):
        read_torch_file(_zip(tmp_path / "bad.pth", {"x": bad, "w": _tensor()}))
    arrays = read_torch_file(_zip(tmp_path / "good.pth", {"w": _tensor()}))
    np.testing.assert_array_equal(arrays["w"], np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (pickle.dumps({"a": 1}), "a plain pickle"),
        (b"hello", "a text, beginning 'hello'"),
        (b"\xfe\x00\xff", "an unknown kind of file"),
        (b"\0" * 257 + b"ustar", "a tar archive"),
        (b"PK\x03\x04 and nothing more", "truncated or damaged"),
    ],
)
def test_says_what_another_file_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"x\.pth: {message}"):
        read_torch_file(path)


def test_folder_absent_and_foreign_zip(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="a folder"):
        read_torch_file(tmp_path)
    with pytest.raises(WeightsError, match="no such file"):
        read_torch_file(tmp_path / "absent.pth")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match=r"without data\.pkl"):
        read_torch_file(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["tensors_zip.pth", "tensors_legacy.pth"])
def test_every_truncation_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    content = (FILES / name).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(1, len(content) - 1, 37):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth"):
            read_torch_file(path)


@pytest.mark.parametrize("name", ["tensors_zip.pth", "tensors_legacy.pth"])
def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path, name: str) -> None:
    content = bytearray((FILES / name).read_bytes())
    path = tmp_path / "damaged.pth"
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, min(len(content), 1500), 3):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            read_torch_file(path)


@pytest.mark.parametrize(
    "tensor",
    [
        _tensor(shape=(3,)),
        _tensor(shape=(2,), offset=1),
        _tensor(shape=(2,), strides=(2,)),
        _tensor(shape=(10**9,), strides=(0,)),
        _tensor(shape=(-1,)),
        _tensor(offset=-1),
        _tensor(shape=(2, 1)),
        _tensor(shape=("a",)),
        _tensor(size=10**12, shape=(10**12,)),
        _tensor(key="1"),
    ],
)
@pytest.mark.parametrize("write", [_zip, _legacy])
def test_impossible_tensors(tmp_path: Path, write: Any, tensor: _Call) -> None:
    with pytest.raises(WeightsError, match=r"a\.pth"):
        read_torch_file(write(tmp_path / "a.pth", {"w": tensor}))


def test_bombs_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", _dumps({"w": _tensor()}))
        archive.writestr("archive/data/0", bytes(10**7))
    with pytest.raises(WeightsError, match="compressed"):
        read_torch_file(tmp_path / "packed.pth")
    nested: Any = [_tensor()]
    for _ in range(40):  # 2^40 paths through 40 lists
        nested = [nested, nested]
    with pytest.raises(WeightsError, match="unreasonable"):
        read_torch_file(_zip(tmp_path / "laughs.pth", nested))
    itself: list = [_tensor()]
    itself.append(itself)
    with pytest.raises(WeightsError, match="unreasonable"):
        read_torch_file(_zip(tmp_path / "itself.pth", itself))
    shared = {str(i): _tensor((1000,), (1,), 0, 1000) for i in range(1000)}
    with pytest.raises(WeightsError, match="unreasonable"):
        read_torch_file(_zip(tmp_path / "shared.pth", shared, {"0": bytes(4000)}))
    memo = b"\x80\x02}r\xff\xff\xff\xff."
    with pytest.raises(WeightsError, match="memo"):
        read_torch_file(_zip(tmp_path / "memo.pth", None, raw=memo))


def test_nothing_but_numbers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no tensor"):
        read_torch_file(_zip(tmp_path / "a.pth", {"epoch": 3}))


def test_big_endian_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.pth", {"w": _tensor()})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(WeightsError, match="big-endian"):
        read_torch_file(path)
