"""Batches and the step that takes them, on every device of a strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline import Failures, Share, make_pipeline
from mrcnn.recipes import Recipe
from mrcnn.training.devices import is_multi_worker, num_workers, worker_index

Step = Callable[[Any, bool], tuple[dict[str, float], bool]]
"""(batch, whether this machine was asked to stop) -> (logs, whether any machine was)."""


def open_batches(
    dataset: Dataset,
    recipe: Recipe,
    batch_size: int,
    strategy: tf.distribute.Strategy,
    *,
    start_batch: int,
    augmentation: Any = None,
) -> tuple[Iterator[Any], Any]:
    """Batches without end, each dealt to the devices of the strategy.

    Args:
        dataset: with annotations.
        recipe: its input and data config, and the seed.
        batch_size: images per step over all devices.
        start_batch: steps made before.
        augmentation: see `make_pipeline`.

    Returns:
        (iterator, spec of what it yields). The iterator raises a DataError where the next batch cannot be made.
    """
    replicas = strategy.num_replicas_in_sync
    local = replicas // num_workers(strategy)
    failures = Failures()
    share = Share(replicas, worker_index(strategy) * local, local)

    def make(_: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        return make_pipeline(
            dataset,
            recipe,
            batch_size=batch_size,
            training=True,
            seed=recipe.train.seed,
            repeat=True,
            start_batch=start_batch,
            share=share,
            augmentation=augmentation,
            failures=failures,
        )

    batches = make() if replicas == 1 else strategy.distribute_datasets_from_function(make)
    return failures.iterate(batches), batches.element_spec


def make_step(model: Any, strategy: tf.distribute.Strategy, spec: Any) -> Step:
    """One training step on all devices, as a graph for the weights that train now."""
    across_machines = is_multi_worker(strategy)

    def on_replica(batch: Any, stop: tf.Tensor) -> dict[str, tf.Tensor]:
        logs = dict(model.train_step(batch))
        if across_machines:  # all machines must stop after the same step
            # A tensor of its own on this device: an argument of the graph lies on none.
            logs["stop"] = tf.distribute.get_replica_context().all_reduce("SUM", tf.identity(stop))
        return logs

    @tf.function(input_signature=[spec, tf.TensorSpec([], tf.float32)], autograph=False)
    def graph(batch: Any, stop: tf.Tensor) -> dict[str, Any]:
        return strategy.run(on_replica, args=(batch, stop))

    def step(batch: Any, stop: bool) -> tuple[dict[str, float], bool]:
        values = graph(batch, tf.constant(float(stop)))
        logs = {name: float(strategy.experimental_local_results(value)[0]) for name, value in values.items()}
        return logs, bool(logs.pop("stop", float(stop)))

    return step


def local_arrays(batch: Mapping[str, Any], strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """The images of a step on all devices of this machine."""
    parts = {key: strategy.experimental_local_results(value) for key, value in batch.items()}
    return {key: np.concatenate([np.asarray(part) for part in values]) for key, values in parts.items()}
