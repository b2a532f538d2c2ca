"""Which proposals the heads train on, and as what."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.roi_sampler import RoiSamplerConfig, sample_rois
from mrcnn.structures.tensors import Proposals, RoiSample, batch_spec
from tests.ground_truth import ground_truth, stack
from tests.reference import boxes as reference

OBJECTS = [
    {"box": (0, 0, 10, 10), "class_id": 2},
    {"box": (20, 20, 40, 30), "class_id": 1},
    {"box": (60, 0, 90, 60), "crowd": True, "class_id": 3},
]


def proposals_of(boxes, valid=None):
    """One image's proposals."""
    boxes = np.asarray(boxes, np.float32).reshape(1, -1, 4)
    n = boxes.shape[1]
    valid = np.ones(n, bool) if valid is None else np.asarray(valid)
    return Proposals(tf.constant(boxes), tf.zeros([1, n]), tf.constant(valid[None]))


def sample(boxes, objects, config, valid=None, seed=(3, 5), entries=4):
    """The sample of one image as NumPy arrays without the batch axis."""
    rois = sample_rois(proposals_of(boxes, valid), stack([ground_truth(objects, entries, seed)]), config)
    return RoiSample(*(field.numpy()[0] for field in rois))


def many_boxes(rng, objects, n=60):
    """Proposals around the objects and anywhere."""
    near = [np.array(objects[i % 2]["box"]) + rng.normal(0, 2, 4) for i in range(n // 2)]
    corner = rng.uniform(0, 80, (n - n // 2, 2))
    return np.concatenate([near, np.concatenate([corner, corner + rng.uniform(4, 16, corner.shape)], 1)])


def test_roles_by_hand():
    """Each kind of proposal once, more entries than proposals: everything that may be drawn is drawn."""
    boxes = [
        [0, 0, 10, 8],  # IoU 0.8 with the first: foreground, class 2
        [0, 0, 10, 5],  # IoU exactly 0.5: foreground
        [0, 0, 10, 4.9],  # just below: background
        [20, 20, 40, 31],  # second object: class 1
        [100, 100, 110, 110],  # background
        [60, 0, 80, 20],  # inside the crowd: neither
        [55, 0, 64, 10],  # less than half of it in the crowd: background
        [0, 0, 10, 10],  # would be the first object, but not a valid proposal
    ]
    config = RoiSamplerConfig(num_rois=20, positive_fraction=0.5, append_gt=False)
    rois = sample(boxes, OBJECTS, config, valid=[True] * 7 + [False])
    n = rois.valid.sum()
    assert n == 6
    assert rois.foreground.sum() == 3
    result = {tuple(np.round(rois.boxes[i], 2).tolist()): (rois.class_ids[i], rois.gt_index[i]) for i in range(3)}
    assert result == {(0, 0, 10, 8): (2, 0), (0, 0, 10, 5): (2, 0), (20, 20, 40, 31): (1, 1)}
    assert {tuple(box) for box in rois.boxes[3:6]} == {tuple(np.float32(boxes[i])) for i in (2, 4, 6)}
    np.testing.assert_array_equal(rois.class_ids[3:], 0)
    np.testing.assert_array_equal(rois.foreground, np.arange(20) < 3)
    np.testing.assert_array_equal(rois.valid, np.arange(20) < 6)


def test_true_boxes_join_the_proposals_without_crowds_and_padding():
    config = RoiSamplerConfig(num_rois=8, positive_fraction=0.5)
    rois = sample([[100, 100, 110, 110]], OBJECTS, config)
    assert rois.foreground.sum() == 2
    assert {tuple(box) for box in rois.boxes[:2]} == {(0, 0, 10, 10), (20, 20, 40, 30)}
    np.testing.assert_array_equal(rois.valid, np.arange(8) < 3)
    np.testing.assert_array_equal(rois.boxes[2], [100, 100, 110, 110])
    without = sample([[100, 100, 110, 110]], OBJECTS, RoiSamplerConfig(num_rois=8, append_gt=False))
    assert not without.foreground.any()
    assert without.valid.sum() == 1


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.9])
def test_every_roi_is_what_it_says(rng, fraction):
    """Against the slow matcher, with more candidates of each kind than entries."""
    config = RoiSamplerConfig(num_rois=16, positive_fraction=fraction)
    boxes = many_boxes(rng, OBJECTS)
    rois = sample(boxes, OBJECTS, config)
    gt = ground_truth(OBJECTS)
    index, labels, _ = reference.match(
        rois.boxes, gt["gt_boxes"], gt["gt_valid"], gt["gt_crowd"], 0.5, 0.5, allow_low_quality=False
    )
    assert rois.valid.all()
    assert rois.foreground.sum() == config.num_foreground == int(16 * fraction)
    np.testing.assert_array_equal(np.array(labels), np.where(rois.foreground, 1, 0))
    for i in np.flatnonzero(rois.foreground):
        assert rois.gt_index[i] == index[i]
        assert rois.class_ids[i] == gt["gt_class_ids"][index[i]]
    assert (rois.class_ids[~rois.foreground] == 0).all()
    # Without replacement, and nothing made up
    assert len({tuple(box) for box in rois.boxes}) == 16
    known = {tuple(box) for box in np.concatenate([boxes.astype(np.float32), gt["gt_boxes"][:2]])}
    assert {tuple(box) for box in rois.boxes} <= known


def test_everything_takes_part_where_all_may_be_foreground(rng):
    """More entries than boxes and no bound on foreground: nothing is left to chance."""
    boxes = many_boxes(rng, OBJECTS, 20)
    rois = sample(boxes, OBJECTS[:2], RoiSamplerConfig(num_rois=40, positive_fraction=1.0))
    assert rois.valid.sum() == 22
    everything = np.concatenate([boxes.astype(np.float32), ground_truth(OBJECTS[:2])["gt_boxes"][:2]])
    assert {tuple(box) for box in rois.boxes[:22]} == {tuple(box) for box in everything}
    np.testing.assert_array_equal(rois.foreground, np.arange(40) < rois.foreground.sum())


def test_seed_decides_the_draw(rng):
    boxes, config = many_boxes(rng, OBJECTS), RoiSamplerConfig(num_rois=16)
    first, again, other = (sample(boxes, OBJECTS, config, seed=s) for s in ((1, 2), (1, 2), (1, 9)))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.boxes, other.boxes)


def test_images_of_a_batch_do_not_see_each_other(rng):
    config = RoiSamplerConfig(num_rois=12)
    boxes = np.stack([many_boxes(rng, OBJECTS), many_boxes(rng, OBJECTS)]).astype(np.float32)
    ground_truths = [ground_truth(OBJECTS, seed=(1, 2)), ground_truth(OBJECTS[1:], seed=(4, 2))]
    valid = rng.random(boxes.shape[:2]) < 0.8
    both = sample_rois(
        Proposals(tf.constant(boxes), tf.zeros(valid.shape), tf.constant(valid)), stack(ground_truths), config
    )
    for b in range(2):
        alone = sample_rois(proposals_of(boxes[b], valid[b]), stack(ground_truths[b : b + 1]), config)
        for ours, theirs in zip(both, alone, strict=True):
            np.testing.assert_array_equal(ours[b], theirs[0])


def test_image_without_objects_gives_background_only(rng):
    rois = sample(many_boxes(rng, OBJECTS), [], RoiSamplerConfig(num_rois=16))
    assert rois.valid.all()
    assert not rois.foreground.any()
    assert not rois.class_ids.any()


@pytest.mark.parametrize("objects", [[], OBJECTS[2:]])
@pytest.mark.parametrize("entries", [1, 4])
def test_nothing_at_all_gives_padded_entries_only(objects, entries):
    """No valid proposal and no object, or crowd only."""
    rois = sample(
        [[0, 0, 5, 5], [9, 9, 20, 20]], objects, RoiSamplerConfig(num_rois=8), valid=[False] * 2, entries=entries
    )
    assert not rois.valid.any()
    assert not rois.foreground.any()
    assert not rois.class_ids.any()
    none = sample(np.zeros((0, 4)), objects, RoiSamplerConfig(num_rois=8), entries=entries)
    assert not none.valid.any()


def test_open_shapes_and_no_gradient(rng):
    config = RoiSamplerConfig(num_rois=8)
    boxes = many_boxes(rng, OBJECTS)
    proposals, batch = proposals_of(boxes), stack([ground_truth(OBJECTS)])
    expected = sample_rois(proposals, batch, config)

    @tf.function
    def run(boxes, scores, valid, batch):
        return sample_rois(Proposals(boxes, scores, valid), batch, config)

    open_box, open_valid = tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.bool)
    concrete = run.get_concrete_function(open_box, tf.TensorSpec([None, None]), open_valid, batch_spec())
    image_keys = {k: tf.zeros([1 if n is None else n for n in s.shape], s.dtype) for k, s in batch_spec().items()}
    result = concrete(*proposals, image_keys | batch)
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert result.boxes.shape[1:] == (8, 4)
    with tf.GradientTape() as tape:
        tape.watch(proposals.boxes)
        total = tf.reduce_sum(sample_rois(proposals, batch, config).boxes)
    assert tape.gradient(total, proposals.boxes) is None


def test_background_by_the_ratio_and_rows_of_zeros():
    """One foreground RoI at a share of a third: two background ones, and the rest counts as background of no box."""
    boxes = [[0, 0, 10, 8], *[[100 + i, 100, 110 + i, 110] for i in range(9)]]
    config = RoiSamplerConfig(num_rois=6, positive_fraction=0.34, append_gt=False, background="ratio")
    rois = sample(boxes, OBJECTS[:2], config)
    assert rois.foreground.tolist() == [True, *[False] * 5] and rois.class_ids.tolist() == [2, 0, 0, 0, 0, 0]
    assert rois.valid.all() and rois.boxes[:2].any(-1).all() and not rois.boxes[2:].any()  # int(1 / 0.34) - 1 = 1
    none = sample(boxes[1:], OBJECTS[:2], config)
    assert none.valid.all() and not none.boxes.any() and not none.class_ids.any()


def test_crowd_by_its_iou():
    """A small box that a large crowd region covers whole has next to no IoU with it: background, at 0.001."""
    crowd = [{"box": (0, 0, 1000, 1000), "crowd": True, "class_id": 1}, {"box": (1200, 0, 1300, 100), "class_id": 1}]
    boxes = [[0, 0, 10, 10], [0, 0, 100, 100], [1200, 0, 1300, 100]]
    config = RoiSamplerConfig(num_rois=4, append_gt=False, crowd_iou=0.001)
    rois = sample(boxes, crowd, config)
    assert rois.valid.sum() == 2 and [10.0, 10.0] in rois.boxes[rois.valid][:, 2:].tolist()  # 0.0001; 0.01 is ignored


def test_the_best_proposal_of_an_object_may_belong_to_it():
    """It overlaps the first object more, but nothing overlaps the second as much; the true boxes keep their own."""
    objects = [{"box": (0, 0, 10, 8), "class_id": 1}, {"box": (0, 0, 10, 5), "class_id": 2}]
    for best_belongs, expected in ((False, 1), (True, 2)):
        config = RoiSamplerConfig(num_rois=3, positive_fraction=1.0, best_belongs=best_belongs)
        rois = sample([[0, 0, 10, 10]], objects, config)
        by_box = {tuple(box): int(number) for box, number in zip(rois.boxes.tolist(), rois.class_ids, strict=True)}
        assert by_box == {(0, 0, 10, 10): expected, (0, 0, 10, 8): 1, (0, 0, 10, 5): 2}
