"""Checkpoints of a training run as weights, by every way there is to load them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import mrcnn
from mrcnn.modeling.variables import named_variables
from mrcnn.recipes import Recipe
from mrcnn.training.checkpoints import Checkpoints, run_variables, weights_metadata
from mrcnn.weights import WeightsError, safetensors_file, save_checkpoint
from tests.tiny_model import tiny_model


@pytest.fixture(scope="module")
def model() -> Any:
    """Compiled, its optimizer built, as a run has it."""
    model = tiny_model()
    model.compile(optimizer="sgd", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def _write(model: Any, run: Path, steps: tuple[int, ...] = (10, 20)) -> Path:
    checkpoints = Checkpoints(run, keep=len(steps))
    recipe = Recipe(model=model.config).to_dict()
    for step in steps:
        named_variables(model)["rpn/deltas/bias"].assign(np.full(12, step))
        checkpoints.save(step, model, {"recipe": recipe, **weights_metadata(model)})
    return checkpoints.path(steps[-1])


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(model, tmp_path_factory.mktemp("run"))


def _is_same(model: Any, other: Any) -> None:
    for name, variable in named_variables(model).items():
        np.testing.assert_array_equal(named_variables(other)[name], variable, err_msg=name)


def test_it_loads_as_a_model_and_as_weights(model: Any, file: Path) -> None:
    for path in (file, file.parents[1], file.parent):  # the file, the run, its folder of checkpoints
        loaded = mrcnn.load_model(path)
        _is_same(model, loaded)
        assert (loaded.class_names, loaded.category_ids) == (("thing", "other"), (3, 8))
        assert loaded.load_report.is_complete and not loaded.load_report.unused
    other = tiny_model(seed=1)
    report = mrcnn.load_weights(other, file)
    assert report.is_complete and not report.unused
    _is_same(model, other)
    pretrained = mrcnn.load_pretrained(file, num_classes=3)
    assert pretrained.config.num_classes == 3
    assert [name for name, *_ in pretrained.load_report.shape_skipped]


def test_it_is_described_without_its_optimizer(file: Path) -> None:
    description = mrcnn.describe_weights(file)
    assert description.class_names == ("thing", "other")
    assert description.num_arrays == len(named_variables(tiny_model()))
    assert str(mrcnn.describe_weights(file.parents[1])).startswith(str(file.parents[1]))


def test_a_finished_run_is_its_model_file(model: Any, tmp_path: Path) -> None:
    _write(model, tmp_path)
    named_variables(model)["rpn/deltas/bias"].assign(np.full(12, 5.0))
    save_checkpoint(model, tmp_path / "model.safetensors")
    _is_same(model, mrcnn.load_model(tmp_path))


def test_the_latest_whole_checkpoint_is_taken(model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    newest = _write(model, tmp_path, (10, 9, 100))
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1  # in an array
    newest.write_bytes(content)
    loaded = mrcnn.load_model(tmp_path)
    assert float(named_variables(loaded)["rpn/deltas/bias"][0]) == 10
    assert "step_00000100.safetensors: damaged" in caplog.text
    _, arrays = mrcnn.weights.read_checkpoint(newest)
    with pytest.raises(WeightsError, match=r"step_00000100\.safetensors: damaged, .* is not what was written"):
        [np.asarray(array) for array in arrays.values()]
    for path in newest.parent.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"none of its 3 checkpoints is whole; the latest: .*step_00000100"):
        mrcnn.load_model(tmp_path)


def _rewrite(path: Path, out: Path, change: Any) -> Path:
    """With other metadata, without the checksum of the header, as earlier versions wrote."""
    with safetensors.safe_open(path, "numpy") as file:
        metadata = json.loads(file.metadata()["mrcnn"])
    out.parent.mkdir(parents=True, exist_ok=True)
    change(metadata)
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), out, metadata={"mrcnn": json.dumps(metadata)})
    return out


def test_a_checkpoint_of_an_earlier_version_loads(model: Any, file: Path, tmp_path: Path) -> None:
    """It has the recipe, and arrays in the order of the model's variables."""

    def without(metadata: dict[str, Any]) -> None:
        for key in ("weights", "model", "class_names", "category_ids"):
            del metadata[key]

    old = _rewrite(file, tmp_path / "checkpoints" / "step_00000020.safetensors", without)
    named_variables(model)["rpn/deltas/bias"].assign(np.full(12, 20.0))
    loaded = mrcnn.load_model(old)
    _is_same(model, loaded)
    assert loaded.class_names == ("class 1", "class 2")
    _is_same(model, mrcnn.load_model(tmp_path))


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("weights", {"rpn/deltas/bias": "nowhere"}, "the array of rpn/deltas/bias is not in it"),
        ("weights", {"rpn/deltas/bias": [1]}, "the array of rpn/deltas/bias is not in it"),
        ("weights", 5, "names no weights"),
        ("crc32", None, "has no checksums"),
        ("crc32", {}, "is not what was written"),
        ("model", 5, "expected a mapping"),
        ("class_names", [1], "expected a list of str"),
        ("class_names", ["a"], "1 class_names for 2 classes"),
        ("category_ids", ["a", "b"], "expected a list of int"),
        ("format", "mrcnn-run/9", "mrcnn-run/9"),
    ],
)
def test_damaged_metadata(file: Path, tmp_path: Path, key: str, value: Any, message: str) -> None:
    path = _rewrite(file, tmp_path / "x.safetensors", lambda metadata: metadata.update({key: value}))
    with pytest.raises(WeightsError, match=rf"x\.safetensors: .*{message}"):
        mrcnn.load_model(path)


def test_a_flipped_bit_of_the_header_is_noticed(file: Path, tmp_path: Path) -> None:
    metadata, arrays = safetensors_file.open_safetensors(file)
    path = tmp_path / "flipped.safetensors"
    header = safetensors_file.header_metadata(metadata, {name: np.asarray(a) for name, a in arrays.items()})
    safetensors.numpy.save_file({name: np.asarray(a) for name, a in arrays.items()}, path, metadata=header)
    content = path.read_bytes()
    assert mrcnn.describe_weights(path)
    assert b'\\"step\\": 20' in content
    path.write_bytes(content.replace(b'\\"step\\": 20', b'\\"step\\": 30', 1))
    for load in (mrcnn.load_model, mrcnn.describe_weights):
        with pytest.raises(ValueError, match=r"flipped\.safetensors: .*damaged.*its header is not what was written"):
            load(path)


def test_arrays_are_named_as_the_run_names_them(model: Any, file: Path) -> None:
    with safetensors.safe_open(file, "numpy") as opened:
        metadata = json.loads(opened.metadata()["mrcnn"])
        assert set(opened.keys()) == set(run_variables(model)) == set(metadata["crc32"])
        value = opened.get_tensor(metadata["weights"]["rpn/deltas/bias"])
    sums = (zlib.crc32(value.tobytes()), safetensors_file.checksum(value))
    assert metadata["crc32"][metadata["weights"]["rpn/deltas/bias"]] in sums
