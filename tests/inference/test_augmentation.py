from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from mrcnn.inference import detect, detect_augmented
from mrcnn.inference.augmentation import _merge
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.variables import named_variables
from mrcnn.structures.instances import Instances
from tests.tiny_model import blank_image, noise_images, tiny_model

SWAP = (1, 0, 2)


@pytest.fixture(scope="module")
def model():
    """With masks and three joints, of which a mirror swaps two."""
    small = tiny_model()
    heads = (*small.config.heads, KeypointHeadConfig(num_joints=3, conv_dims=(16,)))
    keras.utils.set_random_seed(1)
    larger = MaskRCNN(dataclasses.replace(small.config, heads=heads), small.class_names)
    own = named_variables(larger)
    for path, variable in named_variables(small).items():
        own[path].assign(variable)
    return larger


@pytest.mark.slow
def test_one_view_is_what_detect_gives(model):
    as_large_as_the_canvas = noise_images(1, seed=8, sides=(200, 201))[0][:96, :128]
    for pixels in (as_large_as_the_canvas, *noise_images(2, seed=8)):
        (plain,) = detect(model, pixels)
        result = detect_augmented(model, pixels, [model.config.input.short_side], flip=False)
        assert len(result) == len(plain) > 2
        assert np.array_equal(result.class_ids, plain.class_ids)
        np.testing.assert_allclose(result.boxes, plain.boxes, atol=1e-3)
        np.testing.assert_allclose(result.scores, plain.scores, atol=1e-5)
        inner = ((plain.boxes[:, :2] > 0) & (plain.boxes[:, 2:] < result.image_shape)).all(1)  # not clipped
        assert inner.any()
        assert (result.masks[inner] != plain.masks[inner]).mean() < 1e-3
        if pixels is as_large_as_the_canvas:  # else joints are looked for on another grid of pixels
            near = np.abs(result.keypoints - plain.keypoints)[inner] < 0.02
            assert near.all(-1).mean() > 0.9  # rounding decides between equal heights


@pytest.mark.slow
def test_the_mirrored_image_gives_the_mirrored_answer(model):
    """Every view has its mirror, so the answer cannot depend on which of the two is the image."""
    (pixels,) = noise_images(1, seed=9)
    width = pixels.shape[1]
    result = detect_augmented(model, pixels, [80, 112], joint_order=SWAP)
    other = detect_augmented(model, pixels[:, ::-1], [80, 112], joint_order=SWAP)
    assert len(result) == len(other) > 2
    back = np.stack([other.boxes[:, 0], width - other.boxes[:, 3], other.boxes[:, 2], width - other.boxes[:, 1]], 1)
    order = [int(np.abs(back - box).max(1).argmin()) for box in result.boxes]
    assert sorted(order) == list(range(len(order)))
    np.testing.assert_allclose(back[order], result.boxes, atol=1e-2)
    np.testing.assert_allclose(other.scores[order], result.scores, atol=1e-5)
    assert (other.masks[order][:, :, ::-1] != result.masks).mean() < 1e-3
    joints = other.keypoints[order][:, list(SWAP)]
    np.testing.assert_allclose(width - joints[..., 0], result.keypoints[..., 0], atol=1.5)  # a peak may be a plateau
    np.testing.assert_allclose(joints[..., 2], result.keypoints[..., 2], rtol=1e-3)


def test_boxes_of_all_views_go_through_one_nms():
    def view(boxes, ids, scores):
        return Instances(np.array(boxes, np.float32), np.array(ids), (100, 100), scores=np.array(scores))

    config = tiny_model().config.box_head
    first = view([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 2], [0.6, 0.5])
    second = view([[0, 0, 10, 9], [50, 50, 60, 60]], [1, 1], [0.8, 0.4])
    boxes, ids, scores = _merge([first, second], config)
    assert boxes.tolist() == [[0, 0, 10, 9], [50, 50, 60, 60], [50, 50, 60, 60]]
    assert ids.tolist() == [1, 2, 1]
    assert scores.tolist() == pytest.approx([0.8, 0.5, 0.4])
    boxes, _, _ = _merge([first, second], dataclasses.replace(config, max_detections=1))
    assert len(boxes) == 1


@pytest.mark.slow
def test_blank_and_bad_input(model, tmp_path):
    result = detect_augmented(model, blank_image(70, 90), [64])
    assert result.boxes.shape == (0, 4)
    assert result.masks.shape == (0, 70, 90)
    assert result.keypoints.shape == (0, 3, 3)
    Image.fromarray(blank_image(70, 90)).save(tmp_path / "a.png")
    assert len(detect_augmented(model, tmp_path / "a.png", [64], flip=False)) == 0
    with pytest.raises(ValueError, match="short_sides"):
        detect_augmented(model, blank_image(70, 90), [])
    with pytest.raises(ValueError, match=r"a\.png: 70 x 90"):
        detect_augmented(model, tmp_path / "a.png", [64], max_pixels=100)
    (pixels,) = noise_images(1, seed=9)
    with pytest.raises(ValueError, match="joint_order: expected each of 0 to 2"):
        detect_augmented(model, pixels, [64], joint_order=(0, 0, 1))
