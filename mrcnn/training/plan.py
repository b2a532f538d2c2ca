"""How long a run is and what trains when, in steps; the recipe counts images."""

from __future__ import annotations

import dataclasses
import math

from mrcnn.recipes import TrainConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Attributes:
        batch_size: images per step, over all devices and all parts of an accumulated step.
        epochs: evaluations, checkpoints and rows of the history; at least one.
        steps_per_epoch: a step is never split between epochs.
        phases: (first step, `train_layers` from there on), by rising step.
    """

    batch_size: int
    epochs: int
    steps_per_epoch: int
    phases: tuple[tuple[int, str], ...]

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def layers_at(self, step: int) -> str:
        """`train_layers` at a step, counted from 0."""
        return [layers for start, layers in self.phases if start <= step][-1]


def make_plan(config: TrainConfig, num_images: int, num_replicas: int) -> Plan:
    """The plan of a run.

    Args:
        config: durations in images.
        num_images: of the training set.
        num_replicas: devices, over all machines.

    Example:
        >>> plan = make_plan(TrainConfig(images=40, batch_size=2, unfreeze=((0.5, "all"),)), 7, 1)
        >>> plan.epochs, plan.steps_per_epoch, plan.phases
        (6, 4, ((0, 'all_but_frozen'), (12, 'all')))
    """
    batch_size = config.batch_size * config.accumulate * num_replicas
    epochs = max(1, round(config.images / num_images))
    steps_per_epoch = math.ceil(math.ceil(config.images / batch_size) / epochs)
    total = epochs * steps_per_epoch
    phases = ((0, config.train_layers), *((round(part * total), layers) for part, layers in config.unfreeze))
    return Plan(batch_size, epochs, steps_per_epoch, phases)
