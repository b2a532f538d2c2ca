import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.native import loading
from mrcnn.ops import bilinear
from mrcnn.ops.roi_align import MAX_ADAPTIVE_SAMPLES, multilevel_roi_align, roi_align
from tests.ops.execution import random_boxes
from tests.ops.extremes import extreme_boxes
from tests.reference import roi_align as reference

# Ordinary, partly and wholly outside, on the border, smaller than a cell, without area, inverted, whole image.
ODD_BOXES = [
    [8, 4, 30, 21],
    [-20, -9, 11, 70],
    [200, 200, 240, 260],
    [40, 30, 60, 44],
    [9, 9, 10, 10.5],
    [12, 12, 12, 12],
    [20, 20, 10, 14],
    [0, 0, 48, 40],
]
HEIGHT, WIDTH, STRIDE = 12, 10, 4


def features_of(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def expected_of(features, boxes, output_size, sampling_ratio, aligned, bound=math.inf):
    return np.array(
        [
            [reference.roi_align(f, box, STRIDE, output_size, sampling_ratio, aligned, bound) for box in per_image]
            for f, per_image in zip(features, boxes, strict=True)
        ]
    )


@pytest.mark.parametrize("method", ["sparse", "gather"])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
def test_equals_reference(rng, method, aligned, sampling_ratio):
    features = features_of(rng, 2, HEIGHT, WIDTH, 3)
    boxes = np.stack([ODD_BOXES, random_boxes(rng, len(ODD_BOXES), extent=48)]).astype(np.float32)
    pooled = roi_align(features, boxes, STRIDE, (3, 2), sampling_ratio, aligned, method=method)
    bound = MAX_ADAPTIVE_SAMPLES if method == "gather" else math.inf
    expected = expected_of(features, boxes, (3, 2), sampling_ratio, aligned, bound)
    np.testing.assert_allclose(pooled, expected, atol=2e-5)


def test_hand_numbers_on_a_ramp():
    # The value of a cell is its row: bilinear sampling is exact, so a bin holds the row of its center.
    ramp = np.tile(np.arange(8, dtype=np.float32)[:, None, None], (1, 8, 1))[None]
    pooled = roi_align(ramp, [[[8.0, 8, 24, 24]]], 4, 2)
    np.testing.assert_allclose(pooled[0, 0, :, :, 0], [[3, 3], [5, 5]], atol=1e-6)
    pooled = roi_align(ramp, [[[8.0, 8, 24, 24]]], 4, 2, aligned=True)
    np.testing.assert_allclose(pooled[0, 0, :, :, 0], [[2.5, 2.5], [4.5, 4.5]], atol=1e-6)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_sparse_runs_alike_eagerly_and_in_a_graph(rng, sampling_ratio):
    features, boxes = features_of(rng, 1, HEIGHT, WIDTH, 3), np.array([ODD_BOXES], np.float32)
    static = tf.function(lambda f, b: roi_align(f, b, STRIDE, 3, sampling_ratio))
    eager = roi_align(features, boxes, STRIDE, 3, sampling_ratio)
    np.testing.assert_allclose(static(features, boxes), eager, atol=1e-5)
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 4])]
    dynamic = tf.function(lambda f, b: roi_align(f, b, STRIDE, 3, sampling_ratio), input_signature=signature)
    np.testing.assert_allclose(dynamic(features, boxes), eager, atol=1e-5)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gather_compiles_forward_and_backward(rng, sampling_ratio):
    features, boxes = tf.constant(features_of(rng, 1, HEIGHT, WIDTH, 3)), tf.constant([ODD_BOXES], tf.float32)

    def value_and_gradient(method):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = roi_align(features, boxes, STRIDE, 3, sampling_ratio, method=method)
            loss = tf.reduce_sum(pooled**2)
        return pooled, tape.gradient(loss, features)

    compiled = tf.function(lambda: value_and_gradient("gather"), jit_compile=True)()
    for a, b in zip(compiled, value_and_gradient("sparse"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("method", ["sparse", "gather"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("in_graph", [False, True])
def test_gradient_is_the_transpose(rng, method, sampling_ratio, in_graph):
    """RoIAlign is linear in the features: column i of its matrix is the result for the i-th unit feature map."""
    boxes = np.array([ODD_BOXES[:5]], np.float32)

    def pool(features):
        return roi_align(
            features, np.repeat(boxes, features.shape[0], axis=0), STRIDE, 2, sampling_ratio, method=method
        )

    units = np.eye(HEIGHT * WIDTH, dtype=np.float32).reshape(-1, HEIGHT, WIDTH, 1)
    matrix = pool(units).numpy().reshape(HEIGHT * WIDTH, -1)
    upstream = features_of(rng, 1, 5, 2, 2, 1)
    features = tf.constant(features_of(rng, 1, HEIGHT, WIDTH, 1))
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = tf.reduce_sum((tf.function(pool) if in_graph else pool)(features) * upstream)
    gradient = tape.gradient(loss, features).numpy().ravel()
    np.testing.assert_allclose(gradient, matrix @ upstream.ravel(), atol=1e-5)
    assert np.abs(gradient).max() > 0.1


def test_gradient_equals_finite_differences(rng):
    features = features_of(rng, 1, 5, 4, 1)
    boxes = np.array([[[1, 2, 15, 13], [-3, 0, 8, 30]]], np.float32)
    upstream = features_of(rng, 1, 2, 2, 2, 1)
    with tf.GradientTape() as tape:
        variable = tf.Variable(features)
        loss = tf.reduce_sum(roi_align(variable, boxes, STRIDE, 2) * upstream)
    gradient = tape.gradient(loss, variable).numpy()
    for index in np.ndindex(features.shape):
        moved = features.astype(np.float64)
        moved[index] += 1.0
        change = expected_of(moved, boxes, (2, 2), 2, False) - expected_of(features, boxes, (2, 2), 2, False)
        assert gradient[index] == pytest.approx((change * upstream).sum(), abs=1e-5)


def test_no_gradient_flows_into_boxes(rng):
    boxes = tf.constant([ODD_BOXES], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        loss = tf.reduce_sum(roi_align(features_of(rng, 1, HEIGHT, WIDTH, 2), boxes, STRIDE, 2))
    assert tape.gradient(loss, boxes) is None


@pytest.mark.parametrize("method", ["sparse", "gather"])
def test_invalid_and_non_finite_rois_give_zeros_and_no_gradient(rng, method):
    features = tf.constant(features_of(rng, 1, HEIGHT, WIDTH, 2))
    boxes = [[[4, 4, 30, 30], [4, 4, 30, 30], [np.nan, 0, 9, 9], [0, 0, np.inf, 9]]]
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = roi_align(features, boxes, STRIDE, 2, valid=[[True, False, True, True]], method=method)
        loss = tf.reduce_sum(pooled[:, 1:] ** 2 + pooled[:, 1:])
    assert np.abs(pooled[0, 0]).min() > 0
    np.testing.assert_array_equal(pooled[0, 1:], np.zeros((3, 2, 2, 2)))
    np.testing.assert_array_equal(tape.gradient(loss, features), np.zeros((1, HEIGHT, WIDTH, 2)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_is_summed_in_float32(rng, dtype):
    features = tf.cast(features_of(rng, 1, HEIGHT, WIDTH, 2), dtype)
    boxes = np.array([ODD_BOXES], np.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = roi_align(features, boxes, STRIDE, 2)
        loss = tf.reduce_sum(tf.cast(pooled, tf.float32))
    exact = roi_align(tf.cast(features, tf.float32), boxes, STRIDE, 2)
    np.testing.assert_array_equal(tf.cast(pooled, tf.float32), tf.cast(tf.cast(exact, dtype), tf.float32))
    assert pooled.dtype == tape.gradient(loss, features).dtype == dtype


@pytest.mark.parametrize("method", ["sparse", "gather"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("in_graph", [False, True])
def test_no_rois(rng, method, sampling_ratio, in_graph):
    def value_and_gradient(features, boxes):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = roi_align(features, boxes, STRIDE, 7, sampling_ratio, method=method)
            loss = tf.reduce_sum(pooled)
        return pooled, tape.gradient(loss, features)

    if in_graph:
        signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 4])]
        value_and_gradient = tf.function(value_and_gradient, input_signature=signature)
    features = tf.constant(features_of(rng, 2, HEIGHT, WIDTH, 3))
    pooled, gradient = value_and_gradient(features, tf.zeros([2, 0, 4]))
    assert pooled.shape == (2, 0, 7, 7, 3)
    np.testing.assert_array_equal(gradient, tf.zeros_like(features))


def test_adaptive_sampling_is_unbounded_and_differs_by_roi(rng):
    features = features_of(rng, 1, 40, 48, 2)
    # 37.5, 2.5 and 15 rows in 2 bins: 19, 2 and 8 samples; far outside the map samples are counted, not written down.
    boxes = np.array([[[0, 0, 150, 190], [20, 20, 30, 24], [90, 3, 150, 180], [-4e3, 8, 4e3, 90]]], np.float32)
    for aligned in (False, True):
        pooled = roi_align(features, boxes, STRIDE, 2, 0, aligned)
        np.testing.assert_allclose(pooled, expected_of(features, boxes, (2, 2), 0, aligned), atol=2e-5)


def test_adaptive_sampling_of_a_boundless_roi_takes_bounded_memory(rng):
    features = features_of(rng, 1, HEIGHT, WIDTH, 1)
    boxes = np.array([[[-1e9, -1e9, 1e9, 1e9], [-1e30, -1e30, 1e30, 1e30], [1e30, 1e30, 2e30, 2e30]]], np.float32)
    pooled = roi_align(features, boxes, STRIDE, 2, 0)
    assert np.isfinite(pooled).all() and np.abs(pooled).max() < 1e-6


def test_adaptive_sampling_of_whole_bins_is_alike_in_a_graph(rng):
    """A quotient that is whole must stay whole where a graph divides by multiplying, or a sample more is taken."""
    features = features_of(rng, 1, 64, 4, 1)
    boxes = np.array([[[0, 0, STRIDE * 7 * n, STRIDE * 2] for n in range(1, 10)]], np.float32)
    pool = tf.function(lambda f, b: roi_align(f, b, STRIDE, 7, 0))
    np.testing.assert_allclose(pool(features, boxes), expected_of(features, boxes, (7, 7), 0, False), atol=1e-5)


def test_adaptive_sums_in_chunks_are_the_same(rng, monkeypatch):
    features = tf.constant(features_of(rng, 2, HEIGHT, WIDTH, 2))
    boxes = random_boxes(rng, 8, extent=48).reshape(2, 4, 4)

    def value_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = roi_align(features, boxes, STRIDE, 3, 0)
            loss = tf.reduce_sum(pooled**2)
        return pooled, tape.gradient(loss, features)

    whole = value_and_gradient()
    for max_entries in (1, 50):
        sums = functools.partial(bilinear.sum_runs, max_entries=max_entries)
        monkeypatch.setattr("mrcnn.ops.roi_align.sum_runs", sums)
        for mode in (value_and_gradient, tf.function(value_and_gradient)):
            for a, b in zip(mode(), whole, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)


def test_gather_stops_growing_at_its_bound(rng):
    features = features_of(rng, 1, 64, 64, 1)
    boxes = np.array([[[0, 0, 250, 250]]], np.float32)  # 62.5 cells in 4 bins would be 16 samples each
    adaptive = roi_align(features, boxes, STRIDE, 4, sampling_ratio=0, method="gather")
    np.testing.assert_allclose(adaptive, roi_align(features, boxes, STRIDE, 4, MAX_ADAPTIVE_SAMPLES), atol=1e-5)


def test_images_of_a_batch_do_not_mix(rng):
    features = features_of(rng, 3, HEIGHT, WIDTH, 2)
    boxes = random_boxes(rng, 12, extent=48).reshape(3, 4, 4)
    together = roi_align(features, boxes, STRIDE, 3)
    for i in range(3):
        alone = roi_align(features[i : i + 1], boxes[i : i + 1], STRIDE, 3)
        np.testing.assert_allclose(together[i : i + 1], alone, atol=1e-6)


@pytest.mark.parametrize("method", ["sparse", "gather"])
def test_pyramid_takes_each_box_from_its_level(rng, method):
    strides = [4, 8, 16, 32]
    features = [features_of(rng, 2, 128 // s, 96 // s, 3) for s in strides]
    boxes = random_boxes(rng, 24, extent=100, smallest=4, largest=120).reshape(2, 12, 4)
    levels = [[reference.level_of(box, 2, 5, 60) for box in per_image] for per_image in boxes]
    assert set(np.ravel(levels)) >= {2, 3, 4}
    pooled = multilevel_roi_align(features, boxes, strides, 3, canonical_size=60, method=method)
    for b, s in np.ndindex(2, 12):
        level = levels[b][s] - 2
        expected = reference.roi_align(features[level][b], boxes[b, s], strides[level], (3, 3), 2, False)
        np.testing.assert_allclose(pooled[b, s], expected, atol=2e-5)


def test_pyramid_gradient_reaches_every_level(rng):
    strides = [8, 16]
    features = [tf.constant(features_of(rng, 1, 64 // s, 64 // s, 2)) for s in strides]
    boxes = [[[0, 0, 20, 20], [0, 0, 60, 60]]]
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = tf.reduce_sum(multilevel_roi_align(features, boxes, strides, 2, canonical_size=40, canonical_level=4))
    # Weights of a RoI inside the map sum to one per bin and channel.
    for gradient in tape.gradient(loss, features):
        assert float(tf.reduce_sum(gradient)) == pytest.approx(2 * 4, rel=1e-5)


def test_end_offset_moves_the_far_corner_but_not_the_level(rng):
    strides = [4, 8]
    features = [features_of(rng, 1, 64 // s, 64 // s, 2) for s in strides]
    boxes = np.array([[[4, 4, 44, 44]]], np.float32)  # 40 is the canonical size: the coarser level
    options = {"output_size": 2, "canonical_size": 40.0, "canonical_level": 3}
    pooled = multilevel_roi_align(features, boxes, strides, end_offset=-1.0, **options)
    expected = reference.roi_align(features[1][0], [4, 4, 43, 43], 8, (2, 2), 2, False)
    np.testing.assert_allclose(pooled[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_survives_a_saved_model(rng, tmp_path, sampling_ratio):
    features, boxes = features_of(rng, 1, HEIGHT, WIDTH, 3), np.array([ODD_BOXES], np.float32)
    module = tf.Module()
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 4])]
    module.pool = tf.function(lambda f, b: roi_align(f, b, STRIDE, 3, sampling_ratio), input_signature=signature)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.pool(features, boxes), module.pool(features, boxes), atol=1e-6)


def test_unknown_method_is_refused(rng):
    with pytest.raises(ValueError, match="method"):
        roi_align(features_of(rng, 1, 4, 4, 1), tf.zeros([1, 1, 4]), 4, 2, method="quick")


@pytest.mark.parametrize("aligned", [False, True])
def test_a_replacement_sees_each_roi_once_on_its_own_level(aligned):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(2, side, side, 3)).astype(np.float32) for side in (16, 8, 4)]
    sides = np.array([3.0, 30.0, 5.0, 60.0, 9.0])[:, np.newaxis]  # pixels; two of the three levels are in use
    corners = rng.uniform(0, 30, (2, 5, 2))
    boxes = np.concatenate([corners, corners + sides], -1).astype(np.float32)
    valid = np.array([[True, True, False, True, True], [True, False, True, True, True]])
    boxes[1, 4] = np.nan
    options = {"valid": valid, "canonical_size": 32.0, "canonical_level": 3, "sampling_ratio": 2, "aligned": aligned}
    expected = multilevel_roi_align(features, boxes, [4, 8, 16], (2, 3), method="sparse", **options)
    seen = []

    def align(level, rois, image, stride, bins, sampling_ratio, aligned):
        seen.append((stride, len(rois) - 1))
        pooled = [
            roi_align(
                level[p : p + 1], roi[np.newaxis, np.newaxis], stride, bins, sampling_ratio, aligned, method="gather"
            )
            for roi, p in zip(rois, image, strict=True)
        ]
        return tf.concat(pooled, 0)[:, 0]

    with loading.replaced_by(align):
        result = multilevel_roi_align(features, boxes, [4, 8, 16], (2, 3), **options)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert [stride for stride, _ in seen] == [4, 8, 16]
    assert sum(count for _, count in seen) == valid.sum() - 1
    assert not result[0, 2].numpy().any()
    assert not result[1, 4].numpy().any()
    assert loading.replacement() is None


def test_autograph_can_read_it():
    """Whoever calls it in a function of their own gets no warning that it cannot be converted."""
    assert "multilevel_roi_align" in tf.autograph.to_code(multilevel_roi_align)


@pytest.mark.parametrize("strides", [[1], [4, 8, 16, 32]])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("method", ["sparse", "gather"])
def test_boxes_to_the_ends_of_float32(rng, strides, ratio, method):
    """What lies infinitely far from the map is zero, and what is on it stays a mean of the features."""
    features = [1.0 + np.abs(features_of(rng, 1, 64 // stride, 64 // stride, 2)) for stride in strides]
    boxes = np.concatenate([extreme_boxes(), [[8, 4, 30, 21]]]).astype(np.float32)[np.newaxis]
    pooled = multilevel_roi_align(features, boxes, strides, 3, sampling_ratio=ratio, method=method).numpy()[0]
    assert np.isfinite(pooled).all()
    assert pooled.min() >= 0.0
    assert pooled.max() <= max(level.max() for level in features) * (1 + 1e-6)
    assert pooled[-1].min() >= 1.0
    far = np.abs(boxes[0]).min(axis=1) > 1e19
    assert far.any()
    assert np.abs(pooled[far]).max() < 1e-6
