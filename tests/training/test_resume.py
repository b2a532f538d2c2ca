"""A run that was cut short and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import shutil
import signal
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn.modeling.variables import named_variables
from mrcnn.recipes import Recipe
from mrcnn.training import callbacks, checkpoints
from mrcnn.training.checkpoints import CheckpointError, Checkpoints, read_checkpoint, restore
from mrcnn.training.events import Events
from mrcnn.training.fit import train
from tests.mean_color import MeanColor, write_set
from tests.training.drawn import SIDE, small_model, weights

CHANGES = {
    "model.input.short_side": SIDE,
    "model.input.long_side": SIDE,
    "data.mask_side": 14,
    "data.max_instances": 4,
    "data.scale_jitter": [0.6, 1.2],
    "data.crop": [SIDE, SIDE],
    "train.images": 40,
    "train.batch_size": 2,
    "train.optimizer": "adamw",
    "train.learning_rate": 0.01,
    "train.clip_norm": 1.0,
    "train.warmup_images": 8,
    "train.schedule": "cosine",
    "train.weight_average": 0.9,
    "train.train_layers": "heads",
    "train.unfreeze": [[0.3, "all"]],
    "train.keep_checkpoints": 3,
}


def recipe_of(**changes) -> Recipe:
    return Recipe().override(CHANGES | {key.replace("__", "."): value for key, value in changes.items()})


class StopAt(keras.callbacks.Callback):
    """Sends this process a signal after so many steps."""

    def __init__(self, steps: int, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.left, self.number = steps, number

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)


def _same(a: keras.Model, b: keras.Model) -> None:
    one, other = weights(a), weights(b)
    for path, value in one.items():
        np.testing.assert_array_equal(other[path], value, err_msg=path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("images"), num=7, side=SIDE)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """20 steps; 6 epochs of 4 where an epoch is three and a half batches."""
    folder = tmp_path_factory.mktemp("whole")
    model = small_model()
    history = train(model, data, recipe=recipe_of(), out=folder / "run", progress=False)
    return model, history.history, folder / "run"


@pytest.mark.slow
def test_20_steps_are_20_steps_again(data, undisturbed):
    again = small_model()
    train(again, data, recipe=recipe_of(), progress=False)
    _same(undisturbed[0], again)


@pytest.mark.slow
def test_a_run_asked_to_stop_saves_and_resumes_as_if_it_had_not(data, undisturbed, tmp_path, caplog):
    model, history, whole = undisturbed
    with pytest.raises(SystemExit) as left:
        train(
            small_model(seed=0), data, recipe=recipe_of(), out=tmp_path / "run", callbacks=[StopAt(10)], progress=False
        )
    assert left.value.code == 128 + signal.SIGTERM
    assert Checkpoints(tmp_path / "run").steps()[0] == 10  # amid an epoch
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    again = small_model(seed=3)  # its weights come from the checkpoint
    with caplog.at_level(logging.INFO, "mrcnn"):
        resumed = train(again, data, recipe=recipe_of(), out=tmp_path / "run", resume=True, progress=False)
    assert "resuming after step 10 of" in caplog.text
    _same(model, again)
    for name, values in history.items():
        if name not in ("data_wait", "images_per_s"):
            assert resumed.history[name] == values, name
    last = Checkpoints(whole).steps()[0]
    for (_, mine), (_, theirs) in [[Checkpoints(folder).newest() for folder in (tmp_path / "run", whole)]]:
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name], value, err_msg=name)
    assert Checkpoints(tmp_path / "run").steps()[0] == last
    rows = [(folder / "history.csv").read_text().count("\n") for folder in (tmp_path / "run", whole)]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_alternating_training_resumes_in_its_step(data, tmp_path):
    """Ref: Faster R-CNN, section 3.2; two of its four steps, stopped after the first."""
    phases = {"train__train_layers": "rpn_only", "train__unfreeze": [[0.5, "detector_only"]]}
    recipe = recipe_of(train__images=4, train__weight_average=0.0, **phases)
    model, first = small_model(), small_model()
    train(model, data, recipe=recipe, progress=False)
    with pytest.raises(SystemExit):
        train(first, data, recipe=recipe, out=tmp_path / "run", callbacks=[StopAt(1)], progress=False)
    again = small_model(seed=3)
    train(again, data, recipe=recipe, out=tmp_path / "run", resume=True, progress=False)
    _same(model, again)
    differs = {
        path.split("/")[0]
        for path, variable in named_variables(again).items()
        if not np.array_equal(variable, named_variables(first)[path])
    }
    assert differs == {"box_head", "mask_head"}


def _color_run(folder: Path, steps: int | None = None, **kwargs):
    """A cheap run of 10 steps, 2 an epoch; stopped after `steps`."""
    data = write_set(folder / "images", side=16)
    config = {"train__images": 20, "train__unfreeze": [], "train__train_layers": "all", "data__crop": None}
    keras.utils.set_random_seed(1)
    model = MeanColor()
    calls = [] if steps is None else [StopAt(steps, kwargs.pop("number", signal.SIGTERM))]
    changes = kwargs.pop("changes", {})
    recipe = recipe_of(**(config | changes))
    train(model, data, recipe=recipe, out=folder / "run", callbacks=calls, progress=False, **kwargs)
    return model


def test_ctrl_c_saves_too(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _color_run(tmp_path, 3, number=signal.SIGINT)
    assert Checkpoints(tmp_path / "run").steps()[0] == 3
    _color_run(tmp_path / "other")
    _same(_color_run(tmp_path, resume=True), _color_run(tmp_path / "again"))


def test_a_run_of_an_earlier_version_is_resumed(tmp_path, monkeypatch):
    """One whose stored recipe has the size of images in its data config."""
    to_dict = Recipe.to_dict

    def earlier(recipe):
        plain = to_dict(recipe)
        size = plain["model"]["input"]
        plain["data"] |= {"short_sides": [size["short_side"]], "long_side": size["long_side"], "divisor": 32}
        del plain["data"]["augmentations"]
        return plain

    with monkeypatch.context() as version:
        version.setattr(Recipe, "to_dict", earlier)
        with pytest.raises(SystemExit):
            _color_run(tmp_path, 3)
    assert Checkpoints(tmp_path / "run").newest()[0]["recipe"]["data"]["short_sides"] == [96]
    _same(_color_run(tmp_path, resume=True), _color_run(tmp_path / "again"))


def _measured_run(folder: Path, monkeypatch, stop_at: int = 0, **changes) -> dict:
    """A cheap run whose evaluation says the bias of the head, and is asked to stop during the `stop_at`-th."""
    calls = []

    def evaluate(model, dataset, *, batch_size, **_):
        calls.append(None)
        if len(calls) == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return types.SimpleNamespace(numbers={"mask/AP": float(model.head.bias.numpy()[0])})

    monkeypatch.setattr(callbacks, "evaluate", evaluate)
    monkeypatch.setattr(Events, "_matches", lambda *_: None)  # MeanColor finds nothing to draw
    monkeypatch.setattr(Events, "_images", lambda *_: None)
    data = write_set(folder / "images", side=16)
    keras.utils.set_random_seed(1)
    config = {"train__images": 20, "train__unfreeze": [], "train__train_layers": "all", "data__crop": None}
    recipe = recipe_of(**(config | changes))
    history = train(MeanColor(), data, data, recipe=recipe, out=folder / "run", resume=True, progress=False).history
    return {name: values for name, values in history.items() if name not in ("data_wait", "images_per_s")}


def test_an_evaluation_cut_short_is_made_again(tmp_path, monkeypatch):
    whole = _measured_run(tmp_path / "whole", monkeypatch)
    assert len(set(whole["val_mask/AP"])) == 5
    with pytest.raises(SystemExit):
        _measured_run(tmp_path, monkeypatch, stop_at=3)
    metadata, _ = Checkpoints(tmp_path / "run").newest()
    assert (metadata["step"], metadata["epochs_done"]) == (6, 2)  # what was trained before it is kept
    assert _measured_run(tmp_path, monkeypatch) == whole


def test_a_run_stopped_early_stays_so_until_it_may_go_on(tmp_path, monkeypatch):
    early = {"train__stop_after": 1, "train__best_by": "epoch"}  # a number that is never there
    assert len(_measured_run(tmp_path / "never", monkeypatch, **early)["loss"]) == 5
    early = {"train__stop_after": 1, "train__best_by": "-learning_rate", "train__schedule": "constant"}
    short = _measured_run(tmp_path, monkeypatch, **early)
    assert len(short["loss"]) < 5
    assert _measured_run(tmp_path, monkeypatch, **early) == short
    assert len(_measured_run(tmp_path, monkeypatch, **(early | {"train__stop_after": 0}))["loss"]) == 5


def test_checkpoints_amid_an_epoch(tmp_path):
    _color_run(tmp_path, changes={"train__checkpoint_images": 2, "train__keep_checkpoints": 100})
    assert Checkpoints(tmp_path / "run").steps() == list(range(10, 0, -1))


def test_a_run_is_not_started_over_by_accident(tmp_path):
    _color_run(tmp_path)
    with pytest.raises(ValueError, match="holds a run of 10 steps; resume it, or overwrite it"):
        _color_run(tmp_path)
    _color_run(tmp_path, overwrite=True)
    assert _color_run(tmp_path, resume=True) is not None  # nothing left to do


def test_another_run_is_not_resumed(tmp_path):
    with pytest.raises(SystemExit):
        _color_run(tmp_path, 3)
    with pytest.raises(CheckpointError, match=r"cannot resume: these fields differ .*: train\.learning_rate$"):
        _color_run(tmp_path, resume=True, changes={"train__learning_rate": 0.5})
    with pytest.raises(CheckpointError, match=r"train\.batch_size, images per step \(2, now 4\)"):
        _color_run(tmp_path, resume=True, changes={"train__batch_size": 4})
    _color_run(tmp_path, resume=True, changes={"train__keep_checkpoints": 1, "train__on_nonfinite": "skip"})


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "text"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog, damage: str):
    whole = _color_run(tmp_path / "whole")
    with pytest.raises(SystemExit):
        _color_run(tmp_path, 7)
    kept = Checkpoints(tmp_path / "run")
    assert kept.steps() == [7, 6, 4]
    content = bytearray(kept.path(7).read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "bit":
        content[-3] ^= 16
    else:
        content = b"" if damage == "empty" else b"<html>not found</html>"
    kept.path(7).write_bytes(content)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        _same(_color_run(tmp_path, resume=True), whole)
    assert f"{kept.path(7)}: the checkpoint is damaged" in caplog.text
    assert f"it is set aside as {kept.path(7).name}.damaged" in caplog.text
    assert (kept.folder / f"{kept.path(7).name}.damaged").read_bytes() == bytes(content)
    assert kept.steps() == [10, 8, 6]  # whole ones; the damaged one is not counted


@pytest.mark.parametrize("keep", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_where_all_checkpoints_are_damaged_the_run_starts_anew_and_says_so(tmp_path, caplog, keep: int):
    """Once: what it writes then is kept, though the damaged ones are of later steps."""
    changes = {"train__keep_checkpoints": keep, "train__images": 40}
    with pytest.raises(SystemExit):
        _color_run(tmp_path, 15, changes=changes)
    kept = Checkpoints(tmp_path / "run")
    lost = kept.steps()
    for step in lost:
        kept.path(step).write_bytes(kept.path(step).read_bytes()[:-40])
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with caplog.at_level(logging.WARNING, "mrcnn"), pytest.raises(SystemExit):
        _color_run(tmp_path, 5, changes=changes, resume=True)
    assert f"the run starts anew at step 0, and its {lost[0]} steps are lost" in caplog.text
    assert kept.steps()[0] == 5
    assert kept.damaged() == lost
    assert (tmp_path / "run" / f"model_before_step_{lost[0]:08d}.safetensors").read_bytes() == before
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        resumed = _color_run(tmp_path, changes=changes, resume=True)
    assert not [m for m in caplog.messages if "damaged" in m or "anew" in m]
    _same(resumed, _color_run(tmp_path / "again", changes=changes))
    assert kept.steps()[0] == 20
    assert len(kept.steps()) == keep


@pytest.mark.parametrize("classes", [["other", "thing"], ["thing", "another"], ["thing"]])
def test_other_classes_are_not_resumed(tmp_path, classes: list[str]):
    with pytest.raises(SystemExit):
        _color_run(tmp_path, 3)
    data = write_set(tmp_path / "images", side=16)
    data._classes = [("shapes", number, name) for number, name in enumerate(classes, start=1)]
    recipe = recipe_of(train__images=20, train__unfreeze=[], train__train_layers="all", data__crop=None)
    with pytest.raises(CheckpointError, match=r"cannot resume: .*class.* in the run"):
        train(MeanColor(classes), data, recipe=recipe, out=tmp_path / "run", resume=True, progress=False)


def test_other_data_of_the_same_length_are_not_resumed(tmp_path):
    with pytest.raises(SystemExit):
        _color_run(tmp_path, 3)
    data = write_set(tmp_path / "images", side=16)
    data._records[1] = dataclasses.replace(data._records[1], annotations=data._records[1].annotations[:1])
    recipe = recipe_of(train__images=20, train__unfreeze=[], train__train_layers="all", data__crop=None)
    with pytest.raises(CheckpointError, match=r"cannot resume: the training set is another one"):
        train(MeanColor(), data, recipe=recipe, out=tmp_path / "run", resume=True, progress=False)


def test_a_full_disk_is_reported_and_training_goes_on(tmp_path, monkeypatch, caplog):
    def full(state, path, metadata=None):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.safetensors.numpy, "save_file", full)
    with caplog.at_level(logging.ERROR, "mrcnn"):
        _color_run(tmp_path)
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


def test_last_and_best_are_kept(tmp_path):
    model = MeanColor()
    model.compile("sgd")
    model.optimizer.build(model.trainable_variables)
    kept = Checkpoints(tmp_path, keep=2)
    for step in range(1, 7):
        kept.save(step, model, {"note": step}, is_best=step == 2)
    assert kept.steps() == [6, 5, 2]
    (kept.folder / ".step_00000009.1.ab.part.safetensors").write_bytes(b"half")
    again = Checkpoints(tmp_path, keep=2)
    assert len(list(kept.folder.iterdir())) == 3
    assert again.newest()[0]["note"] == 6
    again.save(7, model, {})
    again.save(8, model, {})
    assert again.steps() == [8, 7, 2]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    model, other = MeanColor(), MeanColor(["a", "b", "c"])
    for one in (model, other):
        one.compile("sgd")
        one.optimizer.build(one.trainable_variables)
    other.head = keras.layers.Dense(5)
    other.head.build((None, 3))
    kept = Checkpoints(tmp_path)
    kept.save(1, model, {})
    with pytest.raises(CheckpointError, match="another model or optimizer, expected"):
        restore(other, kept.newest()[1], "step 1")
    (tmp_path / "x.safetensors").write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"x\.safetensors: the checkpoint is damaged"):
        read_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.slow
def test_killed_at_twenty_moments_and_resumed_each_time(tmp_path):
    """kill -9 at random moments and, every fourth time, as a checkpoint is being written; one is after every step."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.training.drill"])
    whole = tmp_path / "whole"
    undisturbed = _start(forks, whole)
    with ThreadPoolExecutor(2) as two:  # two runs at a time, killed ten times each
        torn = sum(two.map(lambda number: _chain(forks, tmp_path / f"killed{number}", whole, 10, number), range(2)))
    undisturbed.join(600)
    _expect_end(tmp_path / "killed0", whole)
    _expect_end(tmp_path / "killed1", whole)
    assert torn >= 1  # else no kill came while a file was half written


def _start(forks, folder: Path) -> multiprocessing.Process:
    process = forks.Process(target=_drill, args=(str(folder),))
    process.start()
    return process


def _drill(folder: str) -> None:
    from tests.training import drill

    drill.run(folder)


def _chain(forks, folder: Path, whole: Path, kills: int, seed: int) -> int:
    """A run killed and resumed so many times, then left to end; returns how often a half-written file was left."""
    rng, kept, seen, torn = np.random.default_rng(seed), Checkpoints(folder / "run", writes=False), -1, 0
    for kill in range(kills):
        process = _start(forks, folder)
        while process.is_alive() and (kept.steps() or [-1])[0] <= seen:  # it must get somewhere
            process.join(0.05)
        if kill % 4 == 3:
            while process.is_alive() and not _half_written(kept.folder):
                pass
        else:
            process.join(float(rng.uniform(0, 0.5)))
        process.kill()
        process.join()
        torn += _half_written(kept.folder)
        seen = (kept.steps() or [-1])[0]
        if (folder / "end.npz").exists():  # the run came to its end: the next kill disturbs a fresh one
            shutil.move(folder, folder.with_name(f"{folder.name}_{kill}"))
            seen = -1
    last = _start(forks, folder)
    last.join(600)
    return torn


def _half_written(folder: Path) -> bool:
    return folder.is_dir() and any(".part" in name for name in os.listdir(folder))


def _expect_end(folder: Path, whole: Path) -> None:
    """The run in a folder, and those before it that came to their end between two kills, ended as the undisturbed."""
    ends = sorted(folder.parent.glob(f"{folder.name}*/end.npz"))
    assert folder / "end.npz" in ends
    for end in ends:
        with np.load(end) as mine, np.load(whole / "end.npz") as theirs:
            assert set(mine.files) == set(theirs.files)
            for name in theirs.files:
                np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
