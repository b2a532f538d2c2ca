"""How long and at which rate to train: the part of a recipe that is neither model nor data."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mrcnn.base_config import BaseConfig, ConfigError

REFERENCE_BATCH = 16
"""Images a step at which `learning_rate` is stated."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(BaseConfig):
    """How long and at which rate to train. Durations count images, so that they hold for any batch size."""

    images: int = 1_440_000  # images seen in all: 90,000 steps of 16
    batch_size: int = 2  # images per device
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.02  # at a batch of 16; scaled linearly with the batch
    momentum: float = 0.9  # sgd only
    weight_decay: float = 1e-4  # sgd: added to the gradient; adamw: decoupled. Norms are spared
    # "l2": as above; "mean_square": the loss has weight_decay x mean(w^2) of kernels and biases, see `modeling.decay`.
    decay: Literal["l2", "mean_square"] = "l2"
    schedule: Literal["step", "cosine", "poly", "constant"] = "step"
    milestones: tuple[float, ...] = (2 / 3, 8 / 9)  # parts of the run after which "step" divides the rate by 10
    poly_power: float = 0.9  # "poly": the rate falls as (1 - progress) to this power
    warmup_images: int = 8_000  # over these the rate grows linearly from a thousandth of its value
    clip_norm: float | None = None  # largest global norm of the gradient
    # "heads", "3+", "4+", "5+", "all", or what the backbone's freeze_at leaves; and, by the losses of a part alone,
    # "rpn", "detector", "rpn_only", "detector_only": alternating training, see `training.freezing.set_trainable`.
    train_layers: str = "all_but_frozen"
    unfreeze: tuple[tuple[float, str], ...] = ()  # (part of the run, train_layers from there on), e.g. [[0.25, "all"]]
    layer_rates: tuple[tuple[str, float], ...] = ()  # (start of a path, factor), e.g. [["backbone", 0.1]]
    weight_average: float = 0.0  # momentum of an exponential average of the weights, evaluated and kept; 0: none
    accumulate: int = 1  # gradients of so many parts, each of batch_size images, are added up before a step
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"  # of features; boxes stay float32
    recompute_backbone: bool = False  # compute its features again for the gradient: less memory, more time
    deterministic: bool = False  # the same bits on every run; slower on GPUs
    on_nonfinite: Literal["stop", "skip"] = "stop"  # at a step whose loss or gradient is not finite
    eval_every_epochs: int = 1
    best_by: str = "val_mask/AP"  # which number of the log the best model is chosen by; "-loss": the lowest is best
    stop_after: int = 0  # end the run after so many evaluations in a row without a better one; 0: never
    checkpoint_images: int = 0  # write a checkpoint every so many images too; 0: at the end of each epoch only
    keep_checkpoints: int = 3  # the last ones; the best is kept beside them
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("images", 1),
            ("batch_size", 1),
            ("eval_every_epochs", 1),
            ("warmup_images", 0),
            ("weight_decay", 0),
            ("accumulate", 1),
            ("stop_after", 0),
            ("checkpoint_images", 0),
            ("keep_checkpoints", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"train.{name}: expected at least {least}, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ConfigError(f"train.learning_rate: expected a positive number, got {self.learning_rate}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"train.clip_norm: expected a positive number or none, got {self.clip_norm}")
        if not 0 <= self.weight_average < 1:
            raise ConfigError(f"train.weight_average: expected a number from 0 to below 1, got {self.weight_average}")
        parts = [part for part, _ in self.unfreeze]
        if parts != sorted(parts) or not all(0 <= part <= 1 for part in parts):
            raise ConfigError(f"train.unfreeze: expected parts of the run from 0 to 1 in rising order, got {parts}")
