"""The semantic branch and its loss against loops, and what its config refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.errors import InputError
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.padding import trim_ground_truth
from mrcnn.modeling.semantic_head import SemanticHead, SemanticHeadConfig, enlarge
from mrcnn.structures.panoptic import IGNORED
from mrcnn.structures.tensors import SEMANTIC_KEY, SEMANTIC_LOGITS
from tests.ground_truth import batch_of
from tests.reference import semantic
from tests.tiny_model import noise_images, tiny_config

STRIDES = {"p2": 4, "p3": 8, "p4": 16}
RNG = np.random.default_rng(0)
CONFIG = SemanticHeadConfig(levels=tuple(STRIDES), channels=4)


def make(config: SemanticHeadConfig = CONFIG, num_stuff: int = 2) -> SemanticHead:
    head = config.build(num_stuff, 3, STRIDES, name="semantic_head")
    for variable in head.trainable_variables:
        variable.assign(RNG.normal(0, 0.7, variable.shape))
    return head


def features(height: int = 8, width: int = 12, batch: int = 1) -> dict[str, np.ndarray]:
    sides = {level: (-(-height * 4 // s), -(-width * 4 // s)) for level, s in STRIDES.items()}
    return {level: RNG.normal(size=(batch, *side, 3)).astype(np.float32) for level, side in sides.items()}


def by_loops(head: SemanticHead, maps: dict[str, np.ndarray]) -> np.ndarray:
    """[h, w, S + 1] of the first image."""
    total = 0
    height, width = maps["p2"].shape[1:3]
    for level, convs in head.branches.items():
        weights = [
            (np.asarray(c.kernel).transpose(3, 2, 0, 1), np.asarray(c.norm.gamma), np.asarray(c.norm.beta))
            for c in convs
        ]
        image = maps[level][0].transpose(2, 0, 1)
        made = semantic.branch(image, weights, level != "p2", 4, CONFIG.epsilon)
        total = total + made[:, :height, :width]
    kernel, bias = np.asarray(head.predictor.kernel)[0, 0], np.asarray(head.predictor.bias)
    return total.transpose(1, 2, 0) @ kernel + bias


@pytest.mark.parametrize("sides", [(8, 12), (5, 7)], ids=["even", "odd"])
def test_logits_are_those_of_the_loops(sides: tuple[int, int]) -> None:
    head, maps = make(), features(*sides)
    logits = head(maps)
    assert logits.dtype == tf.float32 and logits.shape == (1, *sides, 3)
    np.testing.assert_allclose(logits[0], by_loops(head, maps), rtol=1e-4, atol=1e-4)
    assert [len(convs) for convs in head.branches.values()] == [1, 1, 2]


def test_enlarging_is_bilinear_between_centers() -> None:
    image = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    for factor in (2, 4):
        expected = semantic.enlarge(image[1].transpose(2, 0, 1), factor).transpose(1, 2, 0)
        np.testing.assert_allclose(enlarge(tf.constant(image), factor)[1], expected, rtol=1e-5, atol=1e-5)


def test_loss_counts_labeled_pixels_only() -> None:
    head = make()
    logits = RNG.normal(size=(2, 3, 4, 3)).astype(np.float32)
    targets = RNG.integers(0, 3, (2, 11, 16)).astype(np.uint8)  # a row fewer than the logits enlarged
    targets[RNG.random(targets.shape) < 0.4] = IGNORED
    term = head.loss(tf.constant(logits), tf.constant(targets))
    parts = [
        semantic.cross_entropy(semantic.enlarge(image.transpose(2, 0, 1), 4)[:, :11], target, IGNORED)
        for image, target in zip(logits, targets, strict=True)
    ]
    total, number = (sum(values) for values in zip(*parts, strict=True))
    assert term.count == number
    np.testing.assert_allclose(term.total, head.config.loss_weight * total, rtol=1e-5)
    nothing = head.loss(tf.constant(logits), tf.fill([2, 12, 16], tf.constant(IGNORED, tf.uint8)))
    assert nothing.total == 0 and nothing.count == 0


def test_gradients_are_those_of_differences() -> None:
    head, maps = make(), features(2, 3)
    targets = tf.constant(RNG.integers(0, 3, (1, 8, 12)), tf.uint8)
    variables = head.trainable_variables
    with tf.GradientTape() as tape:
        loss = head.loss(head(maps), targets).mean()
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        gradient = np.asarray(gradient)
        place, before = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape), variable.numpy()
        moved = []
        for step in (0.01, -0.01):
            values = before.copy()
            values[place] += step
            variable.assign(values)
            moved.append(float(head.loss(head(maps), targets).mean()))
        variable.assign(before)
        assert (moved[0] - moved[1]) / 0.02 == pytest.approx(float(gradient[place]), rel=0.05, abs=1e-4), variable.path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": ("p2", "p7")}, "semantic_head.levels: no level 'p7'; there are p2, p3, p4"),
        ({"common_stride": 8}, r"semantic_head.common_stride: 8, expected .* semantic_head.levels 'p2', 4"),
        ({"common_stride": 3}, "semantic_head.common_stride: 3"),
    ],
)
def test_levels_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(dataclasses.replace(CONFIG, **changes))


def test_a_finer_common_stride() -> None:
    head = make(SemanticHeadConfig(levels=("p3", "p4"), channels=4, norm="none"))
    assert [len(convs) for convs in head.branches.values()] == [1, 2]
    maps = {level: value for level, value in features().items() if level != "p2"}
    assert head(maps).shape == (1, 8, 12, 3)
    assert head.compute_output_shape({k: v.shape for k, v in maps.items()}) == (1, 8, 12, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"semantic_head": SemanticHeadConfig()}, "semantic_head: .* but stuff_names is empty"),
        ({"stuff_names": ("sky",)}, "stuff_names: 1 stuff classes, but semantic_head, .* is None"),
        ({"semantic_head": CONFIG, "stuff_names": ("x",) * 255}, "stuff_names: expected at most 254"),
        (
            {"semantic_head": CONFIG, "stuff_names": ("sky", "sea"), "stuff_category_ids": (1,)},
            "stuff_category_ids: expected one for each of the 2 stuff_names, or none, got 1",
        ),
    ],
)
def test_a_model_needs_both_branch_and_classes(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MaskRCNNConfig(**fields)


@pytest.mark.parametrize("field", ["channels", "common_stride", "levels"])
def test_config_refuses_nothing(field: str) -> None:
    with pytest.raises(ConfigError, match=f"semantic_head.{field}: expected at least"):
        SemanticHeadConfig(**{field: () if field == "levels" else 0})


def test_a_map_has_pixels_not_entries() -> None:
    batch = {
        "gt_valid": tf.constant([[True, False]]),
        "gt_boxes": tf.zeros([1, 2, 4]),
        SEMANTIC_KEY: tf.zeros([1, 9, 9]),
    }
    trimmed = trim_ground_truth(batch)
    assert trimmed["gt_boxes"].shape == (1, 1, 4) and trimmed[SEMANTIC_KEY].shape == (1, 9, 9)


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    config = dataclasses.replace(
        tiny_config(),
        semantic_head=SemanticHeadConfig(channels=16),
        stuff_names=("sky", "sea"),
        stuff_category_ids=(7, 9),
    )
    assert MaskRCNNConfig.from_dict(config.to_dict()) == config
    return MaskRCNN(config)


def batch_with_maps() -> dict[str, tf.Tensor]:
    batch = batch_of(noise_images(2, sides=(60, 96)), [[{"box": (8, 8, 40, 40)}], []])
    return batch | {SEMANTIC_KEY: tf.constant(RNG.choice([0, 1, 2, IGNORED], (2, 96, 128)), tf.uint8)}


@pytest.mark.slow
def test_a_model_has_its_loss_and_its_logits(model: MaskRCNN) -> None:
    batch = batch_with_maps()
    features = model.extract_features(batch)
    logits = model.semantic_head(features)
    assert logits.shape == (2, 24, 32, 3)
    terms = model.loss_terms(features, model.rpn(features), batch)
    assert tuple(terms) == model.loss_names and model.loss_names[-1] == "semantic"
    own = model.semantic_head.loss(logits, batch[SEMANTIC_KEY])  # of every pixel: one object, many rows
    assert terms["semantic"].total == own.total and terms["semantic"].count == own.count
    with pytest.raises(InputError, match="semantic_head: its loss 'semantic' needs gt_semantic"):
        model.loss_terms(features, model.rpn(features), {k: v for k, v in batch.items() if k != SEMANTIC_KEY})
    without = {key: value for key, value in batch.items() if not key.startswith("gt_")}
    np.testing.assert_array_equal(model(without)[SEMANTIC_LOGITS], logits)
    assert type(model).from_config(model.get_config()).config == model.config


@pytest.mark.slow
def test_a_step_trains_it(model: MaskRCNN) -> None:
    before = model.semantic_head.get_weights()
    model.compile("sgd")
    losses = model.train_step(batch_with_maps())
    assert np.isfinite([float(value) for value in losses.values()]).all()
    assert set(losses) == {"loss", *model.loss_names}
    for value, old in zip(model.semantic_head.get_weights(), before, strict=True):
        assert not np.array_equal(value, old)
