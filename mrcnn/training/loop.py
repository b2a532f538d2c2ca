"""The loop of a run: epochs of steps, each epoch with its evaluation and its checkpoint."""

from __future__ import annotations

import contextlib
from typing import Any

import keras

from mrcnn.training.callbacks import WaitTimer
from mrcnn.training.faults import log_if_stalled
from mrcnn.training.freezing import set_trainable
from mrcnn.training.handover import Handover
from mrcnn.training.nonfinite import NonfiniteSteps
from mrcnn.training.run import Run
from mrcnn.training.run_folder import RunFolder
from mrcnn.training.setup import averaged_weights
from mrcnn.training.signals import StopSignals
from mrcnn.training.step import Step, make_step, open_batches


class Loop:
    """Makes all steps that are left of a run.

    Args:
        run: what to train.
        handover: knows the position to start from, and writes checkpoints.
        callbacks: called at every step and epoch, in Keras' order.
        timer: one of the callbacks; measures the wait for data.
        keeper: one of the callbacks, which knows whether an epoch was the best so far; None where nothing is written.
        augmentation: see `make_pipeline`.
    """

    def __init__(
        self,
        run: Run,
        handover: Handover,
        callbacks: keras.callbacks.CallbackList,
        timer: WaitTimer,
        keeper: RunFolder | None = None,
        augmentation: Any = None,
    ) -> None:
        self.run, self.handover, self.callbacks, self.timer, self.keeper = run, handover, callbacks, timer, keeper
        self.position = handover.position
        self.signals = StopSignals(handover.checkpoints is not None, self._describe_stop)
        self.nonfinite = NonfiniteSteps(run, lambda: self._save(leaving=True))
        self._logs: dict[str, float] = {}  # of the epoch so far
        self._batches, self._spec = open_batches(
            run.train_data,
            run.recipe,
            run.plan.batch_size,
            run.strategy,
            start_batch=self.position.step,
            augmentation=augmentation,
        )
        self._layers: str | None = None  # that the step below trains
        self._step: Step | None = None

    def go(self) -> None:
        """Train to the end.

        Raises:
            KeyboardInterrupt, SystemExit: a signal ended the run, after a checkpoint.
        """
        model, plan = self.run.model, self.run.plan
        model.stop_training = False
        history = self.handover.history
        past = {name: list(values) for name, values in history.history.items()}, list(history.epoch)
        self.callbacks.on_train_begin()
        history.history, history.epoch = past  # Keras clears it there
        with self.signals.listening():
            logs: dict[str, float] = {}
            for epoch in range(self.position.epochs_done, plan.epochs):
                logs = self._epoch(epoch)
                self._end_epoch(epoch, logs)
                if model.stop_training:
                    break
            self.callbacks.on_train_end(logs)

    def _epoch(self, epoch: int) -> dict[str, float]:
        """The steps that are left of an epoch; its logs."""
        model, plan, signals = self.run.model, self.run.plan, self.signals
        begin = self.position.step - epoch * plan.steps_per_epoch
        if begin == 0:
            model.reset_metrics()
        self.callbacks.on_epoch_begin(epoch)
        self._logs = {}
        for number in range(begin, plan.steps_per_epoch):
            self._logs = self._one_step(number)
            if number + 1 < plan.steps_per_epoch:  # else the epoch's end saves, and leaves
                if signals.number is not None:
                    self._leave()
                if self._is_checkpoint_due():
                    self._save(leaving=False)
            if model.stop_training:
                break
        return {**self._logs, **{name: float(value) for name, value in model.get_metrics_result().items()}}

    def _one_step(self, number: int) -> dict[str, float]:
        step = self._step_of_phase()
        self.callbacks.on_train_batch_begin(number)
        with self.timer.waiting(), log_if_stalled():
            batch = next(self._batches)
        logs, stop = step(batch, self.signals.number is not None)
        if stop:
            self.signals.note()
        logs = self.nonfinite.checked(logs, batch, self.position.step)
        self.position.step += 1
        self.callbacks.on_train_batch_end(number, logs)
        return logs

    def _end_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        """Evaluation, files and checkpoint of an epoch."""
        evaluates = self.run.val_data is not None
        if evaluates:  # it can take long; what was trained must not wait for it
            self._logs = logs
            self._save(leaving=True)
            if self.signals.number is not None:
                self.signals.leave()
        all_is_saved = evaluates and self.handover.checkpoints is not None
        with self._averaged_weights(), self.signals.leaving_at_once(all_is_saved):
            self.callbacks.on_epoch_end(epoch, logs)
        self.position.epochs_done = epoch + 1
        self.handover.save(is_best=self.keeper is not None and self.keeper.is_best)
        if self.signals.number is not None:
            self.signals.leave()

    def _step_of_phase(self) -> Step:
        """What makes the current step; made anew where a phase begins that trains other layers."""
        layers = self.run.plan.layers_at(self.position.step)
        if self._step is None or layers != self._layers:
            set_trainable(self.run.model, layers)
            self._layers, self._step = layers, make_step(self.run.model, self.run.strategy, self._spec)
        return self._step

    def _is_checkpoint_due(self) -> bool:
        every = self.run.recipe.train.checkpoint_images // self.run.plan.batch_size
        return every > 0 and self.position.step % every == 0

    def _leave(self) -> None:
        self._save(leaving=True)
        self.signals.leave()

    def _save(self, leaving: bool) -> None:
        """A checkpoint between two ends of epochs, and the files beside it: the folder is usable from the first on."""
        self.handover.save()
        with self._averaged_weights():  # on every machine
            if self.keeper is not None:
                self.keeper.write_between(self._epochs(), self._logs, leaving)

    def _epochs(self) -> float:
        """How many are done, such as 2.25."""
        epochs = round(self.position.step / self.run.plan.steps_per_epoch, 4)
        return int(epochs) if epochs.is_integer() else epochs

    def _averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        return averaged_weights(self.run.model, self.run.variables, self.run.recipe.train.weight_average)

    def _describe_stop(self) -> str:
        where = "" if self.run.folder is None else f"; resume the run in {self.run.folder}"
        return f"stopped after step {self.position.step} of {self.run.plan.total_steps}{where}"
