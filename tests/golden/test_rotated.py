"""The operators on rotated boxes against detectron2's, whose boxes are (cx, cy, w, h, angle)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.rotated_boxes import (
    clip_rotated_boxes,
    decode_rotated_deltas,
    encode_rotated_deltas,
    normalize_angles,
    rotated_area,
    rotated_cell_anchors,
    rotated_grid_anchors,
    scale_rotated_boxes,
)
from mrcnn.ops.rotated_iou import pairwise_rotated_iou, rotated_nms
from mrcnn.ops.rotated_roi_align import rotated_roi_align
from tests.golden.case import Golden

OURS = [1, 0, 3, 2, 4]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("d2_rotated_ops")


def close(ours: tf.Tensor, theirs: np.ndarray) -> bool:
    return float(np.linalg.norm(np.asarray(ours) - theirs)) <= TOLERANCE * float(np.linalg.norm(theirs))


def test_iou(golden: Golden) -> None:
    assert close(pairwise_rotated_iou(golden["iou_boxes1"][:, OURS], golden["iou_boxes2"][:, OURS]), golden["iou"])


@pytest.mark.parametrize("threshold", ["0.15", "0.3", "0.6"])
def test_nms(golden: Golden, threshold: str) -> None:
    for key, groups in (("nms_keep", None), ("batched_nms_keep", golden["nms_classes"])):
        index, valid = rotated_nms(golden["nms_boxes"][:, OURS], golden["nms_scores"], groups, float(threshold), 80)
        assert np.asarray(index)[np.asarray(valid)].tolist() == golden[f"{key}_{threshold}"].tolist()


def test_deltas(golden: Golden) -> None:
    weights, source = golden["coder_weights"][OURS], golden["coder_src"][:, OURS]
    assert close(encode_rotated_deltas(golden["coder_dst"][:, OURS], source, weights), golden["coder_deltas"][:, OURS])
    deltas, boxes = (golden[f"coder_apply_{key}"].reshape(12, 3, 5)[..., OURS] for key in ("deltas", "boxes"))
    assert close(decode_rotated_deltas(deltas, source[:, None], weights), boxes)


def test_boxes_and_anchors(golden: Golden) -> None:
    boxes = golden["boxes"][:, OURS]
    assert close(rotated_area(boxes), golden["boxes_area"])
    assert close(
        normalize_angles(boxes),
        golden[next(key for key in golden.values.files if key.startswith("boxes_normal"))][:, OURS],
    )
    assert close(clip_rotated_boxes(boxes, [50, 60]), golden["boxes_clipped_50x60"][:, OURS])
    assert close(scale_rotated_boxes(boxes, [0.5, 1.5]), golden["boxes_scaled_1.5_0.5"][:, OURS])
    cells = rotated_cell_anchors([16, 32], [0.5, 1, 2], [-90, -45, 0, 45])
    assert close(rotated_grid_anchors(3, 4, 8, cells), golden["anchors_3x4_stride8"][:, OURS])


@pytest.mark.parametrize("case", "abc")
def test_roi_align_and_its_gradient(golden: Golden, case: str) -> None:
    height, width, scale, ratio = golden[f"roi_align_{case}_args"]
    image, rois = golden["roi_align_rois"][:, 0].astype(int), golden["roi_align_rois"][:, 1:][:, OURS]
    features = tf.constant(golden["roi_align_input"].transpose(0, 2, 3, 1))
    valid = np.stack([image == 0, image == 1])  # every RoI is asked of both images
    with tf.GradientTape() as tape:
        tape.watch(features)
        both = rotated_roi_align(
            features, np.stack([rois, rois]), 1 / scale, (int(height), int(width)), int(ratio), valid
        )
        pooled = tf.reduce_sum(both, axis=0)
        loss = tf.reduce_sum(pooled * golden[f"roi_align_{case}_grad_output"].transpose(0, 2, 3, 1))
    assert close(pooled, golden[f"roi_align_{case}_output"].transpose(0, 2, 3, 1))
    assert close(tape.gradient(loss, features), golden[f"roi_align_{case}_grad_input"].transpose(0, 2, 3, 1))
