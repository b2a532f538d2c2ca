"""Learning-rate schedules and the optimizers of the recipes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.recipes import REFERENCE_BATCH, TrainConfig

_WARMUP_START = 1e-3
_NOT_DECAYED = ("gamma", "beta")


@keras.saving.register_keras_serializable("mrcnn")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant, stepwise, cosine or polynomial decay.

    Args:
        peak: the rate after warm-up.
        total_steps: length of the run.
        warmup_steps: steps of linear growth from a thousandth of the peak.
        kind: "constant", "step" (divided by 10 at each milestone), "cosine" (down to 0) or "poly" (down to 0).
        milestones: parts of the run, 0 to 1, for "step".
        power: for "poly".
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        kind: str = "step",
        milestones: Sequence[float] = (),
        power: float = 0.9,
    ) -> None:
        super().__init__()
        if kind not in ("constant", "step", "cosine", "poly"):
            raise InputError(f"schedule: expected constant, step, cosine or poly, got {kind!r}")
        self.peak, self.total_steps, self.warmup_steps = float(peak), int(total_steps), int(warmup_steps)
        self.kind, self.milestones, self.power = kind, tuple(milestones), float(power)

    def __call__(self, step: Any) -> tf.Tensor:
        """The rate f32[] at `step` (from 0)."""
        step = tf.cast(step, tf.float32)
        rate = tf.constant(self.peak)
        if self.kind == "step":
            passed = tf.cast([round(m * self.total_steps) for m in self.milestones], tf.float32)
            rate *= 0.1 ** tf.reduce_sum(tf.cast(step >= passed, tf.float32))
        elif self.kind in ("cosine", "poly"):
            span = max(self.total_steps - self.warmup_steps, 1)
            progress = tf.clip_by_value((step - self.warmup_steps) / span, 0.0, 1.0)
            rate *= (
                0.5 * (1.0 + tf.cos(math.pi * progress)) if self.kind == "cosine" else (1.0 - progress) ** self.power
            )
        if self.warmup_steps:
            rate *= _WARMUP_START + (1 - _WARMUP_START) * tf.minimum(step / self.warmup_steps, 1.0)
        return rate

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras rebuilds the schedule."""
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "kind": self.kind,
            "milestones": list(self.milestones),
            "power": self.power,
        }


class LayerRates(keras.optimizers.Optimizer):
    """Mixed into a Keras optimizer: a factor on the learning rate of some weights.

    Args:
        layer_rates: (start of a weight's path below the model, factor); the longest start that fits decides.
    """

    def __init__(self, *args: Any, layer_rates: Sequence[tuple[str, float]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.layer_rates = [(str(start), float(factor)) for start, factor in layer_rates]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update."""
        if self.layer_rates:
            learning_rate = learning_rate * self._factor(variable)
        super().update_step(gradient, variable, learning_rate)

    def _factor(self, variable: Any) -> float:
        # Keras hands over the tf.Variable, which does not know its path.
        path = self._trainable_variables[self._get_variable_index(variable)].path
        fits = [(len(start), factor) for start, factor in self.layer_rates if f"/{start}" in f"/{path}"]
        return max(fits)[1] if fits else 1.0

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras rebuilds the optimizer."""
        return {**super().get_config(), "layer_rates": self.layer_rates}


@keras.saving.register_keras_serializable("mrcnn")
class AdamW(LayerRates, keras.optimizers.AdamW):
    """Keras' AdamW with a factor on the rate of some weights, for their decoupled decay too."""

    weight_decay: float | None

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Decays the weights of each factor as Keras does all of them."""
        common = self.weight_decay
        if common is None or not self.layer_rates:
            super()._apply_weight_decay(variables)
            return
        of_factor: dict[float, list[Any]] = {}
        for variable in variables:
            of_factor.setdefault(self._factor(variable), []).append(variable)
        try:
            for factor, some in of_factor.items():
                self.weight_decay = common * factor
                super()._apply_weight_decay(some)
        finally:
            self.weight_decay = common


class FusedSGD(keras.optimizers.SGD):
    """Keras' SGD with the update of a weight and its momentum as the one operation that TensorFlow has for it.

    Keras puts it together from five, which read and write all weights more than twice as often.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update."""
        if not self.momentums:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self.momentums[self._get_variable_index(variable)].value
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=momentum.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


@keras.saving.register_keras_serializable("mrcnn")
class SGDWithL2(LayerRates, FusedSGD):
    """SGD whose weight decay is the gradient of an L2 penalty, as in the published detectors.

    Keras' own `weight_decay` is decoupled: it bypasses momentum and so decays ten times less at momentum 0.9.
    Norm parameters are spared.
    """

    def __init__(self, *args: Any, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.l2 = l2

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update."""
        if self.l2 and _own_name(variable) not in _NOT_DECAYED:
            gradient = gradient + self.l2 * keras.ops.cast(variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras rebuilds the optimizer."""
        return {**super().get_config(), "l2": self.l2}


def _own_name(variable: Any) -> str:
    """Last part of a variable's path. Keras hands optimizers the tf.Variable, whose name may end in "/replica_1:0"."""
    path = getattr(variable, "path", variable.name).split(":")[0]
    return re.sub(r"/replica_\d+$", "", path).rsplit("/", 1)[-1]


def make_optimizer(config: TrainConfig, global_batch: int, total_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe.

    Args:
        config: rates are given for a batch of 16 and scaled linearly. Ref: Accurate, Large Minibatch SGD, section 2.
        global_batch: images per step over all devices.
        total_steps: steps of the whole run.
    """
    peak = config.learning_rate * global_batch / REFERENCE_BATCH
    warmup = min(math.ceil(config.warmup_images / global_batch), total_steps // 2)
    schedule = WarmupSchedule(peak, total_steps, warmup, config.schedule, config.milestones, config.poly_power)
    common: dict[str, Any] = {"global_clipnorm": config.clip_norm, "layer_rates": config.layer_rates}
    if config.weight_average:
        common |= {"use_ema": True, "ema_momentum": config.weight_average, "ema_overwrite_frequency": None}
    if config.optimizer == "sgd":
        decay = config.weight_decay if config.decay == "l2" else 0.0  # else it is a part of the loss
        return SGDWithL2(schedule, momentum=config.momentum, l2=decay, **common)
    optimizer = AdamW(schedule, weight_decay=config.weight_decay, **common)
    # "embedding": absolute positions. Ref: ViTDet, arXiv 2203.16527, appendix A.2
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias", r"^embedding\b"])
    return optimizer
