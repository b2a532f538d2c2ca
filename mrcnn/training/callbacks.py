"""Callbacks of a training run: the share of time waiting for data, evaluation, early stopping."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from mrcnn.data.dataset import Dataset
from mrcnn.training.evaluation_run import evaluate


class Resumable(keras.callbacks.Callback):
    """A callback whose state is kept in the checkpoints of a run."""

    def get_state(self) -> dict[str, Any]:
        """Plain data."""
        raise NotImplementedError

    def set_state(self, state: dict[str, Any]) -> None:
        """What `get_state` gave."""
        raise NotImplementedError


class WaitTimer(keras.callbacks.Callback):
    """Logs `data_wait`, the share of step time spent waiting for the next batch, and `images_per_s`.

    Args:
        images_per_step: over all devices.
    """

    def __init__(self, images_per_step: int = 1) -> None:
        super().__init__()
        self.images_per_step = images_per_step
        self._restart()

    def _restart(self) -> None:
        self.waited, self.steps, self._begin = 0.0, 0, time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what fetches a batch."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.waited += time.perf_counter() - begin

    def measured(self) -> dict[str, float]:
        """Of the epoch so far."""
        passed = max(time.perf_counter() - self._begin, 1e-9)
        return {"data_wait": self.waited / passed, "images_per_s": self.steps * self.images_per_step / passed}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start counting anew."""
        self._restart()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Add both to the step's log, for the progress bar."""
        self.steps += 1
        if logs is not None:
            logs.update(self.measured())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add both and `learning_rate` to the epoch's log."""
        if logs is not None:
            logs.update(self.measured())
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


def score_of(logs: Mapping[str, Any], best_by: str) -> float | None:
    """What a log is worth, more is better; None where it does not say.

    Args:
        logs: numbers by name.
        best_by: a name; "-name" where less of it is better.
    """
    value = logs.get(best_by.removeprefix("-"))
    if value is None:
        return None
    return -float(value) if best_by.startswith("-") else float(value)


class EarlyStop(Resumable):
    """Ends the run when so many evaluations in a row bring nothing better.

    Args:
        patience: how many.
        best_by: the number of the log to watch, see `score_of`.
    """

    def __init__(self, patience: int, best_by: str) -> None:
        super().__init__()
        self.patience, self.best_by = patience, best_by
        self.best, self.waited = float("-inf"), 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the evaluations since the best."""
        value = score_of(logs or {}, self.best_by)
        if value is None:
            return
        self.best, self.waited = (value, 0) if value > self.best else (self.best, self.waited + 1)
        if self.waited >= self.patience:
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        """See `Resumable`."""
        best = None if self.best == float("-inf") else self.best
        return {"best": best, "waited": self.waited, "best_by": self.best_by}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `Resumable`; counts anew where the run was stopped with another number to watch."""
        if state["best_by"] == self.best_by:
            self.best, self.waited = float("-inf") if state["best"] is None else state["best"], state["waited"]


class Evaluation(keras.callbacks.Callback):
    """Adds COCO numbers on a data set to the log, as `val_mask/AP`, `val_box/AP`, ...

    Args:
        dataset: to look at.
        every_epochs: how often.
        batch_size: images at once on each device.
        wanted: a further number, by its name in the log ("val_mask/APs"); others than COCO's are no concern of this.
        progress, log: see `evaluate`.
    """

    NAMES = ("box/AP", "box/AP50", "mask/AP", "mask/AP50", "mask/AP75", "keypoints/AP", "keypoints/AP50")

    def __init__(
        self,
        dataset: Dataset,
        every_epochs: int = 1,
        batch_size: int = 1,
        wanted: str = "",
        progress: bool = False,
        log: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.progress, self.log = progress, log
        self.dataset, self.every_epochs, self.batch_size = dataset, every_epochs, batch_size
        self.names = (*self.NAMES, wanted.removeprefix("-").removeprefix("val_"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate on every n-th epoch and on the last."""
        last = epoch + 1 == self.params.get("epochs")
        if logs is None or ((epoch + 1) % self.every_epochs and not last):
            return
        result = evaluate(self.model, self.dataset, batch_size=self.batch_size, progress=self.progress, log=self.log)
        numbers = result.numbers
        logs.update({f"val_{name}": numbers[name] for name in self.names if name in numbers})
