"""Region proposals: anchors to predictions, predictions to proposals, losses; against plain loops and hand numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.modeling.rpn.targets import is_inside
from mrcnn.structures.tensors import RPNOutput
from tests.ground_truth import ground_truth, stack
from tests.reference import boxes as reference

STRIDES = {"p2": 4, "p3": 8, "p4": 16}


def small(**changes):
    """Two levels, one anchor per cell, 16 anchors sampled per image."""
    fields = {
        "anchors": AnchorConfig(sizes=((8.0,), (16.0,)), ratios=(1.0,)),
        "levels": ("p2", "p3"),
        "channels": 8,
        "batch_per_image": 16,
    }
    return RPNConfig(**(fields | changes))


def output_of(logits, deltas, anchors, level_sizes=None):
    """RPNOutput from arrays; all anchors on one level by default."""
    anchors = tf.constant(np.asarray(anchors, np.float32))
    logits, deltas = (tf.constant(np.asarray(x, np.float32)) for x in (logits, deltas))
    return RPNOutput(logits, deltas, anchors, level_sizes or [len(anchors)])


def random_output(rng, batch=2, sizes=(48, 12)):
    anchors = np.concatenate(
        [reference.anchors(6, 8, 4, [8.0], [1.0])[: sizes[0]], reference.anchors(3, 4, 8, [16.0], [1.0])[: sizes[1]]]
    )
    n = sum(sizes)
    return output_of(rng.normal(size=(batch, n)), rng.normal(0, 0.3, (batch, n, 4)), anchors, list(sizes))


def features_of(rng, height=24, width=32, batch=2):
    return {
        level: tf.constant(rng.normal(size=(batch, -(-height // s), -(-width // s), 8)).astype(np.float32))
        for level, s in STRIDES.items()
    }


# Predictions


def test_call_lays_anchors_and_predictions_in_one_order(rng):
    """A prediction that depends on its cell and anchor lands at that cell's and anchor's row."""
    config = small(anchors=AnchorConfig(sizes=((8.0, 12.0), (16.0, 24.0)), ratios=(0.5, 2.0)))
    rpn = config.build(8, STRIDES)
    rpn.convs[0].set_weights([np.zeros((3, 3, 8, 8)), np.zeros(8)])
    rpn.convs[0].weights[0].assign(np.eye(8)[None, None] * (np.arange(9).reshape(3, 3, 1, 1) == 4))  # passes through
    rpn.objectness.set_weights([np.full((1, 1, 8, 4), 0.125), np.arange(4) * 100.0])
    rpn.deltas.set_weights([np.full((1, 1, 8, 16), 0.125), np.arange(16) * 100.0])
    sizes = {"p2": (6, 8), "p3": (3, 4)}
    cells = {k: np.arange(h * w, dtype=np.float32).reshape(1, h, w, 1) * np.ones(8) for k, (h, w) in sizes.items()}
    out = rpn({k: tf.constant(v, tf.float32) for k, v in cells.items()})
    assert out.level_sizes == [6 * 8 * 4, 3 * 4 * 4]
    expected = [r * 1.0 + 100.0 * k for h, w in sizes.values() for r in range(h * w) for k in range(4)]
    np.testing.assert_allclose(out.logits[0], expected)
    np.testing.assert_allclose(
        out.deltas[0],
        [
            [r + 100.0 * (4 * k + d) for d in range(4)]
            for h, w in sizes.values()
            for r in range(h * w)
            for k in range(4)
        ],
    )
    anchors = [reference.anchors(6, 8, 4, [8, 12], [0.5, 2]), reference.anchors(3, 4, 8, [16, 24], [0.5, 2])]
    np.testing.assert_allclose(out.anchors, np.concatenate(anchors), atol=1e-5)


def test_weights_are_shared_by_levels_and_few():
    rpn = RPNConfig().build(256, {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64})
    shapes = {v.path.split("rpn/")[-1]: tuple(v.shape) for v in rpn.weights}
    assert shapes == {
        "conv/kernel": (3, 3, 256, 256),
        "conv/bias": (256,),
        "objectness/kernel": (1, 1, 256, 3),
        "objectness/bias": (3,),
        "deltas/kernel": (1, 1, 256, 12),
        "deltas/bias": (12,),
    }
    kernels = [v.numpy() for v in rpn.weights if len(v.shape) == 4]
    assert all(0.005 < kernel.std() < 0.015 for kernel in kernels)
    # Equal draws would tie what should be independent
    assert not np.allclose(kernels[1].ravel()[:256], kernels[2].ravel()[:256])


def test_several_convolutions_are_numbered(rng):
    rpn = small(num_convs=2).build(8, STRIDES)
    names = [v.path.split("rpn/")[-1] for v in rpn.weights]
    assert names[:4] == ["conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias"]
    features = {k: v for k, v in features_of(rng).items() if k != "p4"}
    hidden = tf.nn.relu(tf.nn.conv2d(features["p2"], rpn.convs[0].weights[0], 1, "SAME"))
    hidden = tf.nn.relu(tf.nn.conv2d(hidden, rpn.convs[1].weights[0], 1, "SAME"))
    logits = tf.reshape(tf.nn.conv2d(hidden, rpn.objectness.weights[0], 1, "SAME"), [2, -1])
    np.testing.assert_allclose(rpn(features).logits[:, : logits.shape[1]], logits, atol=1e-5)


def test_one_level_of_any_name():
    rpn = small(levels=("c4",), anchors=AnchorConfig(sizes=((8.0, 16.0),))).build(8, {"c4": 16})
    out = rpn({"c4": tf.zeros([1, 2, 3, 8])})
    assert out.level_sizes == [2 * 3 * 6]
    np.testing.assert_allclose(out.anchors, reference.anchors(2, 3, 16, [8, 16], [0.5, 1, 2]), atol=1e-5)
    with pytest.raises(ConfigError, match=r"rpn\.levels: no level 'p2' in the neck, there are c4"):
        small().build(8, {"c4": 16})


def test_stride_from_sizes():
    """40 pixels in 3 cells of nominal stride 16: 13 pixels apart, whether sizes are known before or not."""
    anchors = AnchorConfig(sizes=((8.0,), (16.0,)), ratios=(1.0,), stride="from_sizes")
    rpn = small(anchors=anchors, levels=("p2", "p4")).build(8, STRIDES)
    features = {"p2": tf.zeros([1, 10, 8, 8]), "p4": tf.zeros([1, 3, 2, 8])}
    specs = {k: tf.TensorSpec([None, None, None, 8]) for k in features}
    for run in (rpn, tf.function(lambda f: rpn(f), input_signature=[specs])):
        centers = run(features).anchors[80:, :2] + 8
        np.testing.assert_allclose(centers, [[y, x] for y in (0, 13, 26) for x in (0, 16)])


def test_anchor_conventions():
    wide = AnchorConfig(ratio_is="width_over_height", ratios=(0.5,), end_offset=-1.0).cells(0, 4)
    tall = AnchorConfig(ratios=(2.0,)).cells(0, 4)
    np.testing.assert_allclose(wide, tall + np.array([0, 0, -1, -1]), atol=1e-5)
    rpn = small(anchors=AnchorConfig(sizes=((8.0,), (16.0,)), ratios=(1.0,), offset=0.5)).build(8, STRIDES)
    out = rpn({"p2": tf.zeros([1, 1, 2, 8]), "p3": tf.zeros([1, 1, 1, 8])})
    np.testing.assert_allclose(out.anchors, [[-2, -2, 6, 6], [-2, 2, 6, 10], [-4, -4, 12, 12]])


def test_open_shapes_predict_and_propose_as_static_ones(rng):
    rpn = small(pre_nms_test=20, post_nms_test=10).build(8, STRIDES)
    features = {k: v for k, v in features_of(rng).items() if k != "p4"}
    content = tf.constant([[24, 32], [20, 17]])
    expected = rpn.propose(rpn(features), content, for_training=False)

    @tf.function
    def run(features, content):
        return rpn.propose(rpn(features), content, for_training=False)

    specs = {k: tf.TensorSpec([None, None, None, 8]) for k in features}
    result = run.get_concrete_function(specs, tf.TensorSpec([None, 2], tf.int32))(features, content)
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert result.boxes.shape == (2, 10, 4)


@pytest.mark.parametrize("changes", [{"levels": ("p2",)}, {"anchors": AnchorConfig(sizes=((8.0,),))}])
def test_levels_and_sizes_must_agree(changes):
    with pytest.raises(ConfigError, match="levels but anchor sizes"):
        small(**changes)


@pytest.mark.parametrize("fields", [{"sizes": ((8.0,), (16.0, 32.0))}, {"sizes": ((), ())}, {"ratios": ()}])
def test_uneven_anchors_are_refused(fields):
    with pytest.raises(ConfigError, match="anchors"):
        AnchorConfig(**fields)


# Proposals


def slow_proposals(output, content_shape, pre_nms, post_nms, nms_iou, min_size=0.0):
    """Boxes and scores per image; top-k per level, decode, clip, drop empty, NMS within the level, best overall."""
    results = []
    for b, (height, width) in enumerate(np.asarray(content_shape)):
        boxes, scores, levels, start = [], [], [], 0
        for level, size in enumerate(output.level_sizes):
            rows = range(start, start + size)
            for i in sorted(rows, key=lambda i: -output.logits[b][i])[:pre_nms]:
                y1, x1, y2, x2 = reference.decode(output.deltas[b][i].numpy(), output.anchors[i].numpy())
                box = [min(max(y1, 0), height), min(max(x1, 0), width), min(max(y2, 0), height), min(max(x2, 0), width)]
                if box[2] - box[0] > min_size and box[3] - box[1] > min_size:
                    boxes.append(box)
                    scores.append(float(output.logits[b][i]))
                    levels.append(level)
            start += size
        kept = reference.suppress(boxes, scores, levels, nms_iou, post_nms)
        results.append(([boxes[i] for i in kept], [1 / (1 + math.exp(-scores[i])) for i in kept]))
    return results


@pytest.mark.parametrize("nms_iou, min_size", [(0.7, 0.0), (0.2, 3.0)])
def test_proposals_equal_the_slow_ones(rng, nms_iou, min_size):
    rpn = small(pre_nms_test=15, post_nms_test=12, nms_iou=nms_iou, min_size=min_size).build(8, STRIDES)
    output, content = random_output(rng), [[24, 32], [13, 20]]
    result = rpn.propose(output, tf.constant(content), for_training=False)
    expected = slow_proposals(output, content, 15, 12, nms_iou, min_size)
    for b, (boxes, scores) in enumerate(expected):
        n = len(boxes)
        np.testing.assert_array_equal(result.valid[b], np.arange(12) < n)
        np.testing.assert_allclose(result.boxes[b][:n], boxes, atol=1e-4)
        np.testing.assert_allclose(result.scores[b][:n], scores, atol=1e-5)
        np.testing.assert_array_equal(result.scores[b][n:], 0.0)


def test_proposals_below_the_threshold_are_dropped(rng):
    output, content = random_output(rng), tf.constant([[24, 32], [13, 20]])
    every = small(pre_nms_test=15, post_nms_test=12).build(8, STRIDES).propose(output, content, for_training=False)
    threshold = float(every.scores[0][5]) - 1e-6
    rpn = small(pre_nms_test=15, post_nms_test=12, score_threshold=threshold).build(8, STRIDES)
    some = rpn.propose(output, content, for_training=False)
    for b in range(2):
        n = int((every.scores[b].numpy() >= threshold).sum())
        assert b or n == 6
        np.testing.assert_array_equal(some.valid[b], np.arange(12) < n)
        np.testing.assert_array_equal(some.boxes[b][:n], every.boxes[b][:n])


def test_training_and_test_keep_their_own_counts(rng):
    rpn = small(pre_nms_train=9, post_nms_train=20, pre_nms_test=4, post_nms_test=7, nms_iou=1.0).build(8, STRIDES)
    output, content = random_output(rng, 1), tf.constant([[1000, 1000]])
    for training, entries, per_level in ((True, 20, 9), (False, 7, 4)):
        result = rpn.propose(output, content, for_training=training)
        assert result.boxes.shape == (1, entries, 4)
        expected = slow_proposals(output, content, per_level, entries, 1.0)[0]
        assert result.valid.numpy().sum() == len(expected[0]) <= min(entries, 2 * per_level)


def test_levels_do_not_suppress_each_other():
    """The same box on two levels survives twice; on one level once."""
    anchors = [[0, 0, 8, 8], [0, 0, 8, 8]]
    rpn = small(post_nms_test=4).build(8, STRIDES)
    for sizes, expected in (([1, 1], 2), ([2], 1)):
        output = output_of([[2.0, 1.0]], np.zeros((1, 2, 4)), anchors, sizes)
        result = rpn.propose(output, tf.constant([[32, 32]]), for_training=False)
        assert result.valid.numpy().sum() == expected
        np.testing.assert_allclose(result.scores[0, 0], 1 / (1 + math.exp(-2)), atol=1e-6)


def test_proposals_are_clipped_to_the_image_not_to_the_padding():
    output = output_of([[1.0, 0.5, 0.0]], np.zeros((1, 3, 4)), [[-4, -4, 40, 40], [2, 2, 6, 6], [21, 0, 29, 8]])
    result = small(post_nms_test=5).build(8, STRIDES).propose(output, tf.constant([[20, 30]]), for_training=False)
    # The third lies in the padding altogether
    np.testing.assert_array_equal(result.valid[0], [True, True, False, False, False])
    np.testing.assert_allclose(result.boxes[0, :2], [[0, 0, 20, 30], [2, 2, 6, 6]])


def test_hopeless_predictions_never_win():
    deltas = np.zeros((1, 3, 4))
    deltas[0, 0] = np.nan
    deltas[0, 1, 2:] = 1e6  # would overflow the exponential
    output = output_of([[9.0, 8.0, 1.0]], deltas, [[0, 0, 8, 8], [0, 0, 8, 8], [10, 10, 20, 20]])
    result = small(post_nms_test=4).build(8, STRIDES).propose(output, tf.constant([[32, 32]]), for_training=False)
    kept = result.boxes[0].numpy()[result.valid[0].numpy()]
    np.testing.assert_allclose(kept, [[0, 0, 32, 32], [10, 10, 20, 20]])


def test_no_gradient_flows_through_proposals(rng):
    rpn = small().build(8, STRIDES)
    output = random_output(rng, 1)
    with tf.GradientTape() as tape:
        tape.watch([output.logits, output.deltas])
        result = rpn.propose(output, tf.constant([[24, 32]]), for_training=True)
        total = tf.reduce_sum(result.boxes) + tf.reduce_sum(result.scores)
    assert tape.gradient(total, [output.logits, output.deltas]) == [None, None]


def test_one_nms_over_all_levels():
    """The best three of all levels enter; what overlaps on another level is dropped as on the same."""
    anchors = [[0, 0, 8, 8], [0, 0, 8, 9], [20, 20, 28, 28], [10, 10, 12, 12]]
    output = output_of([[2.0, 1.0, 0.5, 0.0]], np.zeros((1, 4, 4)), anchors, [1, 3])
    rpn = small(nms_across_levels=True, pre_nms_test=3, post_nms_test=4).build(8, STRIDES)
    result = rpn.propose(output, tf.constant([[0.0, 0.0, 32.0, 32.0]]), for_training=False)
    np.testing.assert_array_equal(result.valid[0], [True, True, False, False])
    np.testing.assert_allclose(result.boxes[0, :2], [[0, 0, 8, 8], [20, 20, 28, 28]])


def test_delta_weights_and_bound_of_proposals_are_the_config():
    deltas = np.array([[[1.0, 2.0, 0.0, 10.0]]])
    output = output_of([[1.0]], deltas, [[0, 0, 8, 8]])
    window = tf.constant([[-1e9, -1e9, 1e9, 1e9]])
    for bound, width in ((None, 8 * math.exp(5)), (1.0, 8 * math.e)):
        config = small(delta_weights=(4.0, 8.0, 1.0, 2.0), max_log_scale=bound, post_nms_test=1)
        y1, x1, y2, x2 = config.build(8, STRIDES).propose(output, window, for_training=False).boxes[0, 0].numpy()
        assert (y1, y2, x2 - x1) == pytest.approx((2, 10, width), rel=1e-5)
        assert (x1 + x2) / 2 == pytest.approx(6, abs=1e-3)


def test_proposals_without_area_survive_a_negative_min_size():
    output = output_of([[1.0, 0.5]], np.zeros((1, 2, 4)), [[2, 2, 6, 6], [40, 0, 48, 8]])
    for min_size, expected in ((0.0, [True, False]), (-1.0, [True, True])):
        rpn = small(post_nms_test=2, min_size=min_size).build(8, STRIDES)
        result = rpn.propose(output, tf.constant([[0.0, 0.0, 32.0, 32.0]]), for_training=False)
        np.testing.assert_array_equal(result.valid[0], expected)


# Losses


def values(terms):
    return {name: float(term.mean()) for name, term in terms.items()}


def test_losses_by_hand():
    """One positive, two negatives, one ignored anchor; normalized by the 8 anchors asked for, not by the 3 found."""
    gt = ground_truth([{"box": (0, 0, 8, 8)}], entries=2)
    anchors = [
        [0, 0, 8, 8],  # IoU 1: positive
        [0, 0, 8, 16],  # IoU 1/2: between 0.3 and 0.7, ignored
        [20, 20, 28, 28],  # negative
        [20, 0, 28, 8],  # negative
    ]
    logits = [[2.0, 50.0, -1.0, 3.0]]
    deltas = np.zeros((1, 4, 4))
    deltas[0, 0] = [0.05, -0.5, 0.0, 1.0]  # targets are 0
    deltas[0, 1:] = 77.0  # no positive: no box loss
    rpn = small(batch_per_image=8).build(8, STRIDES)
    result = values(rpn.loss(output_of(logits, deltas, anchors), stack([gt])))
    objectness = math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(3))
    beta = 1 / 9
    box = 0.5 * 0.05**2 / beta + (0.5 - beta / 2) + (1.0 - beta / 2)
    assert result == {"rpn_objectness": pytest.approx(objectness / 8), "rpn_box": pytest.approx(box / 8)}


def test_losses_divided_by_the_anchors_sampled():
    """As the hand numbers above; three anchors take part, in entries for a million."""
    gt = ground_truth([{"box": (0, 0, 8, 8)}], entries=2)
    anchors = [[0, 0, 8, 8], [0, 0, 8, 16], [20, 20, 28, 28], [20, 0, 28, 8]]
    output = output_of([[2.0, 50.0, -1.0, 3.0]], np.full((1, 4, 4), 0.5), anchors)
    objectness = math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(3))
    for normalizer, count in (("sampled", 3.0), ("batch_per_image", 1e6)):
        config = small(batch_per_image=1_000_000, positive_fraction=1.0, normalizer=normalizer)
        result = values(config.build(8, STRIDES).loss(output, stack([gt])))
        assert result["rpn_objectness"] == pytest.approx(objectness / count)
        assert result["rpn_box"] == pytest.approx(4 * (0.5 - 1 / 18) / count)


def test_entries_beyond_the_anchors_leave_the_share_of_positives():
    """64 entries at most half positive are more than the 4 anchors: all three positives take part."""
    gt = ground_truth([{"box": (0, 0, 8, 8)}], entries=1)
    output = output_of([[1.0] * 4], np.zeros((1, 4, 4)), [[0, 0, 8, 8]] * 3 + [[20, 20, 28, 28]])
    result = small(batch_per_image=64).build(8, STRIDES).loss(output, stack([gt]))
    total = 3 * math.log1p(math.exp(-1)) + math.log1p(math.exp(1))
    assert float(result["rpn_objectness"].total) == pytest.approx(total)


def test_targets_carry_the_delta_weights():
    gt = ground_truth([{"box": (1, 2, 9, 10)}], entries=1)
    target = [4 / 8, 8 * 2 / 8, 0, 0]
    output = output_of([[0.0]], [[target]], [[0, 0, 8, 8]])
    result = small(delta_weights=(4.0, 8.0, 1.0, 2.0)).build(8, STRIDES).loss(output, stack([gt]))
    assert float(result["rpn_box"].total) == pytest.approx(0, abs=1e-6)


def slow_losses(output, gt, index, foreground, num):
    """Sums over given samples of one image, divided by the number asked for."""
    beta, objectness, box = 1 / 9, 0.0, 0.0
    owner, _, _ = reference.match(
        output.anchors.numpy(), gt["gt_boxes"], gt["gt_valid"], gt["gt_crowd"], 0.7, 0.3, True
    )
    for i, positive in zip(index, foreground, strict=True):
        x = float(output.logits[0][i])
        objectness += math.log1p(math.exp(-x if positive else x))
        if positive:
            target = reference.encode(gt["gt_boxes"][owner[i]], output.anchors[i].numpy())
            for d in np.abs(output.deltas[0][i].numpy() - target):
                box += 0.5 * d * d / beta if d < beta else d - beta / 2
    return {"rpn_objectness": objectness / num, "rpn_box": box / num}


OBJECTS = [{"box": (2, 3, 10, 12)}, {"box": (5, 14, 22, 30), "class_id": 2}, {"box": (9, 9, 12, 12)}]


def test_losses_equal_the_slow_ones(rng):
    """With more entries than anchors every labeled anchor is in the sample, whatever the seed."""
    output, gt = random_output(rng, 1), ground_truth(OBJECTS)
    arguments = (output.anchors.numpy(), gt["gt_boxes"], gt["gt_valid"], gt["gt_crowd"], 0.7, 0.3, True)
    labels = reference.match(*arguments)[1]
    index = [i for i, label in enumerate(labels) if label >= 0]
    assert sum(label == 1 for label in labels) >= 3  # every object has an anchor, however poor the overlap
    result = values(small(batch_per_image=200).build(8, STRIDES).loss(output, stack([gt])))
    expected = slow_losses(output, gt, index, [labels[i] == 1 for i in index], 200)
    assert result == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_gradient_reaches_only_the_sampled_anchors(rng):
    output, gt = random_output(rng, 1), ground_truth([*OBJECTS[:2], {"box": (0, 20, 24, 32), "crowd": True}])
    rpn = small(batch_per_image=12, positive_fraction=0.25).build(8, STRIDES)
    with tf.GradientTape() as tape:
        tape.watch([output.logits, output.deltas])
        terms = rpn.loss(output, stack([gt]))
        total = tf.add_n([t.mean() for t in terms.values()])
    by_logit, by_delta = (np.asarray(tf.convert_to_tensor(g))[0] for g in tape.gradient(total, output[:2]))
    arguments = (output.anchors.numpy(), gt["gt_boxes"], gt["gt_valid"], gt["gt_crowd"], 0.7, 0.3, True)
    labels = np.array(reference.match(*arguments)[1])
    touched = by_logit != 0
    assert touched.sum() == 12
    assert not touched[labels == -1].any()
    positive = touched & (labels == 1)
    assert 1 <= positive.sum() <= 3
    np.testing.assert_array_equal((by_delta != 0).any(-1), positive)
    assert (by_logit[positive] < 0).all()
    assert (by_logit[touched & ~positive] > 0).all()


def test_batch_loss_is_the_mean_over_images_and_seeds_decide_the_sample(rng):
    output = random_output(rng, 2)
    rpn = small(batch_per_image=10).build(8, STRIDES)
    images = [ground_truth(OBJECTS, seed=(1, 2)), ground_truth([], seed=(1, 3))]
    both = values(rpn.loss(output, stack(images)))
    alone = [
        values(rpn.loss(output._replace(logits=output.logits[b : b + 1], deltas=output.deltas[b : b + 1]), stack([p])))
        for b, p in enumerate(images)
    ]
    for name in both:
        assert both[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2, rel=1e-5)
    assert alone[1]["rpn_box"] == 0.0
    assert alone[1]["rpn_objectness"] > 0.0
    assert values(rpn.loss(output, stack(images))) == both
    other = [dict(p, seed=p["seed"] + 1) for p in images]
    assert values(rpn.loss(output, stack(other))) != both


def test_loss_weight_scales_both_terms(rng):
    output, batch = random_output(rng, 1), stack([ground_truth(OBJECTS)])
    one, three = (values(small(loss_weight=w).build(8, STRIDES).loss(output, batch)) for w in (1.0, 3.0))
    assert three == {name: pytest.approx(3 * value, rel=1e-5) for name, value in one.items()}


@pytest.mark.parametrize(
    "objects", [[], [{"box": (0, 0, 32, 32), "crowd": True}], [{"box": (5, 5, 5, 9)}], [{"box": (3, 3, 4, 4)}]]
)
def test_strange_ground_truth_gives_finite_losses_and_gradients(rng, objects):
    """No object, an image that is all crowd, a box without area, a box of one pixel."""
    rpn = small().build(8, STRIDES)
    features, batch = features_of(rng, batch=1), stack([ground_truth(objects)])
    with tf.GradientTape() as tape:
        terms = rpn.loss(rpn(features), batch)
        total = tf.add_n([t.mean() for t in terms.values()])
    assert np.isfinite(total)
    for gradient in tape.gradient(total, rpn.trainable_variables):
        assert gradient is None or np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.parametrize(("num_convs", "sampled"), [(1, 12), (2, 12), (1, 240)])
def test_loss_and_gradient_through_sampled_cells_are_those_through_whole_maps(rng, num_convs, sampled):
    anchors = AnchorConfig(sizes=((8.0, 12.0), (16.0, 24.0)), ratios=(0.5, 2.0))
    rpn = small(anchors=anchors, num_convs=num_convs, batch_per_image=sampled).build(8, STRIDES)
    for weight in rpn.trainable_variables:  # initial ones are so small that deltas hardly matter
        weight.assign(rng.normal(0, 0.3, weight.shape))
    features, batch = features_of(rng), stack([ground_truth(OBJECTS), ground_truth(OBJECTS[:1])])

    def losses_and_gradients(whole_maps):
        with tf.GradientTape() as tape:
            tape.watch(features)
            terms = rpn.loss(rpn(features), batch, None if whole_maps else features)
            total = tf.add_n([t.mean() for t in terms.values()])
        sources = [*rpn.trainable_variables, features["p2"], features["p3"]]
        return values(terms), [tf.convert_to_tensor(g).numpy() for g in tape.gradient(total, sources)]

    if (num_convs, sampled) == (1, 12):  # of 60 cells: the case the maps are spared in
        assert not _depends_on_output(rpn, features, batch)
    (expected, expected_gradients), (result, found_gradients) = map(losses_and_gradients, (True, False))
    assert result == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    for a, b in zip(expected_gradients, found_gradients, strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


def _depends_on_output(rpn, features, batch):
    output = rpn(features)
    with tf.GradientTape() as tape:
        tape.watch([output.logits, output.deltas])
        total = tf.add_n([t.mean() for t in rpn.loss(output, batch, features).values()])
    return any(g is not None for g in tape.gradient(total, [output.logits, output.deltas]))


# As matterport/Mask_RCNN has it


def test_box_loss_as_the_mean_over_the_elements_of_positive_anchors():
    gt = ground_truth([{"box": (0, 0, 8, 8)}], entries=2)
    anchors = [[0, 0, 8, 8], [0, 0, 8, 16], [20, 20, 28, 28], [20, 0, 28, 8]]
    output = output_of([[2.0, 50.0, -1.0, 3.0]], np.full((1, 4, 4), 0.5), anchors)
    result = values(small(batch_per_image=8, normalizer="means").build(8, STRIDES).loss(output, stack([gt])))
    objectness = math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(3))
    assert result == {"rpn_objectness": pytest.approx(objectness / 3), "rpn_box": pytest.approx(0.5 - 1 / 18)}


def test_two_logits_compete(rng):
    """The object's logit less the background's, in whole maps and at sampled cells, is what counts."""
    single, pair = (small(objectness=kind).build(8, STRIDES) for kind in ("sigmoid", "softmax"))
    kernel, bias = rng.normal(size=(1, 1, 8, 2)), rng.normal(size=2)
    pair.set_weights([*single.get_weights()[:2], kernel, bias, *single.get_weights()[4:]])
    single.objectness.set_weights([kernel[..., 1:] - kernel[..., :1], bias[1:] - bias[:1]])
    features = features_of(rng)
    expected, result = single(features), pair(features)
    np.testing.assert_allclose(result.logits, expected.logits, rtol=1e-4, atol=1e-5)
    logits = pair.class_logits(features)
    assert logits.shape == (2, result.logits.shape[1], 2)
    np.testing.assert_allclose(logits[..., 1] - logits[..., 0], result.logits, rtol=1e-4, atol=1e-5)
    index = tf.constant([[0, 5, 40], [3, 3, 7]])
    for a, b in zip(single._predict_at(features, index), pair._predict_at(features, index), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_targets_between_edges():
    """Anchors and objects that name their last pixel are matched and encoded as one pixel larger."""
    anchors = AnchorConfig(sizes=((8.0,), (16.0,)), ratios=(1.0,), end_offset=-1.0)
    rpn = small(anchors=anchors, match_edges=True).build(8, STRIDES)
    gt = ground_truth([{"box": (0, 0, 7, 11)}], entries=1)  # the last pixels of 8 x 12
    output = output_of([[0.0, 0.0]], np.zeros((1, 2, 4)), [[0, 0, 7, 7], [20, 20, 27, 27]])
    result = values(rpn.loss(output, stack([gt])))
    targets = [(6 - 4) / 8, math.log(12 / 8)]  # dx and log dw
    beta = 1 / 9
    assert result["rpn_box"] == pytest.approx(sum(t - beta / 2 for t in targets) / 16, rel=1e-5)
    other = rpn.from_target_frame(rpn.in_target_frame(output.anchors))
    np.testing.assert_array_equal(other, output.anchors)


def test_anchors_beyond_the_border_by_hand():
    anchors = tf.constant([[0, 0, 5, 5], [-1, 0, 5, 5], [0, 0, 5, 8], [0, 0, 10, 5], [0, 0, 9.5, 7.5]], tf.float32)
    inside = [is_inside(anchors, tf.constant([10, 8]), border) for border in (0.0, 2.0)]
    assert np.asarray(inside).tolist() == [[True, False, False, False, True], [True] * 5]
