from __future__ import annotations

import numpy as np
import pytest

from mrcnn import model as modellib
from tests.matterport.small import SmallConfig, small_dataset


def test_rpn_targets_by_hand():
    config = SmallConfig()
    config.RPN_TRAIN_ANCHORS_PER_IMAGE = 4
    anchors = np.array([[0, 0, 10, 10], [0, 0, 10, 20], [30, 30, 40, 40], [50, 50, 60, 60], [80, 80, 90, 90]], float)
    match, deltas = modellib.build_rpn_targets(
        (100, 100, 3), anchors, np.array([1, -1]), np.array([[1, 0, 11, 10], [50, 50, 60, 60]]), config
    )
    assert match.tolist() == [1, 0, -1, 0, -1] and match.dtype == np.int32  # 0.45: neither; the crowd's: neither
    np.testing.assert_allclose(deltas, [[1, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4], atol=1e-5)


def test_data_generator_yields_lists_in_the_known_order():
    config = SmallConfig()
    batches = modellib.data_generator(small_dataset(), config, shuffle=True, augmentation=None, batch_size=2)
    for _ in range(2):
        inputs, outputs = next(batches)
        images, metas, rpn_match, rpn_bbox, class_ids, boxes, masks = inputs
        assert outputs == [] and images.shape == (2, 64, 64, 3) and images.dtype == np.float32
        assert metas.shape == (2, 15) and rpn_match.shape == (2, 3 * 341, 1) and rpn_match.dtype == np.int32
        assert rpn_bbox.shape == (2, 32, 4) and class_ids.dtype == boxes.dtype == np.int32
        assert class_ids[:, :3].tolist() == [[1, 2, 0]] * 2 and boxes.shape == (2, 100, 4)
        assert masks.shape == (2, 56, 56, 100) and masks.dtype == bool
        assert sorted(metas[:, 0].tolist()) == [0, 1]


def test_the_sixth_error_stops(caplog):
    data = small_dataset()
    data.load_mask = lambda image_id: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(modellib.data_generator(data, SmallConfig()))
    assert caplog.text.count("Error processing image {'id': 'spot") == 6
    with pytest.raises(ValueError, match="random_rois"):
        modellib.data_generator(data, SmallConfig(), random_rois=3)
