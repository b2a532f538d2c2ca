from __future__ import annotations

import contextlib
import gc
import signal
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from mrcnn.weights import keras_h5
from mrcnn.weights.keras_h5 import open_keras_h5
from mrcnn.weights.report import WeightsError
from tests.reference.keras_files import write_keras_h5

KERNEL = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
BIAS = np.arange(4, dtype=np.float32)
LAYERS = {
    "input_image": {},
    "conv1": {"conv1_2/kernel:0": KERNEL, "conv1_2/bias:0": BIAS},  # a suffix TensorFlow gave
    "rpn_model": {
        "rpn_conv_shared/kernel:0": KERNEL + 1,
        "rpn_conv_shared/bias:0": BIAS + 1,
        "rpn_class_raw/kernel:0": KERNEL + 2,
    },
    "bn": {"scope/bn/gamma:0": BIAS + 3},
}
EXPECTED = {
    "conv1/kernel": KERNEL,
    "conv1/bias": BIAS,
    "rpn_conv_shared/kernel": KERNEL + 1,
    "rpn_conv_shared/bias": BIAS + 1,
    "rpn_class_raw/kernel": KERNEL + 2,
    "bn/gamma": BIAS + 3,
}


@pytest.mark.parametrize("is_whole_model", [False, True])
@pytest.mark.parametrize("num_chunks", [0, 3])
def test_reads_groups_and_nested_models(tmp_path: Path, is_whole_model: bool, num_chunks: int) -> None:
    path = write_keras_h5(tmp_path / "a.h5", LAYERS, is_whole_model, num_chunks)
    arrays, attributes = open_keras_h5(path)
    assert list(arrays) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        assert arrays[name].shape == expected.shape and arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], expected)
    assert attributes["keras_version"] == "2.0.8"


def test_reads_what_keras_writes(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")])
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, name="first"), inner])
    model.save(tmp_path / "model.h5")
    arrays, _ = open_keras_h5(tmp_path / "model.h5")
    assert set(arrays) == {f"{layer}/{leaf}" for layer in ("first", "a", "b") for leaf in ("kernel", "bias")}
    np.testing.assert_array_equal(arrays["b/kernel"], inner.layers[1].kernel)


def test_half_double_and_big_endian_numbers(tmp_path: Path) -> None:
    values = {"a/x:0": BIAS.astype(np.float16), "b/x:0": BIAS.astype(np.float64), "c/x:0": BIAS.astype(">f4")}
    arrays, _ = open_keras_h5(write_keras_h5(tmp_path / "a.h5", {"m": values}))
    assert [str(array.dtype) for array in arrays.values()] == ["float16", "float64", "float32"]
    for array in arrays.values():
        np.testing.assert_array_equal(array, BIAS)


def _damage(path: Path, change: str) -> None:
    with h5py.File(path, "r+") as file:
        group = file["conv1/conv1_2"]
        if change == "external link":
            del group["bias:0"]
            group["bias:0"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif change == "external group":
            del file["conv1"]
            file["conv1"] = h5py.ExternalLink("other.h5", "/conv1")
        elif change == "symbolic link":
            del group["bias:0"]
            group["bias:0"] = h5py.SoftLink("/conv1/conv1_2/kernel:0")
        elif change == "external numbers":
            del group["bias:0"]
            group.create_dataset("bias:0", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])
        elif change == "virtual numbers":
            del group["bias:0"]
            layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
            layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
            group.create_virtual_dataset("bias:0", layout)
        elif change == "missing":
            del group["bias:0"]
        elif change == "group":
            del group["bias:0"]
            group.create_group("bias:0")
        elif change == "text":
            del group["bias:0"]
            group["bias:0"] = "hello"
        elif change == "bomb":
            del group["bias:0"]
            group.create_dataset("bias:0", shape=(10**12,), dtype="f4", chunks=(10**6,), compression="gzip")
        elif change == "chunk":  # six numbers, a chunk of a gigabyte
            del group["bias:0"]
            group.create_dataset("bias:0", (6,), "f4", maxshape=(None,), chunks=(1 << 28,), compression="gzip")
        elif change == "number of names":
            file.attrs["layer_names"] = 5
        elif change == "root is an array":
            file["model_weights"] = [1.0]
        elif change == "twice":
            file["rpn_model"].attrs["weight_names"] = [b"rpn_conv_shared/kernel:0", b"rpn_conv_shared/kernel:0"]
        elif change == "empty":
            file.clear()
            del file.attrs["layer_names"]


@pytest.mark.parametrize(
    "change, message",
    [
        ("external link", "refused, .*bias:0 is a link into another file"),
        ("external group", "refused, conv1 is a link into another file"),
        ("symbolic link", "refused, .*bias:0 is a symbolic link"),
        ("external numbers", "refused, the numbers of .*bias:0 lie in another file"),
        ("virtual numbers", "refused, the numbers of .*bias:0 lie in another file"),
        ("missing", "bias:0 is listed in /conv1 but not there"),
        ("group", "bias:0 is a group"),
        ("text", "bias:0 has dtype object, expected numbers"),
        ("bomb", "unreasonable size"),
        ("chunk", "unreasonable size"),
        ("number of names", "layer_names of / is no list of names"),
        ("root is an array", "model_weights is an array, expected a group"),
        ("twice", "two weights named rpn_conv_shared/kernel"),
        ("empty", "an HDF5 file without the weights of a Keras model"),
    ],
)
def test_refuses_damaged_and_hostile_files(tmp_path: Path, change: str, message: str) -> None:
    path = write_keras_h5(tmp_path / "a.h5", LAYERS)
    _damage(path, change)
    with pytest.raises(WeightsError, match=rf"a\.h5: .*{message}"):
        open_keras_h5(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_files_without_the_lists_of_names(tmp_path: Path) -> None:
    path = write_keras_h5(tmp_path / "a.h5", LAYERS)
    with h5py.File(path, "r+") as file:
        del file.attrs["layer_names"]
        for group in file.values():
            del group.attrs["weight_names"]
    arrays, _ = open_keras_h5(path)
    assert set(arrays) == set(EXPECTED)


def test_truncated_files_are_errors(tmp_path: Path) -> None:
    content = write_keras_h5(tmp_path / "a.h5", LAYERS).read_bytes()
    path = tmp_path / "cut.h5"
    for length in range(9, len(content) - 1, 499):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\.h5"):
            open_keras_h5(path)


def test_the_format_of_keras_3_is_named(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError, match=r"a Keras 3 \.weights\.h5 file"):
        open_keras_h5(tmp_path / "a.weights.h5")


ASSETS = Path(__file__).parents[1] / "assets" / "hostile"


@pytest.mark.parametrize("name", ["attributes_1.h5", "attributes_2.h5"])
def test_a_file_that_crashes_the_library_is_an_error(name: str) -> None:
    """Reading every attribute of these ends the process."""
    with pytest.raises(WeightsError, match=rf"{name}: "):
        open_keras_h5(ASSETS / name)


def test_the_death_of_the_reader_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_keras_h5(tmp_path / "a.h5", LAYERS)
    arrays, _ = open_keras_h5(path)
    child = arrays["bn/gamma"]._read.__closure__[0].cell_contents
    child._process.send_signal(signal.SIGSEGV)
    child._process.wait()
    with pytest.raises(WeightsError, match=r"a\.h5: damaged, the HDF5 library crashed on it .*signal 11"):
        np.asarray(arrays["bn/gamma"])
    program = tmp_path / "child.py"
    program.write_text("import os; os.abort()")
    monkeypatch.setattr(keras_h5, "_CHILD", program)
    with pytest.raises(WeightsError, match=r"a\.h5: damaged, the HDF5 library crashed on it .*signal 6"):
        open_keras_h5(path)


def test_a_reader_that_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "child.py"
    program.write_text("import time; time.sleep(1000)")
    monkeypatch.setattr(keras_h5, "_CHILD", program)
    monkeypatch.setattr(keras_h5, "_PATIENCE", 0.5)
    with pytest.raises(WeightsError, match=r"a\.h5: damaged, .* or took too long"):
        open_keras_h5(write_keras_h5(tmp_path / "a.h5", LAYERS))


def test_the_reader_ends_with_its_arrays(tmp_path: Path) -> None:
    arrays, _ = open_keras_h5(write_keras_h5(tmp_path / "a.h5", LAYERS))
    process = arrays["bn/gamma"]._read.__closure__[0].cell_contents._process
    assert process.poll() is None
    del arrays
    gc.collect()
    assert process.poll() is not None


def test_other_attributes_are_not_read(tmp_path: Path) -> None:
    path = write_keras_h5(tmp_path / "a.h5", LAYERS)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = "{}"
        file.attrs["keras_version"] = 5
    _, attributes = open_keras_h5(path)
    assert set(attributes) <= {"backend"}


def test_damaged_bytes_are_errors_or_change_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    content = write_keras_h5(tmp_path / "a.h5", LAYERS).read_bytes()
    path = tmp_path / "damaged.h5"
    for _ in range(12):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 8):
            damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            arrays, _ = open_keras_h5(path)
            for array in arrays.values():
                np.asarray(array)
