"""A model of rotated boxes: its parts, targets against slow references, a training step, detections in the image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn import recipes
from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.errors import InputError
from mrcnn.modeling.compatibility import check_geometry
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.mlp_mask import MLPMaskHeadConfig
from mrcnn.modeling.heads.rotated_box import RotatedBoxHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig, sample_rois
from mrcnn.modeling.rpn.rotated import RotatedAnchorConfig, RotatedRPNConfig
from mrcnn.modeling.rpn.targets import sample_anchors
from mrcnn.ops.box_geometry import ROTATED
from mrcnn.structures.tensors import Proposals, RPNOutput
from mrcnn.weights import load_model, save_checkpoint
from tests.ops.test_rotated_iou import slow_iou
from tests.rotated_model import bars_batch, inside, rotated_config

BARS = [[(40, 60, 12, 60, 30), (70, 30, 8, 40, -50)], [(48, 64, 16, 70, 90)]]
LOSSES = {"rpn_objectness", "rpn_box", "roi_class", "roi_box", "roi_mask"}
ROTATED_POOL = RoiPoolConfig(size=14, op="align_rotated")


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    keras.utils.set_random_seed(0)
    return MaskRCNN(rotated_config(), ["bar", "other"])


def without_ground_truth(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {key: value for key, value in batch.items() if not key.startswith("gt_")}


def test_the_config_survives_plain_data() -> None:
    config = rotated_config()
    assert MaskRCNNConfig.from_dict(config.to_dict()) == config
    recipe = recipes.get("rotated_mask_rcnn_r50_fpn")
    assert type(recipe).from_dict(recipe.to_dict()) == recipe
    assert recipe.data.rotated_boxes
    changed = recipe.override({"model.rpn.anchors.angles": [0, 45], "model.box_head.delta_weights": [1, 1, 1, 1, 2]})
    assert changed.model.rpn.anchors.per_cell == 6 and changed.model.box_head.delta_weights[4] == 2
    one_map = recipe.model.rpn.on_one_map("c4")
    assert isinstance(one_map, RotatedRPNConfig) and one_map.anchors.per_cell == 90


def test_anchors_lie_on_the_cells_with_every_ratio_and_angle() -> None:
    anchors = RotatedAnchorConfig(sizes=((16.0,),), ratios=(1.0, 0.25), angles=(0.0, 45.0))
    grid = anchors.grid(2, 3, 8, anchors.cells(0, 8)).numpy().reshape(2, 3, 4, 5)
    np.testing.assert_allclose(grid[1, 2], [[8, 16, 16, 16, a] for a in (0, 45)] + [[8, 16, 8, 32, a] for a in (0, 45)])
    wide = dataclasses.replace(anchors, ratio_is="width_over_height")
    np.testing.assert_allclose(wide.cells(0, 8)[2], [0, 0, 32, 8, 0])


def test_anchors_are_matched_by_rotated_overlap() -> None:
    gt = np.float32([[20, 20, 8, 32, 30], [50, 40, 10, 10, 0], [0, 0, 9, 9, 0], [0, 0, 9, 9, 0]])
    same, other, quarter_on = [20, 20, 8, 32, 30], [20, 20, 8, 32, 60], [20.4, 20.3, 31, 8.3, 120]
    anchors = np.float32([same, other, quarter_on, [50, 40, 10, 10, 90], [80, 80, 9, 9, 9]])
    overlaps = np.array([[slow_iou(a, g) for g in gt[:2]] for a in anchors])
    batch = {
        "gt_rotated_boxes": gt[None], "gt_valid": [[True, True, False, False]], "gt_crowd": [[False] * 4],
        "seed": [[1, 2]],
    }  # fmt: skip
    config = RotatedRPNConfig(batch_per_image=5, positive_fraction=0.8)
    output = RPNOutput(tf.zeros([1, 5]), tf.zeros([1, 5, 5]), tf.constant(anchors), [5])
    sample = sample_anchors(output, {k: tf.constant(v) for k, v in batch.items()}, config)
    index, foreground = sample.index[0].numpy(), sample.foreground[0].numpy()
    expected = (overlaps.max(1) >= 0.7) | (overlaps == overlaps.max(0)).any(1)
    assert expected.tolist() == [True, False, True, True, False]
    assert sorted(index[foreground]) == np.flatnonzero(expected).tolist()
    negatives = index[sample.valid[0].numpy() & ~foreground]
    assert sorted(negatives) == np.flatnonzero(overlaps.max(1) < 0.3).tolist()
    for i, box in zip(index[foreground], sample.gt_boxes[0].numpy()[foreground], strict=True):
        np.testing.assert_array_equal(box, gt[overlaps[i].argmax()])


def test_rois_are_drawn_by_rotated_overlap() -> None:
    gt = np.float32([[[20, 20, 8, 32, 30], [50, 40, 10, 30, 0]]])
    proposals = np.float32([[[20, 20, 8, 32, 40], [20, 20, 8, 32, 80], [51, 41, 30, 10, 90], [80, 80, 9, 9, 9]]])
    batch = {
        "gt_rotated_boxes": gt, "gt_class_ids": [[1, 2]], "gt_valid": [[True, True]], "gt_crowd": [[False, True]],
        "seed": [[1, 2]],
    }  # fmt: skip
    rois = sample_rois(
        Proposals(tf.constant(proposals), tf.ones([1, 4]), tf.ones([1, 4], tf.bool)),
        {k: tf.constant(v) for k, v in batch.items()},
        RoiSamplerConfig(num_rois=8, positive_fraction=0.5),
        ROTATED,
    )
    valid = rois.valid[0].numpy()
    boxes, class_ids = rois.boxes[0].numpy()[valid], rois.class_ids[0].numpy()[valid].tolist()
    drawn = {tuple(box): k for box, k in zip(boxes, class_ids, strict=True)}
    # The true box joins; the crowd region is no object, and what lies in it is left out.
    assert drawn == {tuple(gt[0, 0]): 1, **{tuple(proposals[0, i]): k for i, k in ((0, 1), (1, 0), (3, 0))}}


def test_losses_and_their_gradients(model: MaskRCNN) -> None:
    batch = bars_batch(BARS)
    with tf.GradientTape() as tape:
        losses = model(batch, training=True)
        total = tf.add_n(list(losses.values()))
    assert set(losses) == LOSSES and all(np.isfinite(float(v)) for v in losses.values())
    assert float(losses["roi_mask"]) > 0 and float(losses["rpn_box"]) > 0
    gradients = dict(
        zip((v.path for v in model.trainable_variables), tape.gradient(total, model.trainable_variables), strict=True)
    )
    for part in ("rpn/deltas", "box_head/deltas", "mask_head/mask_logits", "fpn"):
        own = [g for path, g in gradients.items() if part in path]
        assert own and any(np.any(g) for g in own)
    with pytest.raises(InputError, match=r"RotatedRPNConfig trains on gt_rotated_boxes.*data\.rotated_boxes"):
        model({k: v for k, v in batch.items() if k != "gt_rotated_boxes"}, training=True)


def test_mask_targets_of_true_boxes_show_the_objects_lying(model: MaskRCNN) -> None:
    """A bar fills its own rotated box, so through one twice as high it is the middle half of the target."""
    batch = bars_batch(BARS)
    boxes = batch["gt_rotated_boxes"][:, :2] * tf.constant([1.0, 1, 2, 1, 1])
    index = tf.zeros([2, 2], tf.int32) + tf.range(2)
    flags = tf.constant([[True, True], [True, False]])
    rois = sample_rois(
        Proposals(boxes, tf.ones([2, 2]), flags),
        batch,
        RoiSamplerConfig(4, fg_iou=0.4, append_gt=False, positive_fraction=1.0),
        ROTATED,
    )
    targets = model.heads[0].targets(rois, batch).numpy()
    assert int(tf.reduce_sum(tf.cast(rois.foreground, tf.int32))) == 3 and index.shape == (2, 2)
    for target in targets[rois.foreground.numpy()]:
        rows = target.mean(1)
        assert (rows[9:19] > 0.8).all() and (rows[:5] < 0.2).all() and (rows[23:] < 0.2).all()


def test_detections_are_rotated_boxes_within_their_bounds(model: MaskRCNN) -> None:
    config = dataclasses.replace(model.config.box_head, score_threshold=0.0)
    batch = without_ground_truth(bars_batch(BARS))
    features = model.extract_features(batch)
    window = model.detection_window(batch)
    proposals = model.rpn.propose(model.rpn(features), window, for_training=False)
    assert proposals.boxes.shape[-1] == 5
    boxes = proposals.boxes.numpy()[proposals.valid.numpy()]
    assert (boxes[:, 3] >= boxes[:, 2]).all() and (np.abs(boxes[:, 4]) <= 90).all()
    original, model.box_head.config = model.box_head.config, config
    try:
        detections = model(batch, training=False)
    finally:
        model.box_head.config = original
    assert detections["rotated_boxes"].shape == (2, 20, 5) and detections["masks"].shape == (2, 20, 28, 28)
    valid = detections["valid"].numpy()
    assert valid.any() and not np.any(detections["rotated_boxes"].numpy()[~valid])
    for rotated, bounds in zip(
        detections["rotated_boxes"].numpy()[valid], detections["boxes"].numpy()[valid], strict=True
    ):
        shown = np.argwhere(inside(rotated - np.float32([-200, -200, 0, 0, 0]), 500, 500)) + 0.5 - 200
        if len(shown):
            assert (shown.min(0) >= bounds[:2]).all() and (shown.max(0) <= bounds[2:]).all()


def test_a_checkpoint_holds_the_model(model: MaskRCNN, tmp_path: Any) -> None:
    save_checkpoint(model, tmp_path / "rotated.safetensors")
    loaded = load_model(tmp_path / "rotated.safetensors")
    assert loaded.config == model.config
    for own, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_steps_of_training_in_half_precision(policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        model = MaskRCNN(rotated_config(), ["bar", "other"])
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.SGD(1e-3))
    batch = bars_batch(BARS)
    losses = [float(model.train_on_batch(batch, return_dict=True)["loss"]) for _ in range(2)]
    assert np.isfinite(losses).all()
    detections = model(without_ground_truth(batch), training=False)
    assert detections["rotated_boxes"].dtype == detections["masks"].dtype == tf.float32


def refusals() -> Iterator[Any]:
    rotated, plain = rotated_config(), MaskRCNNConfig()
    mask = rotated.heads[0]
    yield rotated, {"box_head": plain.box_head}, "rpn and box_head: .*expected RotatedBoxHeadConfig, got BoxHeadConfig"
    yield rotated, {"box_head": CascadeBoxHeadConfig()}, "rpn and box_head: .*got CascadeBoxHeadConfig"
    for op in ("pool", "align"):
        pool = RoiPoolConfig(size=14, op=op)
        heads = (dataclasses.replace(mask, pool=pool),)
        yield rotated, {"heads": heads}, f'rpn and heads.0.pool.op: .*expected op "align_rotated", got "{op}"'
    yield rotated, {"box_head": RotatedBoxHeadConfig(pool=RoiPoolConfig(op="pool"))}, r"rpn and box_head\.pool\.op"
    yield rotated, {"heads": (KeypointHeadConfig(pool=ROTATED_POOL),)}, "rpn and heads.0: .*KeypointHeadConfig cannot"
    for field, value in (("target", "project"), ("paste", "padded_integer")):
        yield rotated, {"heads": (dataclasses.replace(mask, **{field: value}),)}, f"rpn and heads.0.{field}: .*{value}"
    for field, value in (("end_offset", -1.0), ("whole_pixels", True)):
        yield rotated, {"input": dataclasses.replace(rotated.input, **{field: value})}, rf"rpn and input\.{field}"
    yield plain, {"box_head": rotated.box_head}, "rpn and box_head: RotatedBoxHeadConfig needs .*RotatedRPNConfig"
    yield plain, {"heads": (mask,)}, 'rpn and heads.0.pool.op: RPNConfig proposes axis-aligned.*got "align_rotated"'


@pytest.mark.parametrize("config, changes, message", list(refusals()))
def test_what_has_no_meaning_is_refused(config: MaskRCNNConfig, changes: dict[str, BaseConfig], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: RotatedAnchorConfig(angles=()), "anchors.angles"),
        (lambda: RotatedAnchorConfig(order="ratio_major"), "anchors.order: .*expected 'size_major', got 'ratio_major'"),
        (lambda: RotatedAnchorConfig(end_offset=-1.0), "anchors.end_offset"),
        (lambda: RotatedRPNConfig(allowed_border=0.0), "rpn.allowed_border"),
        (lambda: RotatedRPNConfig(match_edges=True), "rpn.match_edges"),
        (lambda: RoiPoolConfig(op="align_rotated", reduce="max"), "pool.op and pool.reduce"),
        (lambda: RoiPoolConfig(op="align_rotated", end_offset=-1.0), "pool.op and pool.end_offset"),
    ],
)
def test_fields_that_rotated_boxes_do_not_have(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_what_fits_is_taken() -> None:
    config = rotated_config()
    check_geometry(config.rpn, config.box_head, (MLPMaskHeadConfig(pool=ROTATED_POOL),), config.input)
    check_geometry(config.rpn, config.box_head, (), config.input)


def test_a_head_says_for_itself_that_it_takes_rotated_rois() -> None:
    @dataclasses.dataclass(frozen=True)
    class OwnMaskHeadConfig(MaskHeadConfig):
        pass

    config = rotated_config()
    with pytest.raises(ConfigError, match=r"rpn and heads\.0: RotatedRPNConfig .* OwnMaskHeadConfig cannot take"):
        check_geometry(config.rpn, config.box_head, (OwnMaskHeadConfig(pool=ROTATED_POOL),), config.input)
