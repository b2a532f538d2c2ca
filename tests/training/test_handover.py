"""When a run may be resumed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from mrcnn.recipes import Recipe
from mrcnn.training.checkpoints import CheckpointError
from mrcnn.training.handover import check_same_run
from mrcnn.training.plan import make_plan
from mrcnn.training.run import Position, Run

FIELDS = "these fields differ from the run's recipe"


def _run(recipe: Recipe, classes: tuple[str, ...] = ("cat", "dog")) -> Run:
    plan = make_plan(recipe.train, 4, 1)
    model = SimpleNamespace(class_names=classes)
    data = type("Data", (), {"__len__": lambda self: 4, "path": "new.json"})()
    return Run(model, [], recipe, plan, tf.distribute.get_strategy(), data, None, Path("RUN"))


def _metadata(**changes: Any) -> dict[str, Any]:
    recipe = Recipe()
    stored = {"recipe": recipe.to_dict(), "batch": 2, "images": 4, "data_digest": "d", "class_names": ["cat", "dog"]}
    return stored | changes


def test_the_same_run_and_what_does_not_touch_what_is_trained_pass() -> None:
    check_same_run(_metadata(), _run(Recipe()), "d", "X")
    check_same_run(_metadata(), _run(Recipe().override({"train.keep_checkpoints": 9})), "d", "X")
    old = {key: value for key, value in _metadata().items() if key not in ("data_digest", "class_names")}
    check_same_run(old, _run(Recipe()), "d", "X")  # of an earlier version


@pytest.mark.parametrize(
    "metadata, changes, classes, message",
    [
        (
            {},
            {"train.learning_rate": 0.5},
            ("cat", "dog"),
            f"{FIELDS}: train.learning_rate",
        ),
        (
            {"batch": 16, "images": 9},
            {},
            ("cat", "dog"),
            f"{FIELDS}: images per step (16, now 2), images in the training set (9, now 4)",
        ),
        (
            {},
            {},
            ("dog", "cat"),
            "only the order of the 2 classes differs: class 1 is 'cat' in the run and 'dog' in this model",
        ),
        (
            {"data_digest": "e"},
            {},
            ("cat", "dog"),
            "the training set is another one (ids, sizes, classes or boxes differ from those that the run was started "
            "with); train on new.json in another folder",
        ),
    ],
    ids=["recipe", "numbers", "classes", "data"],
)
def test_another_run_is_refused_with_what_differs(metadata, changes, classes, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_same_run(_metadata(**metadata), _run(Recipe().override(changes), classes), "d", "RUN/x.safetensors")
    assert str(caught.value) == f"RUN/x.safetensors: cannot resume: {message}"


def test_a_run_begins_at_its_beginning() -> None:
    assert (Position().step, Position().epochs_done) == (0, 0)
