"""Windows of a map are slices of it; put together they are the map again."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.windows import from_windows, pad_to_multiple, to_windows


@pytest.mark.parametrize("batch", [0, 2])
def test_windows_are_slices(rng, batch):
    x = rng.normal(size=(batch, 6, 9, 2)).astype(np.float32)
    windows = to_windows(tf.constant(x), 3)
    expected = [x[b, i : i + 3, j : j + 3] for b in range(batch) for i in (0, 3) for j in (0, 3, 6)]
    np.testing.assert_array_equal(windows, np.reshape(expected, (-1, 3, 3, 2)))
    np.testing.assert_array_equal(from_windows(windows, batch, 6, 9), x)


def test_open_sizes(rng):
    x = rng.normal(size=(2, 4, 5, 1)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1])])
    def there_and_back(x):
        padded = pad_to_multiple(x, 3)
        return padded, from_windows(to_windows(padded, 3), *tf.unstack(tf.shape(padded)[:3]))

    padded, again = there_and_back(x)
    np.testing.assert_array_equal(padded, np.pad(x, [(0, 0), (0, 2), (0, 1), (0, 0)]))
    np.testing.assert_array_equal(again, padded)
