"""The checkpoints of a run as files: what they hold, which are kept, and what becomes of damaged ones."""

from __future__ import annotations

import json
import zlib

import keras
import numpy as np
import pytest
import safetensors.numpy

from mrcnn.modeling.variables import named_variables
from mrcnn.training.checkpoints import (
    CheckpointError,
    Checkpoints,
    read_checkpoint,
    read_state,
    restore,
    run_variables,
)
from mrcnn.training.fit import train
from tests.mean_color import MeanColor, write_set
from tests.modeling.unnamed import UnnamedModel
from tests.training.drawn import SIDE, small_model
from tests.training.test_resume import recipe_of


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_a_checkpoint_says_which_arrays_are_the_weights(tmp_path, average: float, precision: str):
    """Those that evaluation and model.safetensors have: the average where there is one."""
    model = small_model()
    data = write_set(tmp_path / "images", num=2, side=SIDE)
    recipe = recipe_of(train__images=4, train__weight_average=average, train__precision=precision, train__unfreeze=[])
    train(model, data, recipe=recipe, out=tmp_path / "run", progress=False)
    metadata, state = Checkpoints(tmp_path / "run").newest()
    assert (metadata["model"], metadata["class_names"], metadata["category_ids"]) == (
        model.config.to_dict(),
        ["thing", "other"],
        [3, 8],
    )
    named = named_variables(model)
    assert set(metadata["weights"]) == set(named)
    for path, name in metadata["weights"].items():
        np.testing.assert_array_equal(state[name], named[path].numpy(), err_msg=path)
    averages = [name for name in metadata["weights"].values() if name.startswith("optimizer/")]
    assert bool(averages) == bool(average)


def _kept(folder) -> tuple[MeanColor, Checkpoints]:
    """One checkpoint, of step 60."""
    model = MeanColor()
    model.compile("sgd")
    model.optimizer.build(model.trainable_variables)
    kept = Checkpoints(folder, keep=2)
    kept.save(60, model, {"note": 1})
    return model, kept


def test_a_change_of_the_header_is_noticed(tmp_path):
    """One bit that makes step 60 step 70."""
    _, kept = _kept(tmp_path)
    content = kept.path(60).read_bytes()
    assert content.count(b'\\"step\\": 60') == 1
    kept.path(60).write_bytes(content.replace(b'\\"step\\": 60', b'\\"step\\": 70'))
    with pytest.raises(CheckpointError, match=r"damaged \(its metadata is not what was written\)"):
        read_checkpoint(kept.path(60))


@pytest.mark.parametrize("seed", range(4))
def test_no_changed_byte_is_read_as_another_state(tmp_path, seed: int):
    _, kept = _kept(tmp_path)
    content, rng = kept.path(60).read_bytes(), np.random.default_rng(seed)
    metadata, state = read_checkpoint(kept.path(60))
    for place in rng.integers(0, len(content), 150).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        kept.path(60).write_bytes(changed)
        try:
            result, arrays = read_checkpoint(kept.path(60))
        except CheckpointError as error:
            assert str(error).startswith(f"{kept.path(60)}: ")  # noqa: PT017
            continue
        assert result == metadata
        assert {name: value.tobytes() for name, value in arrays.items()} == {
            name: value.tobytes() for name, value in state.items()
        }


@pytest.mark.parametrize("field, value", [("step", "60"), ("crc32", [1]), ("best_step", 1.5), ("step", None)])
def test_fields_of_the_wrong_type_are_damage(tmp_path, field: str, value: object):
    _, kept = _kept(tmp_path)
    with safetensors.safe_open(kept.path(60), "numpy") as file:
        metadata = json.loads(file.metadata()["mrcnn"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = json.dumps({**metadata, field: value})
    safetensors.numpy.save_file(state, kept.path(60), metadata={"mrcnn": text})
    with pytest.raises(CheckpointError, match=rf"damaged \({field} of its metadata is "):
        read_checkpoint(kept.path(60))


def test_checkpoints_of_before_the_header_was_summed_still_load(tmp_path):
    _, kept = _kept(tmp_path)
    _, state = read_checkpoint(kept.path(60))
    sums = {name: zlib.crc32(value.tobytes()) if value.size else 0 for name, value in state.items()}
    text = json.dumps({"format": "mrcnn-run/1", "step": 60, "best_step": None, "crc32": sums})
    safetensors.numpy.save_file(state, kept.path(60), metadata={"mrcnn": text})
    assert read_checkpoint(kept.path(60))[0]["step"] == 60


def test_damaged_checkpoints_are_set_aside_and_only_whole_ones_are_counted(tmp_path, caplog):
    model, kept = _kept(tmp_path)
    for step in (70, 80, 90):
        kept.save(step, model, {})
    assert kept.steps() == [90, 80]
    for step in (90, 80):
        kept.path(step).write_bytes(b"x")
    kept.save(75, model, {"note": 75}, is_best=True)  # by hand: a step between
    kept.path(75).with_name("step_00000090.safetensors.damaged").write_bytes(b"older")
    again = Checkpoints(tmp_path, keep=2)
    assert again.newest()[0]["note"] == 75
    names = {path.name for path in kept.folder.iterdir()}
    assert names == {
        "step_00000075.safetensors",
        "step_00000080.safetensors.damaged",
        "step_00000090.safetensors.damaged",
        "step_00000090.safetensors.damaged1",
    }
    assert again.damaged() == [90, 90, 80]
    assert len([m for m in caplog.messages if "it is set aside as" in m]) == 2
    again.save(76, model, {})
    again.save(77, model, {})
    assert again.steps() == [77, 76, 75]  # 75 is the best


def test_a_machine_that_does_not_write_sets_nothing_aside(tmp_path, caplog):
    model, kept = _kept(tmp_path)
    kept.save(70, model, {})
    kept.path(70).write_bytes(b"x")
    other = Checkpoints(tmp_path, writes=False)
    assert other.newest()[0]["step"] == 60
    assert other.steps() == [70, 60]
    assert "trying the checkpoint before" in caplog.text
    other.clear()
    assert other.steps() == [70, 60]
    kept.clear()
    assert other.steps() == []


def _compiled(seed: int) -> UnnamedModel:
    model = UnnamedModel()
    model.compile(optimizer=keras.optimizers.SGD(momentum=0.9), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(seed)
    for variable in (*model.variables, *model.optimizer.variables[2:]):
        variable.assign(rng.normal(size=variable.shape))
    return model


def test_layers_without_names_are_restored_where_others_were_built_before():
    """Keras counts unnamed layers and variables over everything a process builds."""
    first, second = _compiled(1), _compiled(2)
    state = read_state(first)
    assert list(state) == list(run_variables(second))
    restore(second, state, "x")
    for ours, theirs in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_state_with_the_numbers_of_an_earlier_version_is_restored():
    first, second = _compiled(1), _compiled(2)
    means = [variable for metric in first.metrics for variable in metric.variables]
    kinds = (("model", first.variables), ("optimizer", first.optimizer.variables), ("mean", means))
    state = {f"{kind}/{i:05d}/{v.name}": v.numpy() for kind, many in kinds for i, v in enumerate(many)}
    assert set(state) != set(run_variables(second))
    restore(second, state, "x")
    for ours, theirs in zip(first.optimizer.variables, second.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
