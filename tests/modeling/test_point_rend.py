"""PointRend: the head against plain loops, how it subdivides, what it trains on, that it trains and exports."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import RoiHeadConfig
from mrcnn.modeling.heads.point_rend import PointPrediction, PointRendMaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.structures.tensors import RoiSample
from tests.ground_truth import MASK_SIDE, ground_truth, stack
from tests.ops.test_points import slow_sample
from tests.tiny_model import noise_images, tiny_config

STRIDES = {"p2": 4, "p3": 8}
WINDOW = tf.constant([[0.0, 0.0, 64.0, 64.0]])
BOXES = tf.constant([[[8.0, 8.0, 30.0, 40.0], [0.0, 0.0, 9.0, 9.0], [50.0, 40.0, 64.0, 64.0]]])
VALID = tf.ones([1, 3], tf.bool)
SMALL = {
    "pool": RoiPoolConfig(size=4, levels=("p2", "p3")),
    "conv_dim": 6,
    "fc_dims": (8,),
    "coarse_side": 3,
    "point_levels": ("p3", "p2"),
    "point_fc_dims": (7, 5),
    "subdivisions": 2,
    "subdivision_points": 36,
    "train_points": 12,
}


def head_of(rng=None, **changes):
    config = PointRendMaskHeadConfig(**(SMALL | changes))
    head = config.build(2, RoiPooler(config.pool, STRIDES, 4))
    for weight in head.weights if rng is not None else ():
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return head


def features_of(rng):
    return {k: tf.constant(rng.normal(size=(1, 64 // s, 64 // s, 4)), tf.float32) for k, s in STRIDES.items()}


def test_head_of_the_paper():
    head = PointRendMaskHeadConfig().build(80, RoiPooler(RoiPoolConfig(size=14, levels=("p2",)), STRIDES, 256))
    shapes = {v.path.split("mask_head/")[-1]: tuple(v.shape) for v in head.weights if "kernel" in v.path}
    assert shapes == {
        "coarse_reduce/kernel": (2, 2, 256, 256),
        "coarse_fc1/kernel": (7 * 7 * 256, 1024),
        "coarse_fc2/kernel": (1024, 1024),
        "coarse_logits/kernel": (1024, 7 * 7 * 80),
        **{f"point_fc{k}/kernel": (256 + 80, 256) for k in (1, 2, 3)},
        "point_logits/kernel": (256 + 80, 80),
    }


def slow_point_logits(head, features, box, coarse, point):
    """Logits of the classes at a point (y, x) of a box, by the weights in the order they were created."""
    at = box[:2] + point * (box[2:] - box[:2])
    fine = np.concatenate([slow_sample(features[k][0].numpy(), *(at / STRIDES[k])) for k in ("p3", "p2")])
    given = slow_sample(coarse, *(point * coarse.shape[0]))
    x = np.concatenate([fine, given])
    for layer in head.point_fcs:
        x = np.concatenate([np.maximum(x @ layer.kernel.numpy() + layer.bias.numpy(), 0), given])
    return x @ head.point_logits.kernel.numpy() + head.point_logits.bias.numpy()


def test_masks_equal_the_slow_ones(rng):
    """All of the 6 x 6 grid is computed; of the 12 x 12 one the 36 cells that are nearest to 0 once doubled."""
    head, features = head_of(rng), features_of(rng)
    assert head.config.schedule == (6, 1)
    class_ids = np.array([[1, 2, 2]])
    ours = head(features, BOXES, VALID, WINDOW, class_ids=tf.constant(class_ids, tf.int32)).numpy()
    coarse = head.coarse_masks(features, BOXES).numpy()
    assert ours.shape == (1, 3, 12, 12) and coarse.shape == (1, 3, 3, 3, 2)
    for s in range(3):

        def at(y, x, side, s=s):
            point = (np.array([y, x]) + 0.5) / side
            return slow_point_logits(head, features, BOXES[0, s].numpy(), coarse[0, s], point)[class_ids[0, s] - 1]

        grid = np.array([[at(y, x, 6) for x in range(6)] for y in range(6)])
        fine = tf.image.resize(grid[..., None], [12, 12], "bilinear").numpy()[..., 0]
        for cell in np.argsort(np.abs(fine.ravel()))[:36]:
            fine[cell // 12, cell % 12] = at(cell // 12, cell % 12, 12)
        np.testing.assert_allclose(ours[0, s], fine, rtol=1e-3, atol=1e-3)


def test_coarse_masks_equal_the_slow_ones(rng):
    head, features = head_of(rng), features_of(rng)
    box = BOXES[0, 0].numpy()
    cells = np.zeros((4, 4, 8))
    for y, x in np.ndindex(4, 4):
        at = box[:2] + (np.array([y, x]) + 0.5) / 4 * (box[2:] - box[:2])
        cells[y, x] = np.concatenate([slow_sample(features[k][0].numpy(), *(at / STRIDES[k])) for k in ("p2", "p3")])
    kernel, bias = (weight.numpy() for weight in head.coarse_channels.weights)
    cells = np.maximum(cells @ kernel[0, 0] + bias, 0)
    kernel, bias = (weight.numpy() for weight in head.coarse_reduce.weights)
    x = [np.tensordot(cells[i : i + 2, j : j + 2], kernel, 3) + bias for i in (0, 2) for j in (0, 2)]
    x = np.maximum(np.array(x), 0).ravel()
    for layer in head.coarse_fcs:
        x = np.maximum(x @ layer.kernel.numpy() + layer.bias.numpy(), 0)
    x = x @ head.coarse_logits.kernel.numpy() + head.coarse_logits.bias.numpy()
    np.testing.assert_allclose(head.coarse_masks(features, BOXES)[0, 0], x.reshape(3, 3, 2), rtol=1e-3, atol=1e-3)


def test_uncertain_points_are_preferred_and_come_from_the_seed(rng):
    head = head_of(importance=0.75, oversample=3.0)
    coarse = tf.constant(
        np.tile(np.linspace(-4, 4, 3)[:, None, None], (1, 3, 2))[None, None], tf.float32
    )  # 0 at y = 1/2
    index = tf.zeros([1, 1], tf.int32)
    first, again, other = (head.draw_train_points(coarse, index, tf.constant([[7, k]])).numpy() for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (1, 1, 12, 2) and np.abs(first - other).max() > 0.1
    distance = np.abs(first[0, 0, :, 0] - 0.5)
    assert distance[:9].max() < 0.25 and distance[:9].mean() < distance[9:].mean() + 0.1


def rois_of(boxes):
    fields = ([boxes], [[1] * len(boxes)], [[0] * len(boxes)], [[True] * len(boxes)], [[True] * len(boxes)])
    types = (tf.float32, tf.int32, tf.int32, tf.bool, tf.bool)
    return RoiSample(*(tf.constant(field, dtype) for field, dtype in zip(fields, types, strict=True)))


@pytest.mark.parametrize("full", [False, True])
def test_labels_are_the_object_at_the_points(full):
    """The upper half of the box (8, 8, 40, 40): 0 and 1 away from the edge, a half on it, 0 outside of the box."""
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    mask[: MASK_SIDE // 2] = 1
    batch = stack([ground_truth([{"box": (8, 8, 40, 40), "mask": mask}])])
    if full:
        whole = np.zeros((1, 4, 64, 64), np.uint8)
        whole[0, 0, 8:24, 8:40] = 1
        batch |= {"gt_full_masks": tf.constant(whole), "content_shape": tf.constant([[64, 64]])}
    head, rois = head_of(target="project" if full else "grid"), rois_of([[8, 8, 40, 40], [0, 0, 64, 64]])
    points = tf.constant([[[[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]], [[0.05, 0.5], [0.25, 0.25], [0.9, 0.5]]]])
    expected = np.array([[[1, 0.5, 0], [0, 1, 0]]])
    pred = PointPrediction(tf.zeros([1, 2, 3, 3, 2]), points, tf.fill([1, 2, 3, 2], 20.0))
    term = head.loss(pred, head.targets(rois, batch), rois)["roi_mask_point"]
    np.testing.assert_allclose(float(term.total), (20 * (1 - expected)).mean(-1).sum(), rtol=1e-4)
    assert float(term.count) == 2


def test_an_image_without_rois():
    head, features = head_of(), {k: tf.zeros([1, 64 // s, 64 // s, 4]) for k, s in STRIDES.items()}
    none = tf.zeros([1, 0], tf.int32)
    assert head(features, tf.zeros([1, 0, 4]), none > 0, WINDOW, class_ids=none).shape == (1, 0, 12, 12)


def test_config_is_plain_data():
    config = PointRendMaskHeadConfig(point_levels=("p2", "p3"), subdivisions=3, loss="dice")
    assert config.layer_name == "mask_head" and RoiHeadConfig.from_dict(config.to_dict()) == config
    assert config.loss_names == ("roi_mask", "roi_mask_point") and [o.name for o in config.outputs] == ["masks"]
    assert PointRendMaskHeadConfig(subdivisions=1).schedule == (14, 0)
    assert PointRendMaskHeadConfig(subdivision_points=100).schedule == (7, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "softmax"}, "activation and class_agnostic"),
        ({"pool": RoiPoolConfig(size=7)}, "pool.size: .* an even number, got 7"),
        ({"fc_dims": ()}, "fc_dims and point_fc_dims"),
        ({"importance": 1.5}, "importance from 0 to 1"),
        ({"train_points": 0}, "train_points: expected at least 1"),
        ({"point_levels": ()}, "point_levels: expected at least one"),
    ],
)
def test_impossible_configs_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        PointRendMaskHeadConfig(**changes)


def test_a_level_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="point_levels: no level 'p7' in the neck, there are p2, p3"):
        head_of(point_levels=("p7",))


def point_rend_config():
    """The tiny model's config with a small PointRend."""
    changes = {name: value for name, value in SMALL.items() if name not in ("pool", "point_levels")}
    head = PointRendMaskHeadConfig(pool=RoiPoolConfig(size=4, levels=("p2",)), **changes)
    return dataclasses.replace(tiny_config(), heads=(head,))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_model_trains(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = MaskRCNN(point_rend_config(), ["thing", "other"])
        batch = stack([ground_truth([{"box": (8, 8, 60, 70)}])])
        image = tf.constant(noise_images(1, sides=(96, 97))[0][None])
        batch |= {"image": image, "content_shape": tf.constant([[96, 96]])}
        model.compile(keras.optimizers.SGD(1e-3))
        before = model.heads[0].point_logits.kernel.numpy()
        losses = model.train_step(batch)
        assert np.isfinite([float(value) for value in losses.values()]).all() and "roi_mask_point" in losses
        assert np.abs(model.heads[0].point_logits.kernel.numpy() - before).max() > 0
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_an_export_gives_the_same_masks(tmp_path):
    """The export compares its answers with the model's before it is written; stock operations only."""
    keras.utils.set_random_seed(0)
    model = MaskRCNN(point_rend_config(), ["thing", "other"])
    model.box_head.class_logits.kernel.assign(model.box_head.class_logits.kernel * 10.0)
    path = mrcnn.export_saved_model(model, tmp_path / "served", images=noise_images(2), score_threshold=0.0)
    assert (path / "saved_model.pb").exists()
