"""Images read on threads: their order, how far ahead, and what becomes of those that cannot be used."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.errors import MrcnnError
from mrcnn.inference.read_ahead import OnError, Reading, read_ahead
from mrcnn.preprocessing import InputConfig


def reading(on_error: OnError = "raise") -> Reading:
    return Reading(InputConfig(32, 32, divisor=16), None, None, on_error)


def gray(level: int) -> np.ndarray:
    return np.full((32, 32, 3), level, np.uint8)


def test_images_come_in_their_order_however_long_each_takes() -> None:
    def make(level: int) -> Any:
        def image() -> np.ndarray:
            time.sleep(0.02 * (level % 3))
            return gray(level)

        return image

    items = list(read_ahead((make(level) for level in range(8)), 3, reading()))
    assert [(item.number, int(item.image[0, 0, 0])) for item in items if item is not None] == [(k, k) for k in range(8)]


def test_no_more_are_taken_than_asked_for() -> None:
    taken: list[int] = []

    def images() -> Any:
        for level in range(20):
            taken.append(level)
            yield gray(level)

    stream = read_ahead(images(), 4, reading())
    for number in range(3):
        item = next(stream)
        assert item is not None and item.number == number and len(taken) == number + 5
    threads = threading.active_count()
    stream.close()
    assert threading.active_count() < threads


def test_what_cannot_be_used_is_raised_skipped_or_handed_over(caplog: pytest.LogCaptureFixture) -> None:
    images = [gray(1), np.zeros((4, 4, 3), np.float32), gray(3)]
    with pytest.raises(DataError):
        list(read_ahead(images, 1, reading()))
    assert [item and item.number for item in read_ahead(images, 1, reading("skip"))] == [0, None, 2]
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("skipped: ")
    reported: list[tuple[int, MrcnnError]] = []
    list(read_ahead(images, 5, reading(lambda number, error: reported.append((number, error)))))
    assert [number for number, _ in reported] == [1] and isinstance(reported[0][1], DataError)


def test_what_is_no_fault_of_an_image_is_not_skipped() -> None:
    def broken() -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(read_ahead([gray(1), broken], 1, reading("skip")))
