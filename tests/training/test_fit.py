from __future__ import annotations

import csv
import dataclasses
import re

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn import recipes
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.errors import InputError
from mrcnn.recipes import Recipe
from mrcnn.training.fit import train
from mrcnn.weights.checkpoint import load_model, read_checkpoint
from mrcnn.weights.report import named_variables
from tests.mean_color import MeanColor, write_set
from tests.tiny_model import tiny_model

TERMS = {"rpn_objectness", "rpn_box", "roi_class", "roi_box", "roi_mask"}


def _recipe(**changes) -> Recipe:
    """8 images of 96 pixels in batches of 2."""
    base = {
        "model.input.short_side": 96,
        "model.input.long_side": 96,
        "data.mask_side": 28,
        "data.max_instances": 4,
        "train.images": 8,
        "train.batch_size": 2,
        "train.learning_rate": 0.008,
        "train.warmup_images": 0,
        "train.train_layers": "all",
    }
    return Recipe().override(base | {key.replace("__", "."): value for key, value in changes.items()})


class Steps(keras.callbacks.Callback):
    """Counts finished steps."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs of two steps of a real, small model."""
    folder = tmp_path_factory.mktemp("run")
    data = write_set(folder / "images")
    model = tiny_model()
    recipe = _recipe(train__train_layers="heads", train__milestones=[0.5])
    before = {name: variable.numpy() for name, variable in named_variables(model).items()}
    history = train(model, data, data, recipe=recipe, out=folder / "new" / "run", progress=False)
    return model, recipe, before, history.history, folder / "new" / "run"


def test_a_run_leaves_its_files_and_nothing_half_written(run):
    _, _, _, _, folder = run
    names = {path.name for path in folder.iterdir()}
    files = {"recipe.yaml", "model.safetensors", "best.safetensors", "history.csv", "curves.png"}
    assert names == files | {"checkpoints", "events", "run.json"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        f"step_{step:08d}.safetensors" for step in (2, 4)
    }


def test_the_recipe_kept_is_that_of_the_model_trained(run):
    model, recipe, _, _, folder = run
    kept = recipes.load(folder / "recipe.yaml")
    assert kept == dataclasses.replace(recipe, model=model.config)
    metadata, _ = read_checkpoint(folder / "model.safetensors")
    assert Recipe.from_dict(metadata["recipe"]) == kept


def test_the_model_kept_is_the_model_trained(run):
    model, _, _, _, folder = run
    again = load_model(folder)
    assert (again.config, again.class_names, again.category_ids) == (model.config, ("thing", "other"), (3, 8))
    for name, variable in named_variables(again).items():
        np.testing.assert_array_equal(variable.numpy(), named_variables(model)[name].numpy(), err_msg=name)
    assert load_model(folder / "best.safetensors").config == model.config


def test_history_holds_every_loss_term_the_wait_and_the_ap(run):
    _, _, _, history, folder = run
    wanted = {"loss", "data_wait", "learning_rate", "val_box/AP", "val_box/AP50", "val_mask/AP", "val_mask/AP50"}
    assert wanted | TERMS <= set(history)
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for name, values in history.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-6, err_msg=name)
    assert all(0 <= share <= 1 for share in history["data_wait"])
    assert all(0 <= value <= 1 for value in history["val_mask/AP"])
    # peak 0.008 * 2 / 16 = 0.001; divided by ten after half of the four steps
    np.testing.assert_allclose(history["learning_rate"], [1e-4, 1e-4], rtol=1e-5)
    totals = np.sum([history[name] for name in TERMS], axis=0)
    np.testing.assert_allclose(totals, history["loss"], rtol=1e-3)


def test_curves_are_an_image(run):
    image = cv2.imread(str(run[4] / "curves.png"))
    assert min(image.shape[:2]) > 200
    assert image.std() > 5


def test_only_the_chosen_layers_changed(run):
    model, _, before, _, _ = run
    changed = {name for name, v in named_variables(model).items() if (v.numpy() != before[name]).any()}
    assert changed
    assert {name.split("/")[0] for name in changed} == {"fpn", "rpn", "box_head", "mask_head"}


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    data = write_set(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    history = train(MeanColor(), data, recipe=_recipe(), progress=False).history
    assert list((tmp_path / "empty").iterdir()) == []
    assert "val_mask/AP" not in history
    assert {"loss", "data_wait", "learning_rate"} <= set(history)


def test_without_validation_there_is_no_best(tmp_path):
    train(MeanColor(), write_set(tmp_path / "data"), recipe=_recipe(), out=tmp_path / "run", progress=False)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "recipe.yaml",
        "model.safetensors",
        "history.csv",
        "curves.png",
        "checkpoints",
        "events",
        "run.json",
    }


@pytest.mark.parametrize(
    "images, batch_size, epochs, steps",
    [(8, 2, 2, 4), (10, 4, 2, 4), (1, 2, 1, 1), (12, 3, 3, 6), (40, 10, 10, 10)],
)
def test_durations_count_images(tmp_path, images: int, batch_size: int, epochs: int, steps: int):
    """Four images; a step is never split between epochs."""
    counter = Steps()
    recipe = _recipe(train__images=images, train__batch_size=batch_size)
    data = write_set(tmp_path, side=16)
    history = train(MeanColor(), data, recipe=recipe, callbacks=[counter], progress=False)
    assert (len(history.history["loss"]), counter.count) == (epochs, steps)


@pytest.mark.parametrize("epochs, rows, steps", [(3, 3, 6), (0.5, 1, 1), (1.25, 1, 3)])
def test_epochs_go_through_the_training_set(tmp_path, epochs: float, rows: int, steps: int):
    counter = Steps()
    data = write_set(tmp_path / "data", side=16)  # four images
    recipe = _recipe(train__images=1000)
    run = tmp_path / "run"
    history = train(MeanColor(), data, recipe=recipe, out=run, epochs=epochs, callbacks=[counter], progress=False)
    assert (len(history.history["loss"]), counter.count) == (rows, steps)
    assert recipes.load(run / "recipe.yaml").train.images == round(4 * epochs)


@pytest.mark.parametrize("epochs", [0, -1, float("nan")])
def test_epochs_that_are_none_are_refused(tmp_path, epochs: float):
    with pytest.raises(InputError, match=r"^epochs: expected a positive number, got"):
        train(MeanColor(), write_set(tmp_path), recipe=_recipe(), epochs=epochs)


def test_a_seed_decides_the_run(tmp_path):
    data = write_set(tmp_path, num=6, side=16)

    def losses(seed: int) -> list[float]:
        keras.utils.set_random_seed(0)
        recipe = _recipe(train__seed=seed, train__images=12)
        return train(MeanColor(), data, recipe=recipe, progress=False).history["loss"]

    first = losses(1)
    assert losses(1) == first
    assert losses(2) != first


def test_classes_that_do_not_fit_are_refused(tmp_path):
    data = write_set(tmp_path)
    other = MeanColor(["cat", "dog", "hare"])
    message = (
        "train: the model has 3 classes, the training set 2: "
        "class 1 is 'cat' in the model and 'thing' in the training set"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        train(other, data, recipe=_recipe(), out=tmp_path / "run")
    swapped = Dataset()
    swapped.add_class("shapes", 8, "other")
    swapped.add_class("shapes", 3, "thing")
    message = (
        "train: only the order of the 2 classes differs: "
        "class 1 is 'thing' in the model and 'other' in the validation set"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        train(MeanColor(), data, swapped, recipe=_recipe(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_training_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the training set has no images"):
        train(MeanColor(), write_set(tmp_path, num=0), recipe=_recipe())


def _crowds(data: Dataset) -> str:
    for index, record in enumerate(data._records):
        crowds = tuple(dataclasses.replace(a, is_crowd=True) for a in record.annotations)
        data._records[index] = dataclasses.replace(record, annotations=crowds)
    return "nothing to train on: 8 crowd regions, no object"


def _none(data: Dataset) -> str:
    data._records[:] = [dataclasses.replace(record, annotations=()) for record in data._records]
    return "nothing to train on: no object in 4 images"


@pytest.mark.parametrize("spoil", [_crowds, _none])
def test_data_without_anything_to_train_on_are_refused_before_the_first_step(tmp_path, spoil):
    data = write_set(tmp_path / "images", side=16)
    message = spoil(data)
    with pytest.raises(DataError, match=message):
        train(MeanColor(), data, recipe=_recipe(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    some = write_set(tmp_path / "images", side=16)
    train(MeanColor(), some, recipe=_recipe(), progress=False)


def _cut_off(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _text(path):
    path.write_text("<html>not found</html>")


def _other_size(path):
    cv2.imwrite(str(path), np.zeros((40, 50, 3), np.uint8))


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (_cut_off, "the image is damaged or cut off"),
        (_text, "not an image in a known format"),
        (_other_size, "the image is 40 x 50 (height x width), its record says 96 x 96"),
        (lambda path: path.unlink(), "no such image"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
    ],
)
def test_an_unreadable_image_surfaces_in_its_step(tmp_path, spoil, reason: str):
    data = write_set(tmp_path)
    spoil(tmp_path / "image2.png")
    counter = Steps()
    with pytest.raises(DataError) as caught:
        train(MeanColor(), data, recipe=_recipe(train__batch_size=4), callbacks=[counter], progress=False)
    message = str(caught.value)
    assert counter.count == 0  # every batch has the image
    assert message.startswith(f"{tmp_path / 'image2.png'}: ")
    assert reason in message
    assert message.endswith("[image id 102]")
    assert "\n" not in message
    error: BaseException | None = caught.value
    while error is not None:  # what TensorFlow adds are two tracebacks of its own worker threads
        assert not isinstance(error, tf.errors.OpError)
        error = error.__cause__ or error.__context__


def test_steps_before_the_unreadable_image_are_made(tmp_path):
    data = write_set(tmp_path, num=10, side=16)
    _cut_off(tmp_path / "image7.png")
    order = np.random.default_rng([0, 0]).permutation(10).tolist()
    counter = Steps()
    recipe = _recipe(train__images=10, train__batch_size=1)
    with pytest.raises(DataError, match=r"image7\.png.*\[image id 107\]"):
        train(MeanColor(), data, recipe=recipe, callbacks=[counter], progress=False)
    assert counter.count == order.index(7)


def test_an_annotation_that_cannot_be_used_is_named(tmp_path):
    class Broken(Dataset):
        def load_mask(self, index):
            return np.ones((5, 5, 1), bool), np.ones(1, np.int32)

    good, data = write_set(tmp_path), Broken()
    data.__dict__.update(good.__dict__)
    with pytest.raises(DataError, match=r"^image 10\d: load_mask gave masks of shape \(5, 5, 1\), expected \(96, 96"):
        train(MeanColor(), data, recipe=_recipe(), progress=False)


def test_a_bug_in_a_user_s_data_set_names_the_image(tmp_path):
    class Buggy(Dataset):
        def load_image(self, index):
            return {}["color"]

    good, data = write_set(tmp_path), Buggy()
    data.__dict__.update(good.__dict__)
    with pytest.raises(DataError, match=r"^image 10\d \(.*image\d\.png\): KeyError: 'color'$"):
        train(MeanColor(), data, recipe=_recipe(), progress=False)


def test_errors_that_are_not_about_data_pass_as_they_are(tmp_path):
    class Asserting(MeanColor):
        def call(self, batch, training=None):
            with tf.control_dependencies([tf.debugging.assert_less(tf.shape(batch["image"])[0], 0)]):
                return super().call(batch, training)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    data = write_set(tmp_path)
    with pytest.raises(tf.errors.InvalidArgumentError, match="assert"):
        train(Asserting(), data, recipe=_recipe(), progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(MeanColor(), data, recipe=_recipe(), callbacks=[Stop()], progress=False)
