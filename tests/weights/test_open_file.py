from __future__ import annotations

import gzip
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import WeightsError
from tests.reference.containers import write_torch_legacy, write_torch_zip
from tests.reference.keras_files import write_keras_h5
from tests.reference.python2_pickle import python2_pickle

STATE = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2, np.float32)}


def _torch_zip(path: Path, state: dict) -> None:
    write_torch_zip(path, state)


def _torch_legacy(path: Path, state: dict) -> None:
    write_torch_legacy(path, state)


def _python2(path: Path, state: dict) -> None:
    path.write_bytes(python2_pickle({"blobs": state, "cfg": "x"}))


def _python3(path: Path, state: dict) -> None:
    path.write_bytes(pickle.dumps({"model": state, "__author__": "x"}))


def _safetensors(path: Path, state: dict) -> None:
    safetensors.numpy.save_file(state, path)


@pytest.mark.parametrize(
    "write, container",
    [
        (_torch_zip, "torch"),
        (_torch_legacy, "torch"),
        (_python2, "numpy_pickle"),
        (_python3, "numpy_pickle"),
        (_safetensors, "safetensors"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", ["weights.bin", "weights.h5"])  # names say nothing
def test_every_container_is_recognized_by_content(
    tmp_path: Path, write: object, container: str, prefix: str, name: str
) -> None:
    write(tmp_path / name, {f"{prefix}{key}": value for key, value in STATE.items()})
    contents = read_arrays(tmp_path / name)
    assert contents.container == container and set(contents.arrays) == set(STATE) and not contents.left_out
    for key, value in STATE.items():
        assert contents.arrays[key].shape == value.shape and contents.arrays[key].dtype == np.float32
        np.testing.assert_array_equal(contents.arrays[key], value)


def test_keras_files(tmp_path: Path) -> None:
    path = write_keras_h5(tmp_path / "weights.pth", {"fc": {"fc/kernel:0": STATE["fc.weight"]}})
    contents = read_arrays(path)
    assert contents.container == "keras_h5" and list(contents.arrays) == ["fc/kernel"]


@pytest.mark.parametrize("wrapper", ["model", "model_state_dict", "model_state", "state_dict", "blobs"])
def test_what_lies_beside_the_weights_is_left_out(tmp_path: Path, wrapper: str) -> None:
    root = {
        "optimizer": {"state": [{"momentum_buffer": STATE["fc.bias"]}]},
        wrapper: {f"module.{key}": value for key, value in STATE.items()},
        "epoch": 25,
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(root))
    contents = read_arrays(tmp_path / "a.pkl")
    assert list(contents.arrays) == list(STATE)
    assert contents.left_out == ("optimizer.state.0.momentum_buffer",) and contents.metadata == {"epoch": 25}


def test_folder_of_a_training_run(tmp_path: Path) -> None:
    metadata = {"mrcnn": json.dumps({"format": "mrcnn/1", "class_names": ["nut"]})}
    safetensors.numpy.save_file(STATE, tmp_path / "model.safetensors", metadata=metadata)
    contents = read_arrays(tmp_path)
    assert contents.container == "mrcnn" and contents.metadata["class_names"] == ["nut"]


@pytest.mark.parametrize("code, dtype", [("F16", "float16"), ("F64", "float64"), ("BF16", "float32")])
def test_other_floats_in_safetensors(tmp_path: Path, code: str, dtype: str) -> None:
    """bfloat16 has no NumPy type; its values are those of the upper half of a float32."""
    values = np.array([1.0, -2.5], np.float32)
    data = (values.view(np.uint32) >> 16).astype("<u2") if code == "BF16" else values.astype(dtype)
    header = json.dumps({"w": {"dtype": code, "shape": [2], "data_offsets": [0, data.nbytes]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data.tobytes())
    array = read_arrays(tmp_path / "a.safetensors").arrays["w"]
    assert array.dtype == dtype
    np.testing.assert_array_equal(np.asarray(array), values)
    assert np.asarray(array).dtype == dtype


PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@pytest.mark.parametrize(
    "content, what",
    [
        (b"", "an empty file"),
        (bytes(1000), "a file of zeros"),
        (b"\r\n<!DOCTYPE html>\n<html><head><title>Sign in", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b'{"error": "Not Found"}', "a JSON text"),
        (b"404: Not Found", "a text, beginning '404: Not Found'"),
        ("Datei nicht gefunden: über\n".encode() * 40, "a text, beginning 'Datei nicht gefunden"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (PNG, "a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (b"%PDF-1.7", "a PDF document"),
        (gzip.compress(b"x", mtime=0), "a gzip archive"),
        (b"\x93NUMPY\x01\0", "a NumPy .npy array"),
        (b"\x00\x01\x02\x03 whatever \xfe\xff", "an unknown kind of file"),
        (b"\x80\x09abc", "an unknown kind of file"),
    ],
)
def test_says_what_another_file_is_and_what_was_expected(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "model_final.pkl"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_arrays(path)
    assert str(caught.value).startswith(f"{path}: {what}") and "expected a weights file" in str(caught.value)


def test_archives_that_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(tmp_path / "a.zip", "a.zip")
    for name, what in (
        ("a.npz", r"a NumPy \.npz archive"),
        ("a.zip", r"a zip archive without data\.pkl"),
        ("a.keras", r"a \.keras model"),
        ("a.tar", "a tar archive"),
    ):
        with pytest.raises(WeightsError, match=rf"{name}: {what}"):
            read_arrays(tmp_path / name)


def test_folder_and_absent_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"{tmp_path}: a folder without model\.safetensors, expected"):
        read_arrays(tmp_path)
    with pytest.raises(WeightsError, match=r"absent\.pth: no such file"):
        read_arrays(tmp_path / "absent.pth")


@pytest.mark.parametrize("write", [_torch_zip, _torch_legacy, _python2, _python3, _safetensors])
def test_truncated_downloads(tmp_path: Path, write: object) -> None:
    """At the latest when the values are asked for."""
    path = tmp_path / "cut"
    write(path, {"w": np.ones((300, 100), np.float32), "b": np.ones(3, np.float32)})
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(WeightsError, match=str(path)):
            read_arrays(path)


def test_a_flipped_bit_in_a_torch_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    write_torch_zip(path, {"w": np.full(100, 3.0, np.float32)})
    content = bytearray(path.read_bytes())
    content[content.index(np.full(100, 3.0, np.float32).tobytes()) + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pth: damaged .*checksum"):
        np.asarray(read_arrays(path).arrays["w"])
