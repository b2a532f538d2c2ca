"""The op against the slow reference, the pure-TensorFlow path and itself."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from mrcnn.export import export_saved_model
from mrcnn.native import loading
from mrcnn.ops.roi_align import multilevel_roi_align, roi_align
from mrcnn.ops.roi_pool import multilevel_roi_pool
from tests.custom_ops.grid import BOXES, CROPS, HEIGHT, RATIOS, STRIDE, WIDTH, case
from tests.ops.execution import random_boxes
from tests.ops.extremes import extreme_boxes
from tests.reference import roi_align as reference
from tests.tiny_model import tiny_model
from tests.tolerances import tolerance_of

pytestmark = pytest.mark.slow

# Sums are float32 everywhere; only the result is rounded to its dtype.
ROUNDING = {dtype: tolerance_of(dtype).rounding for dtype in (tf.float32, tf.float16, tf.bfloat16)}


def value_and_gradient(method, features, boxes, upstream=None, **options):
    features = [tf.convert_to_tensor(level) for level in features]
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = multilevel_roi_align(features, boxes, method=method, **options)
        upstream = tf.ones_like(pooled) if upstream is None else tf.cast(upstream, pooled.dtype)
        total = tf.reduce_sum(tf.cast(pooled, tf.float32) * tf.cast(upstream, tf.float32))
    return pooled, tape.gradient(total, features)


def assert_same(actual, expected, rounding=0.0, terms=1.0):
    """To 1e-5 of the largest of `terms`, what is added up without its signs: RoIs without area put hundreds of terms of
    either sign into one cell, and their sum in float32 depends on the order."""
    actual, expected = (np.asarray(tf.cast(x, tf.float32)) for x in (actual, expected))
    tolerance = 1e-5 * max(1.0, np.max(terms, initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=rounding, atol=tolerance)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("crop", CROPS)
def test_equals_slow_reference(op, rng, aligned, ratio, crop):
    features, boxes = case(rng)
    upstream = rng.normal(size=(1, len(BOXES), *crop, 3)).astype(np.float32)
    pooled, (gradient,) = value_and_gradient(
        "op", [features], boxes, upstream, strides=[STRIDE], output_size=crop, sampling_ratio=ratio, aligned=aligned
    )

    def slow(features):
        return np.stack([reference.roi_align(features, b, STRIDE, crop, ratio, aligned, 10**9) for b in boxes[0]])

    np.testing.assert_allclose(pooled[0], slow(features[0]), atol=1e-5, rtol=1e-5)
    # RoIAlign is linear in the features, so its gradient is the transpose: <op(x), g> = <x, gradient> for every x.
    other = rng.normal(size=features.shape)
    expected, scale = np.vdot(slow(other[0]), upstream), np.abs(slow(other[0]) * upstream).sum()
    assert np.vdot(other, gradient) == pytest.approx(expected, abs=1e-5 * (1 + scale))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 256])
@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", RATIOS)
def test_equals_pure_path(op, rng, dtype, channels, batch, aligned, ratio):
    features, boxes = case(rng, batch, channels)
    features = tf.cast(features, dtype)
    crop = CROPS[(batch + ratio) % 3]
    upstream = tf.cast(rng.normal(size=(batch, len(BOXES), *crop, channels)), dtype)
    valid = rng.uniform(size=boxes.shape[:2]) > 0.2
    options = {"strides": [STRIDE], "output_size": crop, "sampling_ratio": ratio, "aligned": aligned, "valid": valid}
    pooled, (gradient,) = value_and_gradient("op", [features], boxes, upstream, **options)
    expected, (expected_gradient,) = value_and_gradient("sparse", [features], boxes, upstream, **options)
    assert pooled.dtype == gradient.dtype == dtype
    assert_same(pooled, expected, ROUNDING[dtype])
    terms = value_and_gradient("sparse", [tf.cast(features, tf.float32)], boxes, tf.abs(upstream), **options)[1][0]
    assert_same(gradient, expected_gradient, ROUNDING[dtype], terms)
    assert np.all(np.asarray(tf.cast(pooled, tf.float32))[~valid] == 0)


@pytest.mark.parametrize(
    "rule, epsilon, end_offset",
    [
        ("floor_inside", 1e-6, 0.0),
        ("floor_inside", 1e-8, 0.0),
        ("floor_after", 1e-6, 0.0),
        ("floor_inside", 1e-6, -1.0),
        ("round_image_area", 0.0, 0.0),
        ("round_image_area", 0.0, -1.0),
    ],
)
@pytest.mark.parametrize("ratio", [0, 2])
def test_pyramid_equals_pure_path(op, rng, rule, epsilon, end_offset, ratio):
    features = [rng.normal(size=(2, 128 >> k, 96 >> k, 5)).astype(np.float32) for k in range(4)]
    boxes = random_boxes(rng, 600, extent=500.0, smallest=1.0, largest=900.0)
    sides = [28, 56, 112, 224, 448, 896, 0, 111.99, 112.01]  # exactly on the thresholds, and beside them
    boxes[: len(sides)] = [[3, 3, 3 + side, 3 + side] for side in sides]
    boxes = boxes.reshape(2, 300, 4)
    options = {
        "strides": [4, 8, 16, 32],
        "output_size": 3,
        "sampling_ratio": ratio,
        "level_rule": rule,
        "level_epsilon": epsilon,
        "end_offset": end_offset,
    }
    upstream = rng.normal(size=(2, 300, 3, 3, 5)).astype(np.float32)
    pooled, gradient = value_and_gradient("op", features, boxes, upstream, **options)
    expected, expected_gradient = value_and_gradient("sparse", features, boxes, upstream, **options)
    assert_same(pooled, expected)
    terms = value_and_gradient("sparse", features, boxes, np.abs(upstream), **options)[1]
    for level, expected_level, summed in zip(gradient, expected_gradient, terms, strict=True):
        assert_same(level, expected_level, terms=summed)
    in_graph = tf.function(lambda *f: multilevel_roi_align(f, boxes, method="op", **options))(*features)
    assert_same(in_graph, pooled)


def test_gradient_checker(op, rng):
    features, boxes = case(rng, batch=2, channels=2, boxes=BOXES[:6])
    for options in ({"sampling_ratio": 2}, {"sampling_ratio": 0, "aligned": True}):
        theoretical, numerical = tf.test.compute_gradient(
            lambda x, options=options: roi_align(x, boxes, STRIDE, (3, 2), method="op", **options),
            [features],
            delta=0.5,
        )
        np.testing.assert_allclose(theoretical[0], numerical[0], atol=1e-4)


def test_gradient_of_the_gradient(op, rng):
    features, boxes = case(rng, batch=2, channels=2, boxes=BOXES[:4])

    def second_order(method):
        x = tf.constant(features)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                energy = tf.reduce_sum(tf.square(roi_align(x, boxes, STRIDE, 3, method=method)))
            first = inner.gradient(energy, x)
            total = tf.reduce_sum(tf.sin(first))
        return outer.gradient(total, x)

    expected = second_order("sparse")
    assert_same(second_order("op"), expected, terms=np.abs(expected))


def test_boxes_get_no_gradient(op, rng):
    features, boxes = case(rng)
    boxes = tf.constant(boxes)
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        pooled = roi_align(features, boxes, STRIDE, 2, method="op")
    assert tape.gradient(pooled, boxes) is None


def test_single_level_op_equals_multilevel(op, rng, deterministic):
    features, boxes = case(rng, batch=1)
    expected = roi_align(features, boxes, STRIDE, (4, 3), 0, True, method="op")[0]
    options = {"crop_height": 4, "crop_width": 3, "spatial_scale": 1 / STRIDE, "sampling_ratio": 0, "aligned": True}
    features = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = op.mrcnn_roi_align(features=features, boxes=boxes[0], box_index=[0] * len(BOXES), **options)
    np.testing.assert_array_equal(pooled, expected)
    with tf.GradientTape() as other:
        other.watch(features)
        again = roi_align(features, boxes, STRIDE, (4, 3), 0, True, method="op")
    np.testing.assert_array_equal(tape.gradient(pooled, features), other.gradient(again, features))


def test_no_rois_and_no_images(op):
    features = [np.ones((2, 8, 8, 3), np.float32), np.ones((2, 4, 4, 3), np.float32)]
    pooled, gradient = value_and_gradient(
        "op", features, np.zeros((2, 0, 4), np.float32), strides=[4, 8], output_size=7
    )
    assert pooled.shape == (2, 0, 7, 7, 3)
    assert [g.shape for g in gradient] == [f.shape for f in features] and not np.any(gradient[0])
    empty = roi_align(np.ones((0, 8, 8, 3), np.float32), np.zeros((0, 5, 4), np.float32), 4, 7, method="op")
    assert empty.shape == (0, 5, 7, 7, 3)
    no_cells = op.mrcnn_roi_align(
        features=np.ones((1, 0, 8, 3)),
        boxes=[[0.0, 0, 4, 4]],
        box_index=[0],
        crop_height=2,
        crop_width=2,
        spatial_scale=1.0,
    )
    assert no_cells.shape == (1, 2, 2, 3) and not np.any(no_cells)


def test_rois_that_are_not_finite_are_invalid_in_the_function(op, rng):
    features, boxes = case(rng)
    boxes[0, 1, 2], boxes[0, 4, 0] = np.nan, np.inf
    pooled, (gradient,) = value_and_gradient("op", [features], boxes, strides=[STRIDE], output_size=3)
    expected, (expected_gradient,) = value_and_gradient("sparse", [features], boxes, strides=[STRIDE], output_size=3)
    assert_same(pooled, expected)
    assert_same(gradient, expected_gradient, terms=np.abs(expected_gradient))
    assert not np.any(pooled[0, 1]) and not np.any(pooled[0, 4])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"box_index": [0, 2]}, r"RoI 1: box_index is 2, expected -1 \(no image\) or 0 to 1"),
        ({"box_index": [-2, 0]}, r"RoI 0: box_index is -2"),
        ({"boxes": [[0.0, 0, 9, 9], [1, np.nan, 2, 3]]}, r"RoI 1: box .* \(1, nan, 2, 3\), expected finite numbers"),
        ({"boxes": [[0.0, 0, np.inf, 9], [1, 1, 2, 3]]}, r"RoI 0: box .* expected finite numbers"),
        ({"boxes": [[0.0, 0, 1e10, 9], [1, 1, 2, 3]]}, r"RoI 0: box .* more than 1073741824 samples"),
        ({"boxes": [[0.0, 0, 9], [1, 2, 3]]}, r"(?i)dimension must be 4|expected \[num_rois, 4\]"),
        ({"box_index": [0]}, r"(?i)dimensions must be equal|expected \[2\], one per box"),
        ({"features": np.ones((8, 8, 3), np.float32)}, r"(?i)rank 4|expected \[batch, height, width, channels\]"),
        ({"spatial_scale": -1.0}, "expected a positive number"),
        ({"crop_height": 0}, "crop_height"),
        ({"sampling_ratio": -1}, "sampling_ratio"),
    ],
)
def test_bad_input_is_refused(op, change, message):
    good = {
        "features": np.ones((2, 8, 8, 3), np.float32),
        "boxes": [[0.0, 0, 9, 9], [1, 1, 2, 3]],
        "box_index": [0, 1],
        "crop_height": 2,
        "crop_width": 2,
        "spatial_scale": 1.0,
    }
    op.mrcnn_roi_align(**good)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        op.mrcnn_roi_align(**good | change)


def test_levels_that_do_not_belong_together_are_refused(op):
    def call(second, scales=(1.0, 0.5)):
        return op.mrcnn_multilevel_roi_align(
            features=[np.ones((2, 8, 8, 3), np.float32), second],
            boxes=[[0.0, 0, 4, 4]],
            box_index=[0],
            crop_height=2,
            crop_width=2,
            spatial_scales=list(scales),
            min_level=2,
        )

    call(np.ones((2, 4, 4, 3), np.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="level 1: expected batch 2 and 3 channels"):
        call(np.ones((2, 4, 4, 5), np.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="level 1: expected batch 2"):
        call(np.ones((1, 4, 4, 3), np.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="spatial_scales: expected one per level"):
        call(np.ones((2, 4, 4, 3), np.float32), scales=[1.0])


def test_bad_gradients_are_refused(op):
    good = {
        "gradient": np.ones((1, 2, 2, 3), np.float32),
        "boxes": [[0.0, 0, 9, 9]],
        "box_index": [0],
        "shape": [1, 8, 8, 3],
        "crop_height": 2,
        "crop_width": 2,
        "spatial_scale": 1.0,
    }
    op.mrcnn_roi_align_grad(**good)
    for change in (
        {"gradient": np.ones((1, 3, 2, 3), np.float32)},
        {"shape": [1, 8, 8, 4]},
        {"shape": [1, 8, 3]},
        {"shape": [1, -8, 8, 3]},
        {"box_index": [1]},
    ):
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
            op.mrcnn_roi_align_grad(**good | change)
    pool = {
        "gradient": good["gradient"],
        "argmax": np.zeros((1, 2, 2, 3), np.int32),
        "box_index": [0],
        "shape": [1, 8, 8, 3],
    }
    with tf.device("CPU"):  # a GPU leaves the first two out of the sum
        op.mrcnn_roi_pool_grad(**pool)
        for change in ({"argmax": np.full((1, 2, 2, 3), 64, np.int32)}, {"box_index": [7]}, {"shape": [1, 8, 8, 2]}):
            with pytest.raises(tf.errors.InvalidArgumentError):
                op.mrcnn_roi_pool_grad(**pool | change)


def test_boundless_rois_are_nearly_nothing(op):
    features = np.full((1, HEIGHT, WIDTH, 2), 1000.0, np.float32)
    boxes = [
        [-1e9, -1e9, 1e9, 1e9],
        [-1e30, -1e30, 1e30, 1e30],
        [0, 0, 3e38, 4],
        [1e30, 1e30, 2e30, 2e30],
        [0, 0, 48, 40],
    ]
    pooled, (gradient,) = value_and_gradient("op", [features], [boxes], strides=[4], output_size=2, sampling_ratio=0)
    assert np.abs(pooled[0, :4]).max() < 1e-3
    rounding = 2e-6 if "GPU" in pooled.device else 0.0  # which adds up 30 samples, the CPU the few cells under them
    np.testing.assert_allclose(pooled[0, 4], np.full((2, 2, 2), 1000.0), rtol=rounding)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("rule", ["floor_inside", "floor_after", "round_image_area"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("strides", [[1], [4, 8, 16, 32]])
def test_boxes_to_the_ends_of_float32_equal_the_pure_path(op, rule, ratio, strides):
    """Each level has values of its own, so that a box on another level would be seen."""
    features = [np.full((1, 64 // s, 64 // s, 1), 1000.0 * s, np.float32) for s in strides]
    boxes = np.concatenate([extreme_boxes(), [[8, 4, 30, 21]]]).astype(np.float32)[np.newaxis]
    options = {"strides": strides, "output_size": 3, "sampling_ratio": ratio, "level_rule": rule}
    pooled, expected = (
        multilevel_roi_align(features, boxes, method=method, **options).numpy() for method in ("op", "sparse")
    )
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-2)


def test_without_validation_what_would_be_refused_gives_zeros(op):
    pooled = op.mrcnn_roi_align(
        features=np.ones((2, 8, 8, 3), np.float32),
        boxes=[[0.0, 0, 9, 9], [np.nan, 1, 2, 3], [0, 0, 1, np.inf], [0, 0, 4, 4]],
        box_index=[2, 0, 1, 1],
        crop_height=2,
        crop_width=2,
        spatial_scale=1.0,
        validate=False,
    )
    assert not np.any(pooled[:3]) and np.all(pooled[3] == 1)


def test_shapes_are_known_in_graphs(op):
    with tf.Graph().as_default():
        features = [tf.compat.v1.placeholder(tf.float32, [None, None, None, 32]) for _ in range(2)]
        boxes = tf.compat.v1.placeholder(tf.float32, [None, 4])
        index = tf.compat.v1.placeholder(tf.int32, [17])
        pooled = op.mrcnn_multilevel_roi_align(
            features=features,
            boxes=boxes,
            box_index=index,
            crop_height=7,
            crop_width=5,
            spatial_scales=[1, 0.5],
            min_level=2,
        )
        assert pooled.shape == [17, 7, 5, 32]
        (gradient,) = tf.gradients(pooled, [features[0]])
        assert gradient.shape.rank == 4


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_roi_pool_equals_pure_path(op, rng, dtype):
    features, boxes = case(rng, batch=2, channels=5)
    features = tf.cast(features, dtype)
    valid = rng.uniform(size=boxes.shape[:2]) > 0.2
    results = []
    for pool in (
        lambda x: multilevel_roi_pool([x], boxes, [STRIDE], (3, 4), valid=valid),
        lambda x: tf.reshape(
            op.mrcnn_roi_pool(
                features=x,
                boxes=boxes.reshape(-1, 4),
                box_index=loading.image_index(tf.constant(boxes), valid),
                crop_height=3,
                crop_width=4,
                spatial_scale=1 / STRIDE,
            ).pooled,
            [2, -1, 3, 4, 5],
        ),
    ):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = pool(features)
            total = tf.reduce_sum(tf.cast(pooled, tf.float32) * tf.reshape(tf.range(60.0), [3, 4, 5]))
        results.append((pooled, tape.gradient(total, features)))
    assert_same(results[0][0], results[1][0])
    assert_same(results[0][1], results[1][1], ROUNDING[dtype])


def test_gradient_is_the_same_every_time(op, rng, deterministic):
    features, boxes = case(rng, batch=2, channels=40, boxes=np.repeat(BOXES, 20, axis=0))
    runs = [value_and_gradient("op", [features], boxes, strides=[STRIDE], output_size=7)[1][0] for _ in range(3)]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


def operations_of(function, *arguments):
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return {operation.type for operation in graph.get_operations()}


def test_op_is_the_default_where_it_may_be(op, rng, monkeypatch):
    features, boxes = case(rng)

    def pool(x):
        return roi_align(x, boxes, STRIDE, 3)

    monkeypatch.delenv(loading.VARIABLE, raising=False)
    assert "MrcnnMultilevelRoiAlign" in operations_of(pool, features)
    with loading.stock_ops():
        assert not any(name.startswith("Mrcnn") for name in operations_of(pool, features))
        monkeypatch.setenv(loading.VARIABLE, "op")
        assert not any(name.startswith("Mrcnn") for name in operations_of(pool, features))
    assert "MrcnnMultilevelRoiAlign" in operations_of(pool, features)
    monkeypatch.setenv(loading.VARIABLE, "python")
    assert not any(name.startswith("Mrcnn") for name in operations_of(pool, features))


def test_exported_models_have_stock_operations_only(op, tmp_path, monkeypatch):
    monkeypatch.setenv(loading.VARIABLE, "op")  # whatever is used in training
    path = export_saved_model(tiny_model(), tmp_path / "model")
    (graph,) = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    bodies = [graph.graph_def.node, *(function.node_def for function in graph.graph_def.library.function)]
    names = {node.op for body in bodies for node in body}
    assert names and not any(name.startswith("Mrcnn") for name in names)


def test_xla_gets_the_pure_path(op, rng, monkeypatch):
    monkeypatch.delenv(loading.VARIABLE, raising=False)
    features, _ = case(rng)
    chosen = []

    def probe(x):
        chosen.append(loading.choose([x]))
        return x

    tf.function(probe, jit_compile=True)(features)
    tf.function(probe)(features)
    assert chosen[0] is None and chosen[1] is op


def test_other_dtypes_go_to_the_pure_path(op):
    assert loading.choose([np.ones((1, HEIGHT, WIDTH, 1), np.float64)]) is None
