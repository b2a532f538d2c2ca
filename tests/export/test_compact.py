from __future__ import annotations

import numpy as np
import tensorflow as tf

from mrcnn.export.compact import compact, keep_best
from mrcnn.structures.outputs import MASKS


def detections(scores: list[list[float]], side: int = 4) -> dict[str, tf.Tensor]:
    """Best first, zero scores are padding; every mask is all of its box."""
    table = np.array(scores, np.float32)
    boxes = np.tile(np.array([1, 2, 3, 5], np.float32), (*table.shape, 1))
    return {
        "valid": tf.constant(table > 0),
        "scores": tf.constant(table),
        "boxes": tf.constant(boxes),
        MASKS.name: tf.ones((*table.shape, side, side)),
        MASKS.boxes_name: tf.constant(boxes),
    }


def kept(scores, threshold, most):
    best = keep_best(detections(scores), tf.constant(threshold, tf.float32), tf.constant(most))
    return best["scores"].numpy().round(2).tolist()


def test_which_are_kept():
    scores = [[0.9, 0.5, 0.1], [0.8, 0.0, 0.0]]
    assert kept(scores, [0.0, 0.0], [9, 9]) == np.array(scores, np.float32).round(2).tolist()
    assert kept(scores, [0.3, 0.3], [9, 9]) == [[np.float32(0.9).round(2), 0.5], [np.float32(0.8).round(2), 0.0]]
    assert kept(scores, [0.95, 0.3], [9, 9]) == [[0.0], [np.float32(0.8).round(2)]]
    assert kept(scores, [0.0, 0.0], [0, -1]) == [[], []]
    assert keep_best(detections(scores), tf.constant([1.0, 1.0]), tf.constant([1, 1]))[MASKS.name].shape == (2, 0, 4, 4)


def test_masks_become_strings_of_their_images_size():
    best = keep_best(detections([[0.9, 0.5], [0.8, 0.0]]), tf.zeros(2), tf.constant([9, 9]))
    result = compact(best, tf.constant([[4, 6], [10, 10]]), [MASKS], 0.5)
    assert set(result) == {"scores", "boxes", "masks", "num_detections", "size"}
    assert result["num_detections"].numpy().tolist() == [2, 1]
    strings = result["masks"].numpy().tolist()
    # Rows 1 and 2 of columns 2 to 4 of 4 rows: runs of 9, 2, 2, 2, 2, 2 and 5; from the fourth on less those before.
    assert strings[0] == [b"9220003"] * 2
    assert strings[1][1] == b""
