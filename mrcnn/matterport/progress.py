"""The line of losses while a model trains, as Keras 2 printed it: for terminals, log files and those who read them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import keras

_WIDTH = 30  # of the bar
_SECONDS = 30.0  # between two lines where a line cannot be written over


class Progress(keras.callbacks.Callback):
    """Prints `12/100 [===>...] - 3s 250ms/step - loss: 1.2 - rpn_class_loss: ...`, losses in the order of matterport.

    In a terminal the line is written over; anywhere else there is one every half minute and one at the end of each
    epoch, without escape sequences.

    Args:
        order: sorts logs.
        lines: one line an epoch only.
    """

    def __init__(self, order: Any, lines: bool = False) -> None:
        super().__init__()
        self._order, self._lines = order, lines
        self._start = self._printed = 0.0
        self._batch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Name the epoch."""
        self._start = self._printed = time.monotonic()
        self._batch = 0
        print(f"Epoch {epoch + 1}/{self.params.get('epochs')}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """The line so far."""
        self._batch = batch + 1
        over = sys.stdout.isatty()
        if self._lines or not (over or time.monotonic() - self._printed > _SECONDS):
            return
        self._printed = time.monotonic()
        print(f"\r{self._line(logs)}" if over else self._line(logs), end="" if over else "\n", flush=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The whole line, losses of validation too."""
        start = "\r" if sys.stdout.isatty() and not self._lines else ""
        print(f"{start}{self._line(logs)}", flush=True)

    def _line(self, logs: Mapping[str, float] | None) -> str:
        steps, seconds = self.params.get("steps") or self._batch, time.monotonic() - self._start
        done = min(_WIDTH, _WIDTH * self._batch // max(steps, 1))
        bar = "=" * done if done == _WIDTH else "=" * max(done - 1, 0) + ">" * (done > 0)
        per_step = seconds / max(self._batch, 1)
        pace = f"{per_step:.0f}s/step" if per_step >= 1 else f"{1000 * per_step:.0f}ms/step"
        values = "".join(f" - {name}: {_number(value)}" for name, value in self._order(logs or {}).items())
        return f"{self._batch}/{steps} [{bar:.<{_WIDTH}}] - {seconds:.0f}s {pace}{values}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) > 1e-3 else f"{value:.4e}"
