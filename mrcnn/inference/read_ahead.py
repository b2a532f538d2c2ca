"""Images read, decoded and resized on threads, in order, ahead of the model."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Union

from mrcnn.data.read_options import ReadOptions
from mrcnn.errors import MrcnnError
from mrcnn.inference.prepare import Prepared, prepare_image
from mrcnn.preprocessing import InputConfig

_READERS = 2

logger = logging.getLogger("mrcnn")

OnError = Union[Literal["raise", "skip"], Callable[[int, MrcnnError], None]]  # noqa: UP007 - a runtime alias
"""What becomes of an image that cannot be used; see `detect`."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are read, and what becomes of one that cannot be."""

    config: InputConfig
    max_pixels: int | None
    options: ReadOptions | None
    on_error: OnError

    def prepare(self, image: Any, number: int) -> Prepared:
        """An image as the model takes it; `number` is its place, from 0."""
        return prepare_image(image, number, self.config, self.max_pixels, self.options)

    def report(self, number: int, error: MrcnnError) -> None:
        """Raise, log or hand over the error of an image.

        Raises:
            MrcnnError: the error itself, if it is not to be skipped.
        """
        if self.on_error == "raise":
            raise error
        if self.on_error == "skip":
            logger.warning("skipped: %s", error)
        else:
            self.on_error(number, error)


def read_ahead(images: Iterable[Any], ahead: int, reading: Reading) -> Iterator[Prepared | None]:
    """Prepared images in order, None for one to be skipped; threads work on up to `ahead` more meanwhile.

    Raises:
        MrcnnError: of an image that cannot be used, where `reading` says so.
    """

    def next_one() -> Prepared | None:
        number, future = waiting.popleft()
        try:
            return future.result()
        except MrcnnError as error:
            reading.report(number, error)
            return None

    with concurrent.futures.ThreadPoolExecutor(_READERS, "mrcnn image") as pool:
        waiting: collections.deque[tuple[int, concurrent.futures.Future[Prepared]]] = collections.deque()
        try:
            for number, image in enumerate(images):
                waiting.append((number, pool.submit(reading.prepare, image, number)))
                if len(waiting) > ahead:
                    yield next_one()
            while waiting:
                yield next_one()
        finally:  # also where the caller stops in between, or an image cannot be read
            for _, future in waiting:
                future.cancel()
