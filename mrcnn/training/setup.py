"""A model made ready to train: for the strategy and precision of the run, compiled, with its weight average."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.modeling.train_step import TrainStep
from mrcnn.recipes import REFERENCE_BATCH, TrainConfig
from mrcnn.training.devices import worker_index
from mrcnn.training.freezing import set_trainable
from mrcnn.training.plan import Plan
from mrcnn.training.schedules import make_optimizer

logger = logging.getLogger("mrcnn")


def model_for(model: Any, strategy: tf.distribute.Strategy, precision: str) -> Any:
    """The model itself, or a twin with its weights where it was made for another strategy or another precision."""
    if model.distribute_strategy is strategy and (precision == "float32" or model.dtype_policy.name == precision):
        return model
    policy = keras.config.dtype_policy()
    try:
        if precision != "float32":
            keras.config.set_dtype_policy(precision)
        with strategy.scope():
            twin = type(model).from_config(model.get_config())
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights(model.get_weights())
    return twin


def compile_model(
    model: Any,
    plan: Plan,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> list[Any]:
    """Compile a model, with an optimizer for every weight that trains at any time.

    Args:
        model: made under `strategy`; changed in place.
        plan: its phases say which weights train.
        config: optimizer, schedule, accumulation.
        strategy: of the run.
        optimizer: in place of the recipe's.

    Returns:
        The weights the optimizer was built for, in its order.

    Raises:
        InputError: the recipe asks for what this model's step cannot do.
    """
    chosen: dict[int, Any] = {}
    for _, layers in reversed(plan.phases):
        set_trainable(model, layers)
        chosen |= {id(v): v for v in model.trainable_variables}
    variables = [v for v in model.variables if id(v) in chosen]
    by_recipe = optimizer is None
    with strategy.scope():
        if optimizer is None:
            optimizer = make_optimizer(config, plan.batch_size, plan.total_steps)
        model.compile(optimizer)
        model.optimizer.build(variables)
    _configure_step(model, config)
    if worker_index(strategy) == 0 and by_recipe:
        replicas, rate = strategy.num_replicas_in_sync, config.learning_rate
        logger.info(
            "%d device%s, %d images per step, learning rate %g x %d / %d = %g, %d steps",
            *(replicas, "s" * (replicas > 1), plan.batch_size, rate, plan.batch_size),
            *(REFERENCE_BATCH, rate * plan.batch_size / REFERENCE_BATCH, plan.total_steps),
        )
    return variables


def _configure_step(model: Any, config: TrainConfig) -> None:
    """Accumulation, recomputation and a weight decay in the loss, which are attributes of the model's step."""
    if not isinstance(model, TrainStep):
        if config.accumulate > 1:
            raise InputError(f"train.accumulate: the step of {type(model).__name__} cannot be taken in parts")
        return
    norm = model.config.backbone.norm
    if config.recompute_backbone and norm in ("bn", "sync_bn"):
        raise InputError(f"train.recompute_backbone: backbone norm {norm} would count each batch twice")
    model.num_parts, model.recompute_backbone = config.accumulate, config.recompute_backbone
    model.mean_square_decay = config.weight_decay if config.decay == "mean_square" else 0.0


@contextlib.contextmanager
def averaged_weights(model: Any, variables: Sequence[Any], momentum: float = 1.0) -> Iterator[None]:
    """The model with the running average of its weights, which the optimizer keeps; afterwards with its own again.

    Args:
        model: compiled.
        variables: those the optimizer was built for, in that order.
        momentum: of the average; 0: there is none, and nothing changes.
    """
    if not momentum:
        yield
        return
    own = [v.numpy() for v in variables]
    model.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
