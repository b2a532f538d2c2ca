"""Lists of `data_generator` as batches, and the targets in them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mrcnn import model as modellib
from mrcnn.matterport import batches
from mrcnn.matterport.batches import given_anchors
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.structures.tensors import RPNOutput
from tests.matterport.small import SmallConfig, small_dataset


def test_given_anchors_are_those_of_the_lists():
    anchors = AnchorConfig(sizes=((16.0,),), ratios=(1.0,), end_offset=-1.0)
    config = RPNConfig(anchors=anchors, levels=("p2",), match_edges=True, delta_weights=(10.0, 10.0, 5.0, 5.0))
    rpn = config.build(4, {"p2": 4})
    edges = tf.constant([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0], [0.0, 8.0, 8.0, 16.0], [8.0, 8.0, 16.0, 16.0]])
    output = RPNOutput(tf.zeros([1, 4]), tf.zeros([1, 4, 4]), edges - [0.0, 0.0, 1.0, 1.0], [4])
    match = tf.constant([[0, 1, -1, 1]])
    deltas = tf.constant([[[10.0, 0.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    sample = given_anchors(rpn, output, {"rpn_match": match, "rpn_bbox": deltas})
    assert sample.index.numpy().tolist() == [[1, 3, 2]]
    assert sample.foreground.numpy().tolist() == [[True, True, False]] and sample.valid.numpy().all()
    # One height lower; e times as tall around the same center. In the model's frame, so one pixel less at the ends.
    half = 4 * np.e
    expected = [[16.0, 0.0, 23.0, 7.0], [12 - half, 8.0, 12 + half - 1, 15.0]]
    np.testing.assert_allclose(sample.gt_boxes[0, :2], expected, rtol=1e-5)


def test_full_masks_and_rois_go_along():
    config = SmallConfig()
    config.USE_MINI_MASK, config.USE_RPN_ROIS = False, False
    inputs, _ = next(modellib.data_generator(small_dataset(), config, random_rois=6))
    batch = batches.as_batch(inputs, config)
    assert batch["gt_full_masks"].shape == (1, 100, 64, 64) and batch["gt_full_masks"].sum() == inputs[6].sum()
    np.testing.assert_array_equal(batch["rpn_rois"], inputs[7].astype(np.float32))
    config.USE_RPN_ROIS = True
    assert "rpn_rois" not in batches.as_batch(inputs, config)
