from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.mask_rcnn import RPN_LOSSES, MaskRCNN
from mrcnn.training.freezing import set_trainable
from mrcnn.training.schedules import SGDWithL2
from mrcnn.weights.report import named_variables
from tests.tiny_model import tiny_model

NORM_STATISTICS = ("moving_mean", "moving_variance", "gamma", "beta")


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    return tiny_model()


def _stage(path: str) -> int:
    """The backbone stage of a path; 6 for all that is not backbone."""
    if not path.startswith("backbone/"):
        return 6
    name = path.split("/")[1]
    return 1 if name.startswith("stem_") else int(name.removeprefix("stage")[0])


def _changed_by_a_step(model: MaskRCNN) -> set[str]:
    """Paths of the weights that differ after one optimizer step with a gradient of 1 on all that train."""
    named = named_variables(model)
    before = {path: v.numpy() for path, v in named.items()}
    variables = model.trainable_variables
    SGDWithL2(0.5, l2=0.1).apply([tf.ones(v.shape) for v in variables], variables)
    changed = {path for path, v in named.items() if (v.numpy() != before[path]).any()}
    for path, variable in named.items():
        variable.assign(before[path])
    return changed


def _could_train(model: MaskRCNN) -> set[str]:
    """Everything but the frozen batch norm of the backbone."""
    return {p for p in named_variables(model) if not (p.startswith("backbone/") and p.endswith(NORM_STATISTICS))}


@pytest.mark.parametrize(
    "which, first_stage",
    [("heads", 6), ("5+", 5), ("4+", 4), ("3+", 3), ("2+", 2), ("all", 1), ("all_but_frozen", 1)],
)
def test_exactly_the_named_weights_change(model: MaskRCNN, which: str, first_stage: int):
    expected = {p for p in _could_train(model) if _stage(p) >= first_stage}
    assert {_stage(p) for p in expected} == set(range(first_stage, 7))
    returned = set_trainable(model, which)
    assert len(returned) == len(set(returned))
    assert set(returned) == expected
    assert _changed_by_a_step(model) == expected


def test_a_predicate_picks_weights_by_path_and_is_undone_by_the_next_choice(model: MaskRCNN):
    wanted = {p for p in _could_train(model) if p.startswith("rpn/") or p.endswith("stage3_block1_project/kernel")}
    assert set(set_trainable(model, lambda path: path in wanted)) == wanted
    assert _changed_by_a_step(model) == wanted
    others = {p for p in _could_train(model) if p.startswith("mask_head/")}
    assert set(set_trainable(model, lambda path: path.startswith("mask_head/"))) == others
    assert set(set_trainable(model, "all")) == _could_train(model)


def _batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (1, 96, 96, 3)).astype(np.uint8),
        "image_id": np.array([1], np.int64),
        "original_shape": np.array([[96, 96]], np.int32),
        "content_shape": np.array([[96, 96]], np.int32),
        "gt_boxes": np.array([[[10, 12, 60, 70]]], np.float32),
        "gt_class_ids": np.array([[1]], np.int32),
        "gt_masks": np.ones((1, 1, 28, 28), np.uint8),
        "gt_crowd": np.zeros((1, 1), bool),
        "gt_valid": np.ones((1, 1), bool),
        "seed": np.array([[1, 2]], np.int32),
    }


def test_a_real_training_step_leaves_frozen_weights_alone(model: MaskRCNN):
    batch = _batch()
    saved = model.get_weights()
    expected = set(set_trainable(model, "5+"))
    model.compile(SGDWithL2(1e-3, momentum=0.9, l2=0.1), run_eagerly=True)
    named = named_variables(model)
    before = {path: v.numpy() for path, v in named.items()}
    losses = model.train_on_batch(batch, return_dict=True)
    assert np.isfinite(list(losses.values())).all()
    changed = {path for path, v in named.items() if (v.numpy() != before[path]).any()}
    model.set_weights(saved)
    assert changed <= expected
    # What is left of the difference are biases of 0 that no gradient reached: levels of the pyramid without a RoI.
    assert not {p for p in expected - changed if p.endswith("kernel")}


HEADS = ("box_head", "mask_head")
HEAD_LOSSES = ("roi_class", "roi_box", "roi_mask")


@pytest.mark.parametrize(
    "which, parts, losses",
    [
        ("rpn", ("backbone", "fpn", "rpn"), RPN_LOSSES),
        pytest.param("detector", ("backbone", "fpn", *HEADS), HEAD_LOSSES, marks=pytest.mark.slow),
        pytest.param("rpn_only", ("rpn",), RPN_LOSSES, marks=pytest.mark.slow),
        ("detector_only", HEADS, HEAD_LOSSES),
    ],
)
def test_a_step_of_alternating_training(model: MaskRCNN, which: str, parts: tuple[str, ...], losses: tuple[str, ...]):
    """Ref: Faster R-CNN, section 3.2. What changes does so by the gradient of its own losses alone."""
    batch, saved, rate = _batch(), model.get_weights(), 1e-3
    expected = {p for p in _could_train(model) if p.startswith(tuple(f"{part}/" for part in parts))}
    assert set(set_trainable(model, which)) == expected
    variables = list(model.trainable_variables)
    model.compile(SGDWithL2(rate), run_eagerly=True)
    with tf.GradientTape() as tape:
        terms = model(batch, training=True)
        loss = tf.add_n([terms[name] for name in losses])
    gradients = tape.gradient(loss, [v.value for v in variables])
    named = named_variables(model)
    before = {path: v.numpy() for path, v in named.items()}
    logs = model.train_on_batch(batch, return_dict=True)
    assert logs["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert set(logs) == {"loss", *model.loss_names}  # those that do not train are reported, too
    changed = {path for path, v in named.items() if (v.numpy() != before[path]).any()}
    paths = {id(v): path for path, v in named.items()}
    for variable, gradient in zip(variables, gradients, strict=True):
        step = before[paths[id(variable)]] - variable.numpy()
        reached = np.zeros_like(step) if gradient is None else rate * np.asarray(tf.convert_to_tensor(gradient))
        np.testing.assert_allclose(step, reached, atol=1e-5 * max(1.0, np.abs(reached).max()))
    model.set_weights(saved)
    assert changed <= expected and {p.split("/")[0] for p in changed} == set(parts)
    assert set(set_trainable(model, "all")) == _could_train(model)
    assert model.trained_losses is None


def test_alternating_training_leaves_fixed_what_the_user_fixed(model: MaskRCNN):
    model.heads[0].trainable = False
    set_trainable(model, "rpn")
    paths = set_trainable(model, "detector_only")
    assert {path.split("/")[0] for path in paths} == {"box_head"}
    assert not model.heads[0].trainable and model.box_head.trainable
    model.heads[0].trainable = True
    set_trainable(model, "all")


def test_stages_that_the_backbone_freezes():
    model = tiny_model()
    model.config = model.config.override({"backbone.freeze_at": 2})
    expected = {p for p in _could_train(model) if _stage(p) >= 3}
    assert set(set_trainable(model, "all_but_frozen")) == expected


@pytest.mark.parametrize("which", ["head", "1+", "6+", "", "4 +"])
def test_an_unknown_name_is_refused(model: MaskRCNN, which: str):
    with pytest.raises(ValueError, match=r"expected heads, 2\+, .*, all or all_but_frozen, or .*detector_only, got"):
        set_trainable(model, which)


def test_a_choice_that_leaves_nothing_is_refused_and_can_be_mended(model: MaskRCNN):
    with pytest.raises(ValueError, match="no weight would train"):
        set_trainable(model, lambda path: False)
    assert set(set_trainable(model, "all")) == _could_train(model)


def test_stages_of_layers_with_other_names_are_frozen_or_refused(model: MaskRCNN, monkeypatch: pytest.MonkeyPatch):
    """The layers are those of a backbone that names them otherwise, as far as its config knows."""
    set_trainable(model, "all")
    kind = type(model.config.backbone)
    monkeypatch.setattr(kind, "stage_of", lambda self, name: None)
    with pytest.raises(ValueError, match="stages up to 2 cannot be frozen, no stage is known"):
        set_trainable(model, "3+")
    assert {layer.trainable for layer in model.backbone.layers} == {True}  # nothing has changed
    heads = {path for path in _could_train(model) if not path.startswith("backbone/")}
    assert set(set_trainable(model, "heads")) == heads  # needs no stages
    assert set(set_trainable(model, "all")) == _could_train(model)
    monkeypatch.setattr(kind, "stage_of", lambda self, name: 2 if "block1" in name else 4)
    expected = {path for path in _could_train(model) if "block1" not in path.split("/")[1] or "backbone" not in path}
    assert set(set_trainable(model, "3+")) == expected
