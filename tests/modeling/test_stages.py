"""What is shown of a model on its way is what the model itself does."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn import run_stages, training_targets
from tests.modeling.test_mask_rcnn import batch, expect_equal, quick_model


@pytest.fixture(scope="module")
def model():
    return quick_model()


def overlap(a, b):
    """f[n, m], IoU of boxes."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return common / (areas[0][:, None] + areas[1][None] - common)


def test_stages_end_in_the_models_detections(model):
    data = batch(2, with_ground_truth=False)
    stages = run_stages(model, data)
    expect_equal(stages.detections, model(data, training=False), atol=1e-5)
    assert list(stages.features) == ["p2", "p3", "p4", "p5", "p6"]
    anchors, proposals = stages.rpn.anchors.shape[0], model.config.rpn.post_nms_test
    assert stages.anchors_refined.shape == (2, anchors, 4) and stages.proposals.boxes.shape == (2, proposals, 4)
    assert stages.class_probs.shape == (2, proposals, 3) and stages.proposals_refined.shape == (2, proposals, 4)
    np.testing.assert_allclose(np.sum(stages.class_probs, -1), 1, atol=1e-5)


def test_each_box_comes_from_the_stage_before(model):
    data = batch(1, with_ground_truth=False)
    stages = run_stages(model, data)
    moved = np.clip(stages.anchors_refined[0], 0, [96, 128, 96, 128])
    proposals = np.asarray(stages.proposals.boxes[0])[np.asarray(stages.proposals.valid[0])]
    apart = np.abs(proposals[:, None] - moved[None]).max(-1).min(1)
    assert len(proposals) and apart.max() < 1e-3
    result = {name: np.asarray(value[0]) for name, value in stages.detections.items()}
    best = np.asarray(stages.class_probs[0, :, 1:]).argmax(-1) + 1
    of_best = [
        (
            np.abs(np.asarray(stages.proposals_refined[0])[best == c] - box).max(-1).min()
            if (best == c).any()
            else np.inf
        )
        for box, c in zip(result["boxes"][result["valid"]], result["class_ids"][result["valid"]], strict=True)
    ]
    assert min(of_best) < 1e-3  # a detection may also be of a proposal's second class


def test_targets_are_what_a_step_trains_on(model):
    data = batch(2)
    targets = training_targets(model, data)
    output = model.rpn(model.extract_features(data, training=False), training=False)
    for i in range(2):
        sample = [np.asarray(field[i]) for field in targets.anchors]
        index, foreground, valid, gt_boxes = sample
        ground_truth = np.asarray(data["gt_boxes"][i])[np.asarray(data["gt_valid"][i] & ~data["gt_crowd"][i])]
        iou = overlap(np.asarray(output.anchors), ground_truth)
        best_of_object = np.isclose(iou, iou.max(0)).any(1)
        assert valid.sum() == model.config.rpn.batch_per_image and foreground.any()
        positive = index[foreground]
        assert ((iou[positive].max(1) >= 0.7) | best_of_object[positive]).all()
        np.testing.assert_array_equal(gt_boxes[foreground], ground_truth[iou[positive].argmax(1)])
        assert (iou[index[valid & ~foreground]].max(1) < 0.3).all()
        rois = [np.asarray(field[i]) for field in targets.rois]
        boxes, class_ids, gt_index, foreground, valid = rois
        assert foreground.any() and (class_ids[~foreground] == 0).all()
        of_roi = overlap(boxes, np.asarray(data["gt_boxes"][i]))[np.arange(len(boxes)), gt_index]
        assert (of_roi[foreground] >= 0.5).all() and valid[foreground].all()
    side = model.heads[0].mask_side
    masks = targets.heads["mask_head"]
    assert masks.shape == (2, model.config.heads[0].num_foreground, side, side)
    assert set(np.unique(masks)) <= {0.0, 1.0}
    again = training_targets(model, data)
    np.testing.assert_array_equal(targets.anchors.index, again.anchors.index)
