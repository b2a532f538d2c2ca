from __future__ import annotations

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.recipes import TrainConfig
from mrcnn.training.schedules import SGDWithL2, WarmupSchedule, make_optimizer


def _rates(schedule: WarmupSchedule, steps: list[int]) -> list[float]:
    return [float(schedule(step)) for step in steps]


def test_warm_up_grows_linearly_from_a_thousandth():
    schedule = WarmupSchedule(2.0, 100, 10, "constant")
    # 2 * (0.001 + 0.999 * step / 10)
    assert _rates(schedule, [0, 1, 5, 10, 11, 99]) == pytest.approx([0.002, 0.2018, 1.001, 2.0, 2.0, 2.0])


def test_step_divides_by_ten_at_each_milestone():
    schedule = WarmupSchedule(0.02, 90, 0, "step", (2 / 3, 8 / 9))
    assert _rates(schedule, [0, 59, 60, 79, 80, 89]) == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002])


def test_step_without_milestones_is_constant():
    assert _rates(WarmupSchedule(0.5, 10, 0, "step"), [0, 9]) == [0.5, 0.5]


def test_cosine_falls_from_the_end_of_the_warm_up_to_zero():
    schedule = WarmupSchedule(1.0, 120, 20, "cosine")
    # half-way through warm-up; peak; a quarter, half and three quarters of the 100 remaining steps; the end and beyond
    quarter = 0.5 * (1 + math.sqrt(0.5))
    assert _rates(schedule, [10, 20, 45, 70, 95, 120, 500]) == pytest.approx(
        [0.5005, 1.0, quarter, 0.5, 1 - quarter, 0.0, 0.0], abs=1e-6
    )


def test_poly_falls_to_zero():
    schedule = WarmupSchedule(2.0, 110, 10, "poly", power=2.0)
    # half of the warm-up; peak; a half and nine tenths of the 100 remaining steps; the end and beyond
    expected = [2 * 0.5005, 2.0, 2 * 0.25, 2 * 0.01, 0.0, 0.0]
    assert _rates(schedule, [5, 10, 60, 100, 110, 300]) == pytest.approx(expected, abs=1e-6)


def test_a_schedule_works_on_tensors_and_survives_keras_serialization():
    schedule = WarmupSchedule(0.1, 50, 5, "step", (0.5,))
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert again.get_config() == schedule.get_config()
    for step in (0, 3, 5, 24, 25):
        assert float(tf.function(again)(tf.constant(step, tf.int64))) == pytest.approx(float(schedule(step)))


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="constant, step, cosine or poly, got 'linear'"):
        WarmupSchedule(0.1, 50, kind="linear")


def _layers() -> tuple[keras.Model, list[keras.Variable]]:
    """A dense layer and a group norm inside a model, as the neck has them; weights far from 0."""
    model = keras.Sequential([keras.layers.Dense(4, name="fc"), keras.layers.GroupNormalization(2, name="norm")])
    model.build((None, 3))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(2.0, 1.0, variable.shape))
    return model, model.trainable_variables


def _norm_parameter(variable: keras.Variable) -> bool:
    return variable.path.split("/")[-1] in ("gamma", "beta")


@pytest.mark.parametrize("compiled", [False, True])
def test_sgd_is_momentum_on_gradient_plus_l2_and_spares_norms(compiled: bool):
    rate, momentum, l2 = 0.1, 0.9, 0.05
    _, variables = _layers()
    rng = np.random.default_rng(2)
    gradients = [[rng.normal(size=v.shape).astype(np.float32) for v in variables] for _ in range(4)]

    expected = [v.numpy() for v in variables]
    velocity = [np.zeros(v.shape, np.float32) for v in variables]
    decay = [0.0 if _norm_parameter(v) else l2 for v in variables]
    assert sorted(decay) == [0.0, 0.0, l2, l2]
    for step in gradients:
        for i, gradient in enumerate(step):
            velocity[i] = momentum * velocity[i] - rate * (gradient + decay[i] * expected[i])
            expected[i] = expected[i] + velocity[i]

    optimizer = SGDWithL2(rate, momentum=momentum, l2=l2)
    optimizer.build(variables)

    def apply(*step: tf.Tensor) -> None:
        optimizer.apply(list(step), variables)

    run = tf.function(apply) if compiled else apply
    for step in gradients:
        run(*map(tf.constant, step))
    for variable, wanted in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-5, atol=1e-6, err_msg=variable.path)


def test_sgd_under_a_distribution_strategy_spares_norms_too():
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        _, variables = _layers()
        optimizer = SGDWithL2(0.1, l2=0.5)
        optimizer.build(variables)
    before = [v.numpy() for v in variables]
    strategy.run(lambda: optimizer.apply([tf.zeros(v.shape) for v in variables], variables))
    for variable, old in zip(variables, before, strict=True):
        wanted = old if _norm_parameter(variable) else old * (1 - 0.1 * 0.5)
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-6, err_msg=variable.path)


def test_sgd_survives_keras_serialization():
    optimizer = make_optimizer(TrainConfig(), 16, 100)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, SGDWithL2)
    assert again.l2 == optimizer.l2 == 1e-4
    assert again.momentum == 0.9


def test_the_rate_is_scaled_with_the_batch():
    config = TrainConfig(learning_rate=0.02, warmup_images=64, schedule="constant")
    for batch, peak, warmup in ((16, 0.02, 4), (4, 0.005, 16), (32, 0.04, 2), (5, 0.00625, 13)):
        schedule = make_optimizer(config, batch, 1000)._learning_rate
        assert schedule.peak == pytest.approx(peak)
        assert schedule.warmup_steps == warmup


def test_warm_up_takes_at_most_half_of_a_short_run():
    schedule = make_optimizer(TrainConfig(warmup_images=8000), 2, 10)._learning_rate
    assert (schedule.warmup_steps, schedule.total_steps) == (5, 10)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_adamw_decays_kernels_only(weight_decay: float):
    _, variables = _layers()
    config = TrainConfig(
        optimizer="adamw", weight_decay=weight_decay, learning_rate=0.1, schedule="constant", warmup_images=0
    )
    optimizer = make_optimizer(config, 16, 10)
    before = [v.numpy() for v in variables]
    optimizer.apply([tf.zeros(v.shape) for v in variables], variables)
    for variable, old in zip(variables, before, strict=True):
        factor = 1 - 0.1 * weight_decay if variable.path.endswith("kernel") else 1.0
        np.testing.assert_allclose(variable.numpy(), old * factor, rtol=1e-6, err_msg=variable.path)


def test_adamw_leaves_absolute_positions_alone():
    """Ref: ViTDet, arXiv 2203.16527, appendix A.2. Names that only begin alike are decayed."""
    variables = [keras.Variable(np.ones((2, 2)), name=name) for name in ("embedding", "embeddings")]
    config = TrainConfig(optimizer="adamw", weight_decay=0.5, learning_rate=0.1, schedule="constant", warmup_images=0)
    make_optimizer(config, 16, 10).apply([tf.zeros((2, 2))] * 2, variables)
    assert [float(v.numpy()[0, 0]) for v in variables] == pytest.approx([1.0, 0.95])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_clipping_limits_the_global_norm(optimizer: str):
    made = make_optimizer(TrainConfig(optimizer=optimizer, clip_norm=5.0), 16, 10)
    assert made.global_clipnorm == 5.0
    assert make_optimizer(TrainConfig(optimizer=optimizer), 16, 10).global_clipnorm is None


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_layer_can_learn_at_a_rate_of_its_own(kind: str, compiled: bool):
    """The longest start that fits decides; SGD without momentum moves in proportion to the rate, Adam too."""
    moved = []
    for rates in ((), (("fc", 0.5), ("fc/bias", 0.0))):
        _, variables = _layers()
        config = TrainConfig(
            optimizer=kind, momentum=0.0, weight_decay=0.0, schedule="constant", warmup_images=0, layer_rates=rates
        )
        optimizer = make_optimizer(config, 16, 10)
        optimizer.build(variables)
        before = {v.path.split("/", 1)[-1]: v.numpy() for v in variables}

        step = functools.partial(optimizer.apply, [tf.ones(v.shape) for v in variables], variables)
        tf.function(step)() if compiled else step()
        moved.append({v.path.split("/", 1)[-1]: v.numpy() - before[v.path.split("/", 1)[-1]] for v in variables})
    plain, scaled = moved
    for path, factor in {"fc/kernel": 0.5, "fc/bias": 0.0, "norm/gamma": 1.0, "norm/beta": 1.0}.items():
        result = next(p for p in plain if p.endswith(path) or path.endswith(p))
        assert np.abs(plain[result]).min() > 1e-3
        np.testing.assert_allclose(scaled[result], factor * plain[result], rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_decay_of_a_layer_has_its_rate(compiled: bool):
    """Gradients of zero: only AdamW's decoupled decay changes weights, by rate x factor x decay of each."""
    _, variables = _layers()
    config = TrainConfig(
        optimizer="adamw",
        learning_rate=0.1,
        weight_decay=0.5,
        schedule="constant",
        warmup_images=0,
        layer_rates=(("fc", 0.25),),
    )
    optimizer = make_optimizer(config, 16, 10)
    optimizer.build(variables)
    before = [v.numpy() for v in variables]
    step = functools.partial(optimizer.apply, [tf.zeros(v.shape) for v in variables], variables)
    tf.function(step)() if compiled else step()
    for variable, old in zip(variables, before, strict=True):
        wanted = old * (1 - 0.1 * 0.25 * 0.5) if variable.path.endswith("kernel") else old
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-6, err_msg=variable.path)
    assert optimizer.weight_decay == 0.5


def test_the_weight_average_follows_its_formula():
    _, variables = _layers()
    config = TrainConfig(weight_average=0.75, schedule="constant", warmup_images=0, clip_norm=None)
    optimizer = make_optimizer(config, 16, 10)
    optimizer.build(variables)
    averages = None
    for _ in range(4):
        optimizer.apply([tf.ones(v.shape) for v in variables], variables)
        values = [v.numpy() for v in variables]
        if averages is None:  # it starts at the first weights
            averages = values
        else:
            averages = [0.75 * a + 0.25 * v for a, v in zip(averages, values, strict=True)]
    optimizer.finalize_variable_values(variables)
    for variable, wanted in zip(variables, averages, strict=True):
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-6, err_msg=variable.path)
