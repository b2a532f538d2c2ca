"""What one step computes does not depend on how its images are dealt out."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from mrcnn.modeling.train_step import loss_shares
from mrcnn.recipes import TrainConfig
from mrcnn.structures.tensors import LossTerm
from mrcnn.training.fit import train
from mrcnn.training.schedules import make_optimizer
from tests.mean_color import write_set
from tests.training.drawn import SIDE, draw_batch, rows, small_model, weights
from tests.training.test_resume import recipe_of

STEPS = 5
COUNTS = [[3, 0], [1, 2], [0, 0], [2, 4], [4, 1]]  # objects of the two images of each step


def _optimizer(kind: str) -> keras.optimizers.Optimizer:
    if kind == "adamw":
        return keras.optimizers.AdamW(1e-3, global_clipnorm=0.05, use_ema=True, ema_momentum=0.9)
    return keras.optimizers.SGD(0.02, momentum=0.9, clipnorm={"sgd": None, "clipped": 0.02}[kind])


@functools.cache
def _alone(kind: str, norm: str, num_parts: int = 1) -> tuple[keras.Model, list[dict[str, float]]]:
    """Five steps of two images each on one device."""
    model = small_model(norm)
    model.compile(_optimizer(kind))
    model.num_parts = num_parts
    model._build_optimizer()
    step = tf.function(model.train_step)
    logs = []
    for number, counts in enumerate(COUNTS):
        model.reset_metrics()
        logs.append({k: float(v) for k, v in step(draw_batch(counts, number)).items()})
    return model, logs


def _on_two(strategy: tf.distribute.Strategy, kind: str, norm: str) -> tuple[keras.Model, list[dict[str, float]]]:
    """The same steps, one image on each of two devices."""
    with strategy.scope():
        model = small_model(norm)
        model.compile(_optimizer(kind))
    model._build_optimizer()
    step = tf.function(lambda batch: strategy.run(model.train_step, (batch,)))
    logs = []
    for number, counts in enumerate(COUNTS):
        batch = draw_batch(counts, number)
        model.reset_metrics()
        dealt = strategy.experimental_distribute_values_from_function(
            lambda ctx, batch=batch: rows(batch, ctx.replica_id_in_sync_group, ctx.replica_id_in_sync_group + 1)
        )
        result = step(dealt)
        values = [{k: float(strategy.experimental_local_results(v)[i]) for k, v in result.items()} for i in range(2)]
        assert values[0] == values[1]
        logs.append(values[0])
    return model, logs


def _expect_same(result: keras.Model, expected: keras.Model, start: keras.Model) -> None:
    first, mine, theirs = weights(start), weights(result), weights(expected)
    assert set(mine) == set(theirs)
    for path, value in theirs.items():
        scale = np.linalg.norm(value)
        assert np.linalg.norm(mine[path] - value) <= 1e-4 * scale + 1e-7, path
    moved = sum(np.linalg.norm(theirs[path] - first[path]) > 1e-5 * np.linalg.norm(theirs[path]) for path in theirs)
    assert moved > 0.8 * len(theirs)


@pytest.mark.parametrize(
    "kind, norm",
    [
        ("clipped", "sync_bn"),
        pytest.param("sgd", "none", marks=pytest.mark.slow),
        pytest.param("adamw", "none", marks=pytest.mark.slow),
    ],
)
def test_two_replicas_are_one(two_devices, kind: str, norm: str):
    expected, logged = _alone(kind, norm)
    result, found_logs = _on_two(two_devices, kind, norm)
    _expect_same(result, expected, small_model(norm))
    for step, (mine, theirs) in enumerate(zip(found_logs, logged, strict=True)):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6), step
        assert mine["loss"] == pytest.approx(sum(v for k, v in mine.items() if k != "loss"), rel=1e-4)
    if kind == "adamw":  # the averages too
        for mine, theirs in zip(result.optimizer.variables, expected.optimizer.variables, strict=True):
            if "average" in theirs.path:
                np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-5, err_msg=theirs.path)


@pytest.mark.slow
def test_two_parts_are_one():
    expected, logged = _alone("sgd", "none")
    result, found_logs = _alone("sgd", "none", num_parts=2)
    _expect_same(result, expected, small_model())
    for mine, theirs in zip(found_logs, logged, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_fit_of_keras_under_a_strategy_is_the_same_step(two_devices):
    expected, _ = _alone("sgd", "none")
    with two_devices.scope():
        model = small_model()
        model.compile(_optimizer("sgd"))
    batches = [draw_batch(counts, number) for number, counts in enumerate(COUNTS)]
    joined = {key: tf.concat([batch[key] for batch in batches], 0) for key in batches[0]}
    data = tf.data.Dataset.from_tensor_slices(joined).batch(2, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    model.fit(data.with_options(options), shuffle=False, verbose=0)
    _expect_same(model, expected, small_model())


def test_shares_by_hand():
    terms = {"a": LossTerm(tf.constant(6.0), tf.constant(4.0)), "b": LossTerm(tf.constant(0.0), tf.constant(0.0))}
    assert {k: float(v) for k, v in loss_shares(terms).items()} == {"a": 1.5, "b": 0.0}
    shares = loss_shares(terms, {"a": tf.constant(12.0), "b": tf.constant(2.0)})
    assert {k: float(v) for k, v in shares.items()} == {"a": 0.5, "b": 0.0}


@pytest.mark.parametrize("distributed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_step_that_is_not_finite_changes_nothing_and_says_so(two_devices, distributed: bool):
    strategy = two_devices if distributed else tf.distribute.get_strategy()
    with strategy.scope():
        model = small_model()
        model.compile(keras.optimizers.AdamW(1e-3, use_ema=True))
    model._build_optimizer()
    step = tf.function(lambda batch: strategy.run(model.train_step, (batch,)))
    good = draw_batch([2, 1])
    first = strategy.experimental_local_results(step(good)["loss"])[0]
    assert np.isfinite(float(first))
    state = [v.numpy() for v in (*model.variables, *model.optimizer.variables)]
    logits = model.box_head.class_logits.bias
    saved = logits.numpy()
    logits.assign([np.inf, 0, 0])
    result = step(good)
    assert np.isnan(float(strategy.experimental_local_results(result["loss"])[0]))
    assert all(np.isfinite(float(strategy.experimental_local_results(v)[0])) for k, v in result.items() if k != "loss")
    logits.assign(saved)
    for variable, before in zip((*model.variables, *model.optimizer.variables), state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before, err_msg=variable.path)
    assert np.isfinite(float(strategy.experimental_local_results(step(good)["loss"])[0]))


@pytest.mark.slow
def test_computing_the_backbone_again_changes_nothing():
    kept, again = small_model(), small_model()
    again.recompute_backbone = True
    for model in (kept, again):
        model.compile(_optimizer("sgd"))
        model._build_optimizer()
        step = tf.function(model.train_step)
        for number in range(2):
            step(draw_batch(COUNTS[number], number))
    _expect_same(again, kept, small_model())


@pytest.mark.parametrize("precision", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_half_precision_learns_with_boxes_in_float32(tmp_path, precision: str):
    data = write_set(tmp_path, num=4, side=SIDE)
    model = small_model()
    config = {"train__images": 16, "train__unfreeze": [], "train__train_layers": "all", "train__learning_rate": 0.02}
    before = weights(model)
    history = train(model, data, recipe=recipe_of(train__precision=precision, **config), progress=False).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    assert {v.dtype for v in model.variables} == {"float32"}
    after = weights(model)
    moved = [path for path, value in before.items() if np.abs(after[path] - value).max() > 0]
    assert len(moved) > 0.8 * len(before)


def _runs_on_gpu(node) -> bool:
    """Whether TensorFlow has a kernel for this operation and its types that computes on a GPU or beside any device."""
    for kernel in kernels.get_registered_kernels_for_op(node.op).kernel:
        allowed = [(node.attr[c.name].type, c.allowed_values.list.type) for c in kernel.constraint]
        if kernel.device_type in ("GPU", "DEFAULT") and all(not of or of in types for of, types in allowed):
            return True
    return False


@pytest.mark.skipif(not tf.test.is_built_with_cuda(), reason="this TensorFlow knows no kernels of GPUs")
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_no_operation_of_a_step_needs_the_host(precision):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = small_model()
        model.compile(make_optimizer(TrainConfig(clip_norm=1.0), 2, 100))
        model._build_optimizer()
        traced = tf.function(model.train_step, autograph=False).get_concrete_function(draw_batch([2, 3]))
    finally:
        keras.config.set_dtype_policy(policy)
    graph = traced.graph.as_graph_def()
    called = {function.signature.name for function in graph.library.function}
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert len(nodes) > 1000
    on_host = {(node.op, node.name) for node in nodes if node.op not in called and not _runs_on_gpu(node)}
    assert {op for op, _ in on_host} <= {"Placeholder", "NoOp"}, sorted(on_host)
