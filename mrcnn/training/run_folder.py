"""What a run keeps in its folder beside the checkpoints: models, history and curves, up to date at any time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from mrcnn.training.callbacks import Resumable, score_of
from mrcnn.training.curves import draw_curves, write_history
from mrcnn.weights.checkpoint import MODEL_FILE, save_checkpoint

logger = logging.getLogger("mrcnn")

BEST_FILE = "best.safetensors"


class RunFolder(Resumable):
    """Writes model.safetensors (last), best.safetensors, history.csv and curves.png, each file as a whole.

    What a full disk refuses is logged, not raised: training goes on.

    Args:
        path: the folder.
        extra: plain data to keep in the model files, such as the recipe.
        best_by: the number of the log that says which epoch was the best, see `score_of`.
    """

    def __init__(self, path: Path, extra: dict[str, Any], best_by: str = "val_mask/AP") -> None:
        super().__init__()
        self.path, self.extra, self.best_by = path, extra, best_by
        self.best = float("-inf")
        self.is_best = False  # whether the last epoch was the best so far
        self.rows: list[dict[str, float]] = []
        self._warned = False

    def get_state(self) -> dict[str, Any]:
        """See `Resumable`."""
        return {"rows": self.rows}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `Resumable`."""
        self.rows = list(state["rows"])  # the best is found anew, for it may be best in something else now
        self.best = max((s for row in self.rows if (s := score_of(row, self.best_by)) is not None), default=self.best)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write everything."""
        row = _row(epoch + 1, logs or {})
        self.rows.append(row)
        score = score_of(row, self.best_by)
        self.is_best = score is not None and score > self.best
        if score is not None and self.is_best:
            self.best = score
        if score is None and not self._warned and _is_due(self.best_by, row):
            self._warned = True
            logger.warning("train.best_by: this run logs no %s; it logs %s", self.best_by.lstrip("-"), ", ".join(row))
        with self._full_disk_is_logged():
            save_checkpoint(self.model, self.path / MODEL_FILE, extra=self.extra)
            if self.is_best:
                save_checkpoint(self.model, self.path / BEST_FILE, extra=self.extra)
            self._write_history(self.rows)
            draw_curves(self.rows, self.path / "curves.png")

    def write_between(self, epochs: float, logs: Mapping[str, float], leaving: bool) -> None:
        """Bring the folder up to date between two ends of epochs, with a row that is not kept.

        Args:
            epochs: how many are done, such as 2.25.
            logs: of the epoch so far.
            leaving: the run ends here, or may end before the epoch's end: write everything. Else write what is cheap,
                and the model only where there is none yet.
        """
        rows = [*self.rows, _row(epochs, logs)] if logs else self.rows
        with self._full_disk_is_logged():
            if (leaving or not (self.path / MODEL_FILE).exists()) and self._is_finite():
                save_checkpoint(self.model, self.path / MODEL_FILE, extra=self.extra)
            if rows:
                self._write_history(rows)
                if leaving:
                    draw_curves(rows, self.path / "curves.png")

    def _is_finite(self) -> bool:
        """Whether the weights can be kept as a model; a run that ends on NaN leaves the one before."""
        return all(np.isfinite(np.asarray(variable)).all() for variable in self.model.variables)

    def _write_history(self, rows: list[dict[str, float]]) -> None:
        write_history(rows, self.path / "history.csv")

    @contextlib.contextmanager
    def _full_disk_is_logged(self) -> Iterator[None]:
        try:
            yield
        except (OSError, safetensors.SafetensorError) as error:
            logger.error("%s: not all of the run could be written (%s); training goes on", self.path, error)


def _row(epoch: float, logs: Mapping[str, Any]) -> dict[str, float]:
    return {"epoch": epoch, **{name: float(value) for name, value in logs.items()}}


def _is_due(best_by: str, row: Mapping[str, Any]) -> bool:
    """Whether an epoch's log ought to have the number: one of an evaluation only where there was one."""
    return not best_by.lstrip("-").startswith("val_") or any(name.startswith("val_") for name in row)
