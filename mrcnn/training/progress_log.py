"""How far a training run is, and the numbers of each epoch, for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from mrcnn.progress import Progress


class ProgressLog(keras.callbacks.Callback):
    """A bar or lines while an epoch's steps are made, and one line at its end; put it after what adds to the logs.

    Args:
        log: see `mrcnn.progress.Progress`.
    """

    def __init__(self, log: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self.progress = Progress("training", unit="step", log=log)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Name the epoch."""
        self.progress.restart(f"epoch {epoch + 1} of {self.params['epochs']}", self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Loss, speed and the wait for data, as means of the epoch so far."""
        logs = logs or {}
        parts = [f"loss {logs['loss']:.4g}"] if "loss" in logs else []
        if "images_per_s" in logs:
            parts.append(f"{logs['images_per_s']:.3g} images/s")
        if "data_wait" in logs:
            parts.append(f"data_wait {logs['data_wait']:.2f}")
        self.progress.update(batch + 1, ", ".join(parts))
        if batch + 1 == self.params["steps"]:
            self.progress.finish()  # a validation's bar comes next

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Every number of the epoch."""
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
        self.progress.finish(f"epoch {epoch + 1} of {self.params['epochs']}: {numbers}")
