"""What a training run consists of, as its parts hand it to each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.recipes import Recipe
from mrcnn.training.devices import worker_index
from mrcnn.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose model is compiled.

    Attributes:
        model: made under `strategy`.
        variables: the weights its optimizer was built for, in that order.
        recipe: with the config of this very model.
        plan: steps and phases.
        strategy: devices and machines.
        train_data: what it trains on.
        val_data: what it is evaluated on.
        folder: what it writes to; None: nothing.
    """

    model: Any
    variables: list[Any]
    recipe: Recipe
    plan: Plan
    strategy: tf.distribute.Strategy
    train_data: Dataset
    val_data: Dataset | None
    folder: Path | None

    @property
    def is_chief(self) -> bool:
        """Whether this machine writes."""
        return worker_index(self.strategy) == 0


@dataclasses.dataclass
class Position:
    """How far a run is: steps made, and epochs whose evaluation is made too."""

    step: int = 0
    epochs_done: int = 0
