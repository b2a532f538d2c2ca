"""What a run does about steps whose loss or gradient is not finite: stop, or skip a few."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any

from mrcnn.modeling.train_step import TrainStep
from mrcnn.training.devices import worker_index
from mrcnn.training.faults import TrainingError, find_fault, save_batch
from mrcnn.training.run import Run
from mrcnn.training.step import local_arrays

logger = logging.getLogger("mrcnn")

_MOST_SKIPPED = 20  # steps in a row: then skipping them mends nothing


class NonfiniteSteps:
    """Looks at the loss of every step.

    Args:
        run: its config says whether to stop.
        save: writes a checkpoint; called before the run is stopped.
    """

    def __init__(self, run: Run, save: Callable[[], object]) -> None:
        self.run, self.save = run, save
        self._skipped = 0

    def checked(self, logs: dict[str, float], batch: Any, step: int) -> dict[str, float]:
        """The logs of a step, without the loss where that is not finite; the model left the step out then.

        Raises:
            TrainingError: the run must stop; names step, layer, loss terms and images.
        """
        if math.isfinite(logs["loss"]):
            self._skipped = 0
            return logs
        self._report(batch, step)
        return {name: value for name, value in logs.items() if name != "loss"}

    def _report(self, batch: Any, step: int) -> None:
        run = self.run
        self._skipped += 1
        too_many = self._skipped > _MOST_SKIPPED
        if not isinstance(run.model, TrainStep):
            raise TrainingError(f"step {step + 1}: the loss is not finite")
        arrays = local_arrays(batch, run.strategy)
        fault = find_fault(run.model, arrays, step + 1)
        message = str(fault)
        if run.folder is not None:
            name = f"nonfinite_step{step + 1:08d}_worker{worker_index(run.strategy)}.npz"
            with contextlib.suppress(OSError):
                path = save_batch(run.folder / name, arrays, fault, run.model.class_names)
                message += f"; the batch is in {path}, see it with: mrcnn inspect --data {path} --out DIR"
        if too_many or run.recipe.train.on_nonfinite == "stop":
            self.save()
            raise TrainingError(message + ("" if too_many else "; train.on_nonfinite=skip passes over such steps"))
        logger.warning("%s; the step is skipped", message)
