"""Sigmoid cross-entropy and the federated loss, against plain loops; which classes are drawn."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.losses.base import ClassLoss
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy
from mrcnn.modeling.losses.sigmoid import ClassFederated, ClassSigmoidCrossEntropy, known_image_counts
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.recipes import Recipe
from tests.ground_truth import batch_of
from tests.reference import losses as slow
from tests.tiny_model import noise_images, tiny_config

SEEDS = tf.constant([[3, 5], [3, 6], [4, 5]])
COUNTS = (5, 0, 100, 40, 1, 7, 3000)
IDS = np.array([[3, 0, 0, 3, 6], [0, 0, 0, 0, 0], [1, 2, 1, 5, 4]])
VALID = np.array([[True, True, True, True, False], [True, True, False, False, False], [True] * 5])


def uniforms(seed, num):
    """What is drawn from a seed for each class: 23 of the 32 bits, the middle of each step."""
    bits = tf.random.stateless_uniform([num], seed, None, None, tf.int32, alg="philox").numpy()
    return [(float(b & 0x7FFFFF) + 0.5) / 2**23 for b in bits.tolist()]


def counted_of(image, num, counts=COUNTS, power=0.5):
    """By the plain loops, ids from 1."""
    ids = IDS[image][VALID[image]].tolist()
    return slow.federated_classes(ids, counts, num, power, uniforms(SEEDS[image], len(counts)))


def test_all_classes_by_hand_and_by_loops(rng):
    logits = tf.constant([[[9.0, 0.0, math.log(3)], [9.0, 0.0, math.log(3)]]])  # background counts nowhere
    result = ClassSigmoidCrossEntropy()(logits, tf.constant([[2, 0]])).numpy()
    assert result[0] == pytest.approx([math.log(2) + math.log(4 / 3), math.log(2) + math.log(4)])
    logits = rng.normal(0, 3, (3, 5, 8)).astype(np.float32)
    result = ClassSigmoidCrossEntropy().of_images(tf.constant(logits), tf.constant(IDS), tf.constant(VALID))
    expected = [[slow.sigmoid_cross_entropy_of_classes(logits[b, s], IDS[b, s]) for s in range(5)] for b in range(3)]
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("num", [1, 3, 5, 50])
def test_federated_equals_the_slow_one(rng, num):
    """Padding says nothing: the class 6 of the first image is not there."""
    logits = rng.normal(0, 3, (3, 5, 8)).astype(np.float32)
    loss = ClassFederated(num_classes=num, image_counts=COUNTS)
    counted = loss.counted(tf.constant(IDS), tf.constant(VALID), SEEDS, 7).numpy()
    result = loss.of_images(tf.constant(logits), tf.constant(IDS), tf.constant(VALID), SEEDS).numpy()
    for b in range(3):
        expected = counted_of(b, num)
        assert set((np.flatnonzero(counted[b]) + 1).tolist()) == expected
        assert expected >= set(IDS[b][VALID[b]].tolist()) - {0}
        for s in range(5):
            by_loops = slow.sigmoid_cross_entropy_of_classes(logits[b, s], IDS[b, s], expected)
            assert result[b, s] == pytest.approx(by_loops, rel=1e-5)
    assert counted[1].sum() == min(num - 1, 6)  # background is one of them; the class of no image is never drawn
    assert counted[2].sum() == max(min(num, 6 + 1), 4)  # ... unless it is there


def test_images_do_not_see_each_other_and_the_seed_decides():
    loss = ClassFederated(num_classes=3, image_counts=(1,) * 60)
    ids, valid = tf.zeros([1, 2], tf.int32), tf.ones([1, 2], tf.bool)
    alone = [loss.counted(ids, valid, SEEDS[b : b + 1], 60).numpy()[0] for b in range(3)]
    together = loss.counted(tf.repeat(ids, 3, 0), tf.repeat(valid, 3, 0), SEEDS, 60).numpy()
    np.testing.assert_array_equal(together, alone)
    assert len({tuple(row.tolist()) for row in alone}) == 3


def test_what_does_not_count_has_no_gradient(rng):
    logits = tf.constant(rng.normal(size=(3, 5, 8)), tf.float32)
    loss = ClassFederated(num_classes=3, image_counts=COUNTS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(loss.of_images(logits, tf.constant(IDS), tf.constant(VALID), SEEDS))
    gradient = tape.gradient(total, logits).numpy()
    for b in range(3):
        for k in range(8):
            expected = np.zeros(5)
            if k in counted_of(b, 3):
                expected = 1 / (1 + np.exp(-logits[b, :, k].numpy())) - (IDS[b] == k)
            np.testing.assert_allclose(gradient[b, :, k], expected, atol=1e-6)


def test_an_image_without_rois_and_no_seed():
    loss = ClassFederated(num_classes=4)
    nothing = loss.of_images(tf.zeros([2, 0, 8]), tf.zeros([2, 0], tf.int32), tf.zeros([2, 0], tf.bool), SEEDS[:2])
    assert nothing.shape == (2, 0)
    padded = loss.counted(tf.ones([1, 3], tf.int32), tf.zeros([1, 3], tf.bool), SEEDS[:1], 7)
    assert int(tf.math.count_nonzero(padded)) == 4  # drawn, but for no RoI
    with pytest.raises(ValueError, match="needs the seed"):
        loss.of_images(tf.zeros([1, 1, 8]), tf.zeros([1, 1], tf.int32), tf.ones([1, 1], tf.bool))
    with pytest.raises(ValueError, match="call `of_images`"):
        loss(tf.zeros([1, 1, 8]), tf.zeros([1, 1], tf.int32))


def test_counts_of_lvis():
    counts = known_image_counts()["lvis_v1"]
    assert (len(counts), min(counts), max(counts), counts[2]) == (1203, 1, 1977, 1911)
    # As https://www.lvisdataset.org says of v1: rare in up to 10 training images, common in up to 100.
    frequencies = [sum(low < n <= high for n in counts) for low, high in ((0, 10), (10, 100), (100, 10**6))]
    assert frequencies == [337, 461, 405]
    loss = ClassFederated(image_counts="lvis_v1")
    loss.check(1203)
    assert loss.for_classes(1203) == loss and loss.for_classes(5) == ClassFederated()
    assert ClassFederated(image_counts=COUNTS).for_classes(5).image_counts == COUNTS


def test_parameters_are_checked():
    for changes, message in (
        ({"num_classes": 0}, "class_loss.num_classes: expected at least 1, got 0"),
        ({"power": -1.0}, "class_loss.power: expected a number from 0"),
        ({"image_counts": "lvis"}, r'class_loss.image_counts: expected numbers, .* or "lvis_v1", got \'lvis\''),
        ({"image_counts": (1, -1)}, "class_loss.image_counts: expected numbers from 0"),
        ({"image_counts": (0, 0)}, "at least one of them above"),
    ):
        with pytest.raises(ConfigError, match=message):
            ClassFederated(**changes)
    with pytest.raises(ConfigError, match="image_counts: expected 5, one for each class, or none, got 1203 of lvis_v1"):
        ClassFederated(image_counts="lvis_v1").check(5)
    ClassFederated().check(5)


@dataclasses.dataclass(frozen=True)
class Flat(ClassLoss):
    """A component of another package that knows neither seeds nor sigmoids."""

    def __call__(self, logits, class_ids):
        return tf.ones(tf.shape(class_ids), tf.float32)


def test_activation_and_loss_fit_together():
    with pytest.raises(ConfigError, match='activation and class_loss: ClassFederated is made for "sigmoid", got'):
        BoxHeadConfig(class_loss=ClassFederated())
    with pytest.raises(ConfigError, match='activation and class_loss: ClassCrossEntropy is made for "softmax", got'):
        CascadeBoxHeadConfig(activation="sigmoid")
    with pytest.raises(ConfigError, match="activation and detection_rule"):
        BoxHeadConfig(activation="sigmoid", class_loss=ClassFederated(), detection_rule="best_class")
    assert BoxHeadConfig(class_loss=Flat()).class_loss.of_images(None, IDS, VALID, SEEDS).shape == (3, 5)
    recipe = Recipe().override({"model.box_head.activation": "sigmoid", "model.box_head.class_loss": "federated"})
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.model.box_head.class_loss == ClassFederated()
    head = recipe.override({"model.box_head.class_loss.image_counts": [1, 2]}).model.box_head
    assert head.class_loss == ClassFederated(image_counts=(1, 2))
    assert recipe.override({"model.box_head.class_loss": "sigmoid"}).model.box_head.class_loss.short_name == "sigmoid"
    assert isinstance(Recipe().model.box_head.class_loss, ClassCrossEntropy)


def model_of(head=BoxHeadConfig, seed=0):
    loss = ClassFederated(num_classes=2, image_counts=(3, 9))
    box_head = head(fc_dims=(64,), max_detections=20, score_threshold=0.02, activation="sigmoid", class_loss=loss)
    keras.utils.set_random_seed(seed)
    return MaskRCNN(dataclasses.replace(tiny_config(), box_head=box_head), ["thing", "other"])


@pytest.mark.slow
@pytest.mark.parametrize("head", [BoxHeadConfig, CascadeBoxHeadConfig])
def test_a_model_trains_draws_by_its_seeds_and_survives_a_file(head, tmp_path):
    model = model_of(head)
    boxes = [{"box": (10, 10, 60, 70)}, {"box": (40, 50, 90, 120), "class_id": 2}]
    batch = batch_of(noise_images(2, sides=(96, 97)), [boxes, []])
    terms = [model.batch_terms(batch, training=True) for _ in range(2)]
    for name, term in terms[0].items():
        assert float(term.mean()) == float(terms[1][name].mean())
    name = "roi_class" if head is BoxHeadConfig else "roi_class_3"
    other = model.batch_terms(batch | {"seed": batch["seed"] + 1}, training=True)[name]
    assert float(other.mean()) != float(terms[0][name].mean())
    model.compile(keras.optimizers.SGD(1e-2))
    losses = [float(model.train_step(batch)["loss"]) for _ in range(5)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    path = mrcnn.save_checkpoint(model, tmp_path / "model.safetensors")
    again = mrcnn.load_pretrained(path)
    assert again.config == model.config
    images = noise_images(1)
    before, after = mrcnn.detect(model, images)[0], mrcnn.detect(again, images)[0]
    np.testing.assert_array_equal(before.scores, after.scores)


@pytest.mark.slow
def test_an_export_gives_the_same_scores(tmp_path):
    """The export compares its answers with the model's before it is written; stock operations only."""
    path = mrcnn.export_saved_model(model_of(), tmp_path / "served", images=noise_images(2))
    assert (path / "saved_model.pb").exists()
