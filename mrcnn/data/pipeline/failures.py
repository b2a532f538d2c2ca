"""What went wrong in a thread of a pipeline, as it was raised."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf


class Failures:
    """Keeps what the threads of a pipeline raise, for who waits for the batch.

    TensorFlow reports an error of a thread as one of its own, which holds no more than the text of two tracebacks.
    Given to `make_pipeline`, this keeps the errors themselves; `iterate` raises them.

    Example:
        >>> import mrcnn
        >>> from mrcnn.preprocessing import InputConfig
        >>> data = mrcnn.Dataset()
        >>> data.add_class("x", 1, "thing")
        >>> data.add_image("x", 1, "no_such_file.png", width=40, height=30)
        >>> failures = Failures()
        >>> batches = mrcnn.make_pipeline(data, InputConfig(60), training=False, failures=failures)
        >>> try:
        ...     next(failures.iterate(batches))
        ... except mrcnn.DataError as error:
        ...     print(error)
        no_such_file.png: no such image [image id 1]
    """

    def __init__(self) -> None:
        self._errors: dict[tuple[int, int], Exception] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def of_batch(self, epoch: int, number: int) -> Iterator[None]:
        """Keeps what is raised inside, where batch `number` of an epoch is made; it is raised all the same."""
        try:
            yield
        except Exception as error:
            with self._lock:
                self._errors[epoch, number] = error
            raise

    def iterate(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches of the pipeline, one after the other.

        Args:
            batches: what `make_pipeline` returned, or what a strategy made of it.

        Raises:
            DataError: the batch that comes next cannot be made of its images.
            tf.errors.OpError: something else, which no thread of the pipeline raised.
        """
        iterator = iter(batches)
        failure: Exception | None = None
        while failure is None:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except tf.errors.OpError as error:
                failure = self._first() or error
                continue
            yield batch
        raise failure  # outside of the handler: TensorFlow's report would be shown as its context

    def _first(self) -> Exception | None:
        """Of the batch that comes first: threads work ahead. It is forgotten, with all that its traceback holds."""
        with self._lock:
            return self._errors.pop(min(self._errors), None) if self._errors else None
