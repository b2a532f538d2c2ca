import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.sampling import sample_classes, sample_labels
from tests.ops.execution import in_every_mode


def draw(labels, num, fraction, seed=(1, 2)):
    labels = np.asarray(labels, np.int32)
    return in_every_mode(lambda x, s: sample_labels(x, num, fraction, s), labels, np.array(seed, np.int32))


@pytest.mark.parametrize("num_positives, num_negatives", [(20, 60), (2, 60), (20, 3), (0, 60), (20, 0), (2, 3), (0, 0)])
def test_counts_kinds_and_order(rng, num_positives, num_negatives):
    labels = rng.permutation([1] * num_positives + [0] * num_negatives + [-1] * 9)
    sample = draw(labels, 16, 0.25)
    expected_positives = min(num_positives, 4)
    expected_negatives = min(num_negatives, 16 - expected_positives)
    assert sample.index.shape == (16,)
    np.testing.assert_array_equal(sample.foreground, np.arange(16) < expected_positives)
    np.testing.assert_array_equal(sample.valid, np.arange(16) < expected_positives + expected_negatives)
    chosen = sample.index[sample.valid]
    assert len(set(chosen.tolist())) == len(chosen)
    np.testing.assert_array_equal(labels[chosen], sample.foreground[sample.valid].astype(int))
    assert (sample.index[~sample.valid] == 0).all()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_fewer_candidates_than_asked_for(n):
    sample = draw([0] * n, 8, 0.5)
    assert sample.valid.sum() == n


@pytest.mark.parametrize("fraction, positives", [(0.0, 0), (1.0, 8)])
def test_extreme_fractions(fraction, positives):
    assert draw([1] * 20 + [0] * 20, 8, fraction).foreground.sum() == positives


def test_the_seed_decides():
    labels = [1] * 50 + [0] * 50
    np.testing.assert_array_equal(draw(labels, 16, 0.5).index, draw(labels, 16, 0.5).index)
    assert (draw(labels, 16, 0.5).index != draw(labels, 16, 0.5, (1, 3)).index).any()


def test_every_candidate_is_equally_likely():
    hits = np.zeros(20)
    labels = np.array([1] * 10 + [0] * 10, np.int32)
    for seed in range(400):
        hits[sample_labels(labels, 4, 0.5, [7, seed]).index.numpy()] += 1
    # 2 of 10 in each of 400 draws: 80 expected, standard deviation 8.
    assert (np.abs(hits - 80) < 40).all()


def test_classes_in_every_mode():
    """The second class is never drawn, the third is present and stays, though it is one too many."""
    present = np.array([[False, False, True, False], [True, True, True, False], [False] * 4])
    weights = np.array([1.0, 0.0, 2.0, 5.0], np.float32)
    num, seeds = np.array([0, 2, 4], np.int32), np.array([[1, 2], [1, 3], [1, 4]], np.int32)
    drawn = in_every_mode(sample_classes, present, weights, num, seeds)
    np.testing.assert_array_equal(drawn, [present[0], present[1], [True, False, True, True]])


def test_classes_are_drawn_by_their_weights():
    weights, times = tf.constant([1.0, 2.0, 3.0]), 3000
    seeds = tf.stack([tf.range(times), tf.zeros([times], tf.int32)], 1)
    drawn = tf.function(sample_classes)(tf.zeros([times, 3], tf.bool), weights, tf.fill([times], 2), seeds).numpy()
    assert (drawn.sum(1) == 2).all()
    # Left out is the one drawn last: P(1 last) = 2/6 x 3/4 + 3/6 x 2/3, and so on.
    left_out = [2 / 6 * 3 / 4 + 3 / 6 * 2 / 3, 1 / 6 * 3 / 5 + 3 / 6 * 1 / 3, 1 / 6 * 2 / 5 + 2 / 6 * 1 / 4]
    np.testing.assert_allclose((~drawn).mean(0), left_out, atol=0.03)
