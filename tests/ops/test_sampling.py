import numpy as np
import pytest

from mrcnn.ops.sampling import sample_labels
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
