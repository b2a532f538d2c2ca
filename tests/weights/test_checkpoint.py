from __future__ import annotations

import dataclasses
import json
import os
import struct
import sys
import types
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mrcnn.base_config import BaseConfig
from mrcnn.weights import WeightsError, load_model, load_weights, read_checkpoint, save_checkpoint
from mrcnn.weights.report import named_variables
from tests.modeling.unnamed import UnnamedModel


@dataclasses.dataclass(frozen=True)
class _Config(BaseConfig):
    width: int = 3


class _Model(keras.Model):
    def __init__(self, config: _Config, class_names: Any = ("nucleus",), category_ids: Any = None) -> None:
        super().__init__()
        self.config, self.class_names, self.category_ids = config, tuple(class_names), category_ids
        self.trunk = keras.layers.Conv2D(config.width, 3, name="trunk")
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.head = keras.layers.Dense(len(self.class_names) + 1, name="head")
        self.trunk.build((None, None, None, 3))
        self.norm.build((None, None, None, config.width))
        self.head.build((None, config.width))
        self.built = True


def _randomised(model: _Model, seed: int = 0) -> _Model:
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    return model


@pytest.fixture
def rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("mrcnn.modeling.mask_rcnn")
    module.MaskRCNN, module.MaskRCNNConfig = _Model, _Config
    monkeypatch.setitem(sys.modules, "mrcnn.modeling.mask_rcnn", module)


def test_save_and_load_is_exact(tmp_path: Path, rebuild: None) -> None:
    model = _randomised(_Model(_Config(width=5), ["cat", "dog"], (7, 9)))
    path = save_checkpoint(model, tmp_path / "run" / "model.safetensors", extra={"recipe": {"name": "r"}, "step": 3})
    for where in (path, path.parent, str(path)):
        again = load_model(where)
        assert again.config == model.config and again.class_names == ("cat", "dog") and again.category_ids == [7, 9]
        for ours, theirs in zip(model.weights, again.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    metadata, tensors = read_checkpoint(path)
    assert metadata["recipe"] == {"name": "r"} and metadata["step"] == 3 and metadata["format"] == "mrcnn/1"
    assert set(tensors) == set(named_variables(model)) and len(tensors) == 8
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_float16_keeps_vectors_in_float32(tmp_path: Path, rebuild: None) -> None:
    model = _randomised(_Model(_Config()))
    model.norm.moving_variance.assign([1e-9, 1e6, 1.0])
    path = save_checkpoint(model, tmp_path / "m.safetensors", "float16")
    stored = safetensors.numpy.load_file(path)
    assert {name for name, a in stored.items() if a.dtype == np.float16} == {"trunk/kernel", "head/kernel"}
    again = load_model(path)
    assert all(v.dtype == "float32" for v in again.weights)
    np.testing.assert_array_equal(again.norm.moving_variance, model.norm.moving_variance)
    np.testing.assert_allclose(again.trunk.kernel, model.trunk.kernel, rtol=1e-3, atol=1e-6)


def test_bfloat16_arrays_load_into_float32_variables(tmp_path: Path) -> None:
    model = _Model(_Config())
    kernel = np.arange(81, dtype=np.float32).reshape(3, 3, 3, 3).astype(ml_dtypes.bfloat16)
    path = tmp_path / "b.safetensors"
    header = json.dumps({"trunk/kernel": {"dtype": "BF16", "shape": [3, 3, 3, 3], "data_offsets": [0, 162]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + kernel.tobytes())
    assert load_weights(model, path).loaded == ("trunk/kernel",)
    np.testing.assert_array_equal(model.trunk.kernel, kernel.astype(np.float32))


def test_another_class_count_keeps_all_that_fits(tmp_path: Path) -> None:
    source, target = _randomised(_Model(_Config())), _randomised(_Model(_Config(), ["a", "b", "c"]), 1)
    before = target.head.kernel.numpy()
    report = load_weights(target, save_checkpoint(source, tmp_path / "m.safetensors"))
    assert [name for name, _, _ in report.shape_skipped] == ["head/kernel", "head/bias"]
    assert len(report.loaded) == 6 and not report.missing and not report.unused
    np.testing.assert_array_equal(target.trunk.kernel, source.trunk.kernel)
    np.testing.assert_array_equal(target.head.kernel, before)


def test_nothing_in_common_is_an_error(tmp_path: Path, rebuild: None) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"x": np.ones(2)}, path)
    with pytest.raises(WeightsError, match="nothing in it fits"):
        load_weights(_Model(_Config()), path)
    with pytest.raises(WeightsError, match="no checkpoint of mrcnn"):
        load_model(path)


def test_model_that_contradicts_its_weights_is_refused(tmp_path: Path, rebuild: None) -> None:
    model = _Model(_Config())
    model.config = _Config(width=4)
    with pytest.raises(WeightsError, match="does not fit"):
        load_model(save_checkpoint(model, tmp_path / "m.safetensors"))


@pytest.mark.parametrize("bad", [np.nan, 1e6])
def test_unstorable_numbers_leave_the_old_file(tmp_path: Path, bad: float) -> None:
    model = _Model(_Config())
    path = save_checkpoint(model, tmp_path / "m.safetensors")
    content = path.read_bytes()
    model.trunk.kernel.assign(np.full((3, 3, 3, 3), bad))
    with pytest.raises(WeightsError, match="trunk/kernel holds NaN or infinity"):
        save_checkpoint(model, path, "float16")
    with pytest.raises(WeightsError, match="plain data"):
        save_checkpoint(_Model(_Config()), path, extra={"x": object()})
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_checkpoint(_Model(_Config()), tmp_path / "m.safetensors")
    content = path.read_bytes()

    def full_disk(arrays: Any, name: str, **_: Any) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(_Model(_Config()), path)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for content in (b"", b"hello", b"<html>", save_checkpoint(_Model(_Config()), tmp_path / "ok").read_bytes()[:-9]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"m\.safetensors: not a safetensors file"):
            read_checkpoint(path)
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "absent")
    with pytest.raises(WeightsError, match=r"without model\.safetensors"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "text, message", [("{", "not JSON"), ("[]", "not a JSON object"), ('{"format": "mrcnn/9"}', "mrcnn/9")]
)
def test_foreign_metadata(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"x": np.ones(1)}, path, metadata={"mrcnn": text})
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(path)


def _unnamed(width: int = 3) -> Any:
    model = UnnamedModel()
    model.config, model.class_names, model.category_ids = _Config(width), ("nucleus",), None
    return _randomised(model, width)


class _Unnamed(UnnamedModel):
    def __init__(self, config: Any, class_names: Any, category_ids: Any) -> None:
        super().__init__()
        self.config, self.class_names, self.category_ids = config, tuple(class_names), category_ids


def test_layers_without_names_load_where_others_were_built_before(
    tmp_path: Path, rebuild: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras counts unnamed layers and variables over everything a process builds."""
    monkeypatch.setattr(sys.modules["mrcnn.modeling.mask_rcnn"], "MaskRCNN", _Unnamed)
    model = _unnamed()
    path = save_checkpoint(model, tmp_path / "m.safetensors")
    assert "backbone/layer_scale/variable_1" in safetensors.numpy.load_file(path)
    again = load_model(path)
    assert again.load_report.is_complete and not again.load_report.unused
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = _unnamed(5)
    assert load_weights(other, path).is_complete
    np.testing.assert_array_equal(other.weights[-1], model.weights[-1])


def test_checkpoints_named_by_an_earlier_version_load(tmp_path: Path) -> None:
    model, other = _unnamed(), _unnamed(5)
    path = save_checkpoint(model, tmp_path / "m.safetensors")
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    components = {id(v): part.name for part in model.layers for v in part.weights}
    arrays = {f"{components[id(v)]}/{v.path}": np.asarray(v) for v in model.weights}
    assert any("variable_" in name for name in arrays)
    content = {key: value for key, value in json.loads(metadata["mrcnn"]).items() if key != "crc32"}
    safetensors.numpy.save_file(arrays, path, metadata={"mrcnn": json.dumps(content)})
    assert load_weights(other, path).is_complete
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("old, new", [(b"nucleus", b"nucleuS"), (b'\\"width\\": 3', b'\\"width\\": 7')])
def test_a_changed_header_is_noticed(tmp_path: Path, rebuild: None, old: bytes, new: bytes) -> None:
    path = save_checkpoint(_randomised(_Model(_Config())), tmp_path / "m.safetensors")
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(WeightsError, match=r"m\.safetensors: damaged, its header is not what was written"):
        load_model(path)


def test_a_changed_number_is_noticed(tmp_path: Path, rebuild: None) -> None:
    path = save_checkpoint(_randomised(_Model(_Config())), tmp_path / "m.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"m\.safetensors: damaged, .* is not what was written"):
        load_model(path)


def _without_checksums(path: Path, change: dict[str, Any]) -> Path:
    with safetensors.safe_open(path, "numpy") as file:
        metadata = json.loads(file.metadata()["mrcnn"])
    del metadata["crc32"]
    metadata.update(change)
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata={"mrcnn": json.dumps(metadata)})
    return path


def test_a_file_of_an_earlier_version_has_no_checksums_and_loads(tmp_path: Path, rebuild: None) -> None:
    model = _randomised(_Model(_Config()))
    again = load_model(_without_checksums(save_checkpoint(model, tmp_path / "m.safetensors"), {}))
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"class_names": 5}, "its class_names are 5, expected a list of str"),
        ({"class_names": [["a"]]}, "expected a list of str"),
        ({"category_ids": {"a": 1}}, "expected a list of int"),
        ({"model": 5}, "its model is 5, expected a mapping"),
        ({"model": {"width": "wide"}}, "width: expected int, got 'wide'"),
        ({"model": {"width": 3, "height": 1}}, "no field 'height'"),
        ({"model": {"width": -1}}, "no model can be built of its config|does not fit"),
        ({"model": {"width": 10**6}}, "does not fit its own config, which has a variable of shape"),
        ({"model": {"width": 10**30}}, "no model can be built of its config|does not fit"),
        ({"format": ["mrcnn/1"]}, "this version reads 'mrcnn/1'"),
    ],
)
def test_metadata_that_cannot_be(tmp_path: Path, rebuild: None, change: dict[str, Any], message: str) -> None:
    path = _without_checksums(save_checkpoint(_Model(_Config()), tmp_path / "m.safetensors"), change)
    with pytest.raises(WeightsError, match=rf"m\.safetensors: .*({message})"):
        load_model(path)


def _raw(path: Path, header: str, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + data)
    return path


@pytest.mark.parametrize("dtype, size", [("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)])
def test_numbers_that_numpy_does_not_have_are_named(tmp_path: Path, dtype: str, size: int) -> None:
    header = json.dumps({"head/bias": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}})
    path = _raw(tmp_path / "m.safetensors", header, b"\0" * 2 * size)
    with pytest.raises(WeightsError, match=rf"m\.safetensors: .*{dtype}"):
        load_weights(_Model(_Config()), path)


def test_deep_metadata_is_an_error(tmp_path: Path) -> None:
    for depth in (500, 5_000, 100_000):
        text = json.dumps("[" * depth + "]" * depth)
        path = _raw(tmp_path / "m.safetensors", f'{{"__metadata__": {{"mrcnn": {text}}}}}')
        with pytest.raises(WeightsError, match=r"m\.safetensors: "):
            load_model(path)


@pytest.mark.parametrize("what", ["pipe", "device", "folder in a folder", "loop", "zero byte"])
def test_only_regular_files_are_opened(tmp_path: Path, what: str) -> None:
    path = tmp_path / "m.safetensors"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/zero")
    elif what == "folder in a folder":
        path.mkdir()
        path = tmp_path
    elif what == "loop":
        path.symlink_to(path)
    else:
        path = tmp_path / "a\0b"
    message = {"pipe": "a named pipe, expected a regular", "device": "/dev/zero: a character device"}.get(what, ": ")
    for load in (load_model, lambda path: load_weights(_Model(_Config()), path)):
        with pytest.raises(WeightsError, match=message):
            load(path)
    if what == "pipe":
        path.rename(tmp_path / "model.safetensors")
        with pytest.raises(WeightsError, match=message):
            load_model(tmp_path)
