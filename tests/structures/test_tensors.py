from __future__ import annotations

import tensorflow as tf

from mrcnn.structures.tensors import GROUND_TRUTH_KEY, Detections, batch_spec


def test_a_batch_with_ground_truth():
    spec = batch_spec(2, 64, 96, 10, 28, num_joints=17)
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in spec.items()}
    assert shapes == {
        "image": ((2, 64, 96, 3), tf.uint8),
        "image_id": ((2,), tf.int64),
        "original_shape": ((2, 2), tf.int32),
        "content_shape": ((2, 2), tf.int32),
        "gt_boxes": ((2, 10, 4), tf.float32),
        "gt_class_ids": ((2, 10), tf.int32),
        "gt_masks": ((2, 10, 28, 28), tf.uint8),
        "gt_crowd": ((2, 10), tf.bool),
        "gt_valid": ((2, 10), tf.bool),
        "seed": ((2, 2), tf.int32),
        "gt_keypoints": ((2, 10, 17, 3), tf.float32),
    }
    assert all(tensor.name == name for name, tensor in spec.items())
    assert GROUND_TRUTH_KEY in spec


def test_a_batch_without_ground_truth_and_of_open_shape():
    spec = batch_spec(with_ground_truth=False, num_joints=17)
    assert list(spec) == ["image", "image_id", "original_shape", "content_shape"]
    assert spec["image"].shape.as_list() == [None, None, None, 3]
    assert "gt_keypoints" not in batch_spec()
    rotated = batch_spec(1, max_instances=3, rotated_boxes=True)["gt_rotated_boxes"]
    assert (rotated.shape.as_list(), rotated.dtype) == ([1, 3, 5], tf.float32)


def test_detections_are_a_dict_of_the_set_fields():
    tensors = [tf.zeros(s) for s in ((1, 2, 4), (1, 2), (1, 2), (1, 2))]
    assert list(Detections(*tensors).to_dict()) == ["boxes", "class_ids", "scores", "valid"]
    rotated = Detections(*tensors, rotated_boxes=tf.ones((1, 2, 5)))
    assert list(rotated.to_dict())[-1] == "rotated_boxes"
    assert rotated.rois.shape[-1] == 5 and Detections(*tensors).rois.shape[-1] == 4
    assert list(Detections(*tensors, masks=tf.zeros((1, 2, 4, 4))).to_dict())[-1] == "masks"
