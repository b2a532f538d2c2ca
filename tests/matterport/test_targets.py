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


def test_random_rois_and_detection_targets():
    config, data = SmallConfig(), small_dataset()
    np.random.seed(3)  # noqa: NPY002 - as scripts do
    inputs, outputs = next(modellib.data_generator(data, config, batch_size=2, random_rois=50, detection_targets=True))
    assert len(inputs) == 9 and len(outputs) == 3
    rpn_rois, rois = inputs[7:]
    assert rpn_rois.shape == (2, 50, 4) and rpn_rois.dtype == np.int32 and rois.shape == (2, 9, 4)
    assert (rpn_rois[..., 2:] > rpn_rois[..., :2]).all() and rpn_rois.min() >= 0 and rpn_rois.max() <= 64
    class_ids, deltas, masks = outputs
    assert class_ids.shape == (2, 9, 1) and deltas.shape == (2, 9, 3, 4) and masks.shape == (2, 9, 28, 28, 3)
    inputs, outputs = next(modellib.data_generator(data, config, random_rois=50))
    assert len(inputs) == 8 and outputs == []


def test_detection_targets_by_hand():
    config = SmallConfig()
    config.USE_MINI_MASK = False
    rois = np.array([[8, 8, 40, 40], [8, 8, 40, 36], [50, 50, 60, 60], [0, 0, 0, 0]], np.int32)
    masks = np.zeros((64, 64, 1), bool)
    masks[8:40, 8:24] = True  # the left half of the box
    box = np.array([[8, 8, 40, 40]], np.int32)
    got, ids, deltas, targets = modellib.build_detection_targets(rois, np.array([2]), box, masks, config)
    assert ids.tolist() == [2, 2, 0, 0, 0, 0, 0, 0, 0] and ids.dtype == np.int32  # 9 RoIs, a third positive at most
    whole = int(got[0, 3] != 40)
    np.testing.assert_array_equal(got[2:], np.tile(rois[2], (7, 1)))
    assert not deltas[:, :2].any() and not deltas[2:].any() and not targets[..., :2].any() and not targets[2:].any()
    np.testing.assert_allclose(deltas[whole, 2], 0, atol=1e-6)
    narrow = [0, 2 / 28 / 0.1, 0, np.log(32 / 28) / 0.2]
    np.testing.assert_allclose(deltas[1 - whole, 2], narrow, rtol=1e-5, atol=1e-6)
    assert targets[whole, :, :13, 2].mean() > 0.95 and not targets[whole, :, 15:, 2].any()
    with pytest.raises(ValueError, match="no object"):
        modellib.build_detection_targets(rois, np.zeros(0), np.zeros((0, 4)), masks[..., :0], config)
    with pytest.raises(ValueError, match="negative"):
        modellib.build_detection_targets(rois[:2], np.array([2]), box, masks, config)


def test_random_rois_lie_around_objects():
    box = np.array([[20, 20, 30, 30]])
    rois = modellib.generate_random_rois((100, 100, 3), 100, np.array([1]), box)
    assert rois.shape == (100, 4) and rois.dtype == np.int32
    near = (rois[:90, :2] >= 10).all(1) & (rois[:90, 2:] <= 40).all(1)
    assert near.all()
    assert modellib.generate_random_rois((100, 100, 3), 5, np.zeros(0), np.zeros((0, 4))).shape == (5, 4)
