"""Callbacks of a training run: data-wait share, evaluation, checkpoints, history and curves."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.files import whole_file
from mrcnn.training.evaluation_run import evaluate
from mrcnn.weights.checkpoint import save_checkpoint


class WaitTimer(keras.callbacks.Callback):
    """Logs `data_wait`, the share of step time spent waiting for the next batch."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0
        self._begin = time.perf_counter()

    def wrap(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches, with the time each took to arrive added up."""

        def batches() -> Iterator[Any]:
            iterator = iter(dataset)
            while True:
                begin = time.perf_counter()
                batch = next(iterator, None)
                self.waited += time.perf_counter() - begin
                if batch is None:
                    return
                yield batch

        wrapped = tf.data.Dataset.from_generator(batches, output_signature=dataset.element_spec)
        # Else TensorFlow fetches ahead in a thread of its own, and waiting there would count though no step waits.
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        return wrapped.with_options(options)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start counting anew."""
        self.waited, self._begin = 0.0, time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `data_wait` (0 to 1) and `learning_rate` to the epoch's log."""
        if logs is not None:
            logs["data_wait"] = self.waited / max(time.perf_counter() - self._begin, 1e-9)
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


class Evaluation(keras.callbacks.Callback):
    """Adds the COCO numbers on a data set to the log, as `val_mask/AP`, `val_box/AP`, ..."""

    NAMES = ("box/AP", "box/AP50", "mask/AP", "mask/AP50", "mask/AP75")

    def __init__(self, dataset: Dataset, every_epochs: int = 1, batch_size: int = 1) -> None:
        super().__init__()
        self.dataset, self.every_epochs, self.batch_size = dataset, every_epochs, batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate on every n-th epoch and on the last."""
        last = epoch + 1 == self.params.get("epochs")
        if logs is None or ((epoch + 1) % self.every_epochs and not last):
            return
        numbers = evaluate(self.model, self.dataset, batch_size=self.batch_size).numbers
        logs.update({f"val_{name}": numbers[name] for name in self.NAMES if name in numbers})


class RunDirectory(keras.callbacks.Callback):
    """Keeps a run in a folder: model.safetensors (last), best.safetensors, history.csv, curves.png."""

    def __init__(self, path: Path, extra: dict[str, Any], best_by: str = "val_mask/AP") -> None:
        super().__init__()
        self.path, self.extra, self.best_by = path, extra, best_by
        self.best = float("-inf")
        self.rows: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write everything; each file is replaced as a whole."""
        row = {"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}}
        self.rows.append(row)
        save_checkpoint(self.model, self.path / "model.safetensors", extra=self.extra)
        if row.get(self.best_by, float("-inf")) > self.best:
            self.best = row[self.best_by]
            save_checkpoint(self.model, self.path / "best.safetensors", extra=self.extra)
        columns = list(dict.fromkeys(name for r in self.rows for name in r))
        with (
            whole_file(self.path / "history.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        self._draw_curves()

    def _draw_curves(self) -> None:
        from matplotlib.figure import Figure  # heavy, and only needed here

        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        epochs = [row["epoch"] for row in self.rows]
        for name in [n for n in self.rows[0] if n == "loss" or n.startswith(("rpn_", "roi_"))]:
            left.plot(epochs, [row.get(name) for row in self.rows], label=name, lw=2.5 if name == "loss" else 1.2)
        left.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        left.legend(fontsize=7)
        for name in ("val_box/AP", "val_mask/AP", "val_mask/AP50"):
            points = [(row["epoch"], row[name]) for row in self.rows if name in row]
            if points:
                right.plot(*zip(*points, strict=True), marker=".", label=name.removeprefix("val_"))
        right.set(xlabel="epoch", ylabel="validation", ylim=(0, 1))
        if right.lines:
            right.legend(fontsize=7)
        with whole_file(self.path / "curves.png") as temporary:
            figure.savefig(temporary, dpi=110)
