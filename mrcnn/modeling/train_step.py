"""One training step, the same for Keras' `fit` and for `mrcnn.train`, on one device or on many.

What one step computes does not depend on how its images are dealt out. A loss is a sum over elements divided by
their number (`LossTerm`); both are added up over all replicas, and over the parts of a batch that is worked off piece
by piece, before the division. So N replicas, or N parts, have the loss and the gradient of one device that sees all.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mrcnn.modeling.decay import mean_square_penalty
from mrcnn.modeling.drop_path import draw, drawn, drop_paths
from mrcnn.ops.custom_gradient import gradients_forgotten
from mrcnn.structures.tensors import Batch, LossTerm

COUNTS_KEY = "loss_counts"
"""In a batch that is a part of a larger one: what to divide each loss by, a dict of f32[] by name."""


class TrainStep(keras.Model):
    """Base class of a model that returns its losses for a batch with ground truth.

    Subclasses define `call`, which for such a batch returns `loss_shares(...)`; `batch_terms`; and `loss_names`.

    Attributes:
        num_parts: parts each replica works a batch off in, one after the other, before its one update: more images a
            step than fit into memory. The numbers to divide by need a forward pass of their own, so a step of two
            parts takes about a third more time than two steps.
        skip_nonfinite: leave weights and optimizer as they are in a step whose loss or gradient is not finite. Such a
            step reports a loss of NaN either way, and does not enter the running means.
        recompute_backbone: compute its features a second time for the gradient, so that what they are computed from
            need not be kept beside what the heads keep. Its norms must not be updated by batches: they would twice.
        trained_losses: names of the loss terms that are minimized; None: all. The others are reported all the same.
        mean_square_decay: weight of `decay.mean_square_penalty`, which is a part of the loss; 0: none.
    """

    num_parts: int = 1
    skip_nonfinite: bool = True
    recompute_backbone: bool = False
    trained_losses: frozenset[str] | None = None
    mean_square_decay: float = 0.0

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of all loss terms, in the order they are shown."""
        raise NotImplementedError

    def batch_terms(self, batch: Batch, training: bool | None = None) -> dict[str, LossTerm]:
        """Every loss of a batch with ground truth as sum and count."""
        raise NotImplementedError

    def run_backbone(
        self, pixels: tf.Tensor, training: bool | None, seed: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """The backbone's feature maps, kept or computed again for the gradient.

        Args:
            pixels: [B, H, W, channels], normalized.
            training: see the class.
            seed: i32[B, 2], decides which blocks stochastic depth leaves out; None: none.
        """
        layers = drop_paths(self.backbone) if training and seed is not None else []
        numbers = draw(seed, len(layers)) if layers else tf.zeros([tf.shape(pixels)[0], 0])

        def run(x: tf.Tensor, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
            with drawn(layers, numbers):
                return self.backbone(x, training=training)

        return (tf.recompute_grad(run) if self.recompute_backbone and training else run)(pixels, numbers)

    def compile(self, optimizer: Any = "sgd", **kwargs: Any) -> None:
        """As in Keras; no `loss` is needed, the model brings its own."""
        self.loss_trackers = {name: keras.metrics.Mean(name=name) for name in self.loss_names}
        kwargs.setdefault("jit_compile", False)  # on CPUs XLA is slower here, on GPUs the NMS kernel is not compiled
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a model read from a .keras file as it was; Keras leaves that to whoever overrides `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def make_train_function(self, force: bool = False) -> None:
        """As in Keras; the optimizer's variables are made here, for inside a step it would be too late."""
        self._build_optimizer()
        super().make_train_function(force)

    def _maybe_symbolic_build(self, *_: Any, **__: Any) -> None:
        """Nothing left to build. Under a strategy Keras' `fit` would average a batch over the replicas to do so."""

    def _build_optimizer(self) -> None:
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> tf.Tensor:
        """f32[], this replica's share of the sum of the minimized loss terms and of layer regularisers."""
        del x, y, sample_weight, training
        if not set(self.loss_names) & set(y_pred):
            raise ValueError("the batch has no ground truth; make the pipeline with with_ground_truth=True")
        parts = self.num_parts * _num_replicas()
        extras = list(self.losses)
        if self.mean_square_decay:
            extras.append(mean_square_penalty(self.trainable_variables, self.mean_square_decay))
        chosen = self.trained_losses
        terms = [value for name, value in y_pred.items() if chosen is None or name in chosen]
        # Not add_n, whose order is that in which buffers become free, and so its rounding.
        return tf.reduce_sum(tf.stack([*terms, *(tf.cast(extra, tf.float32) / parts for extra in extras)]))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update; returns the means of the loss and its terms since the metrics were last reset.

        The loss is NaN where that of this step, or its gradient, is not finite.
        """
        batch = keras.utils.unpack_x_y_sample_weight(data)[0]
        self._build_optimizer()
        variables = self.trainable_variables
        parts = self._parts(batch)
        shares, gradients = dict.fromkeys(("loss", *self.loss_names), 0.0), [None] * len(variables)
        for part in parts:
            with tf.GradientTape() as tape:
                losses = self(part, training=True)
                loss = self.compute_loss(x=part, y_pred=losses)
                scaled = self.optimizer.scale_loss(loss)
            partial = tape.gradient(scaled, variables)
            gradients = [_add(a, b) for a, b in zip(gradients, partial, strict=True)]
            shares = {name: shares[name] + value for name, value in {**losses, "loss": loss}.items()}
        shares = all_sums(shares)
        finite = tf.math.is_finite(shares["loss"])
        if not _is_loss_scaled(self.optimizer):  # else the optimizer halves its scale and skips the step itself
            finite &= _all_finite(gradients)
        update = tf.constant(True) if not self.skip_nonfinite else finite
        _apply_if(update, self.optimizer, gradients, variables)
        return self._log(batch, shares, finite)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The losses of a batch, on the training path."""
        batch = keras.utils.unpack_x_y_sample_weight(data)[0]
        losses = self(batch, training=False)
        parts, self.num_parts = self.num_parts, 1
        shares = all_sums({**losses, "loss": self.compute_loss(x=batch, y_pred=losses)})
        self.num_parts = parts
        return self._log(batch, shares, tf.math.is_finite(shares["loss"]))

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Detections, also where the batch carries ground truth."""
        batch = keras.utils.unpack_x_y_sample_weight(data)[0]
        return self({k: v for k, v in batch.items() if not k.startswith("gt_")}, training=False)

    def _parts(self, batch: Batch) -> list[Batch]:
        """The batch cut into `num_parts` of about equal size, each with the numbers its losses are divided by."""
        if self.num_parts == 1:
            return [batch]
        size, n = tf.shape(batch["image"])[0], self.num_parts
        with tf.control_dependencies([tf.debugging.assert_greater_equal(size, n, "a part would have no image")]):
            edges = [size * i // n for i in range(n + 1)]
        parts = [{k: v[a:b] for k, v in batch.items()} for a, b in itertools.pairwise(edges)]
        counts = dict.fromkeys(self.loss_names, 0.0)
        for part in parts:  # TensorFlow leaves out what only the sums need
            for name, term in self.batch_terms(part, training=False).items():
                counts[name] += tf.stop_gradient(term.count)
        counts = all_sums(counts)
        return [{**part, COUNTS_KEY: counts} for part in parts]

    def _log(self, batch: Batch, shares: Mapping[str, tf.Tensor], finite: tf.Tensor) -> dict[str, tf.Tensor]:
        # By images, so that terms and total add up after a smaller last batch too.
        weight = tf.where(finite, tf.cast(tf.shape(batch["image"])[0], tf.float32), 0.0)
        for tracker in self.metrics:
            if tracker.name in shares:
                tracker.update_state(tf.where(finite, shares[tracker.name], 0.0), sample_weight=weight)
        logs = self.get_metrics_result()
        return {**logs, "loss": tf.where(finite, logs["loss"], float("nan"))}


def loss_shares(terms: Mapping[str, LossTerm], counts: Mapping[str, tf.Tensor] | None = None) -> dict[str, tf.Tensor]:
    """What this replica contributes to each loss of the joined batch; their sum over all replicas is the loss.

    Args:
        terms: losses of this replica's images.
        counts: what to divide by where these images are only a part of the batch, f32[] by name.

    Returns:
        f32[] by name. Empty: 0 for a loss without elements.
    """
    if counts is None:
        if _num_replicas() == 1:
            return {name: term.mean() for name, term in terms.items()}
        counts = all_sums({name: tf.stop_gradient(term.count) for name, term in terms.items()})
    return {name: term.total / tf.maximum(counts[name], 1.0) for name, term in terms.items()}


def all_sums(values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Each f32[] summed over the replicas, with one message for all."""
    if _num_replicas() == 1:
        return dict(values)
    stacked = tf.stack([tf.cast(value, tf.float32) for value in values.values()])
    stacked = tf.distribute.get_replica_context().all_reduce("SUM", stacked)
    return dict(zip(values, tf.unstack(stacked, num=len(values)), strict=True))


def _num_replicas() -> int:
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def _add(a: Any, b: Any) -> Any:
    """Sum of two gradients, either of which may be None or sparse."""
    if a is None or b is None:
        return b if a is None else a
    return tf.convert_to_tensor(a) + tf.convert_to_tensor(b)


def _all_finite(gradients: list[Any]) -> tf.Tensor:
    """bool[], over all replicas. A norm past the range of float32 counts as infinite."""
    squares = [tf.nn.l2_loss(tf.cast(tf.convert_to_tensor(g), tf.float32)) for g in gradients if g is not None]
    return tf.math.is_finite(all_sums({"norm": tf.add_n(squares)})["norm"])


def _is_loss_scaled(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def _apply_if(update: tf.Tensor, optimizer: Any, gradients: list[Any], variables: list[Any]) -> None:
    """Apply the gradients summed over the replicas where `update` holds; it must be the same on all."""
    num = _num_replicas()
    if num > 1:
        gradients = _joined(optimizer, gradients, num)
    known = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]  # else Keras warns of each
    gradients, variables = [g for g, _ in known], [v for _, v in known]

    def apply(*replica_gradients: Any) -> tf.Tensor:
        with gradients_forgotten():
            optimizer.apply(list(replica_gradients), variables)
        return tf.constant(True)

    def leave() -> tf.Tensor:
        return tf.constant(False)

    if not tf.distribute.has_strategy() or tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(update, lambda: apply(*gradients), leave)
        return

    # A condition around an update of mirrored variables must lie outside the replicas.
    def across(strategy: tf.distribute.Strategy, update: Any, gradients: Any) -> None:
        def apply_on_all() -> tf.Tensor:
            strategy.extended.call_for_each_replica(apply, args=tuple(gradients))
            return tf.constant(True)

        tf.cond(strategy.experimental_local_results(update)[0], apply_on_all, leave)

    tf.distribute.get_replica_context().merge_call(across, args=(update, gradients))


def _joined(optimizer: Any, gradients: list[Any], num: int) -> list[Any]:
    """Gradients such that Keras, which clips each replica's before it adds them up, clips their sum.

    Without clipping there is nothing to do. With it each replica gets 1 / num of the clipped sum.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    clips = (inner.clipnorm, inner.global_clipnorm, inner.clipvalue)
    if not any(clips) and inner is optimizer:
        return gradients
    known = [i for i, g in enumerate(gradients) if g is not None]
    summed = tf.distribute.get_replica_context().all_reduce("SUM", [tf.convert_to_tensor(gradients[i]) for i in known])
    scale = optimizer.dynamic_scale.value if inner is not optimizer else 1.0
    summed = _clip(summed, *clips, scale)
    result = list(gradients)
    for i, gradient in zip(known, summed, strict=True):
        result[i] = gradient / num
    return result


def _clip(gradients: list[tf.Tensor], norm: Any, global_norm: Any, value: Any, scale: Any) -> list[tf.Tensor]:
    """As Keras' optimizers clip, for gradients that are `scale` times too large."""
    if norm:
        return [tf.clip_by_norm(g, norm * scale) for g in gradients]
    if global_norm:
        return tf.clip_by_global_norm(gradients, global_norm * scale)[0]
    if value:
        return [tf.clip_by_value(g, -value * scale, value * scale) for g in gradients]
    return gradients
