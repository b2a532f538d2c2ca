from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.data.errors import DataError
from mrcnn.data.pipeline import Failures, make_pipeline
from tests.data.pipeline.rectangles import INPUT, SMALL, Rectangles


class Lost(Rectangles):
    """Every image from the fourth on is lost."""

    def load_image(self, index: int) -> np.ndarray:
        if index >= 3:
            raise LookupError(f"image {index} is lost\n\nDataError: not this one")
        return super().load_image(index)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_first_error_is_raised_as_it_was_after_what_comes_before_it(workers: int) -> None:
    failures = Failures()
    batches = failures.iterate(
        make_pipeline(Lost(9), INPUT, SMALL, 1, training=False, workers=workers, failures=failures)
    )
    assert [int(next(batches)["image_id"][0]) for _ in range(3)] == [100, 101, 102]
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == "image 103 (None): LookupError: image 3 is lost\n\nDataError: not this one"
    cause = caught.value.__cause__
    assert isinstance(cause, LookupError)
    assert caught.value.__suppress_context__ and cause.__context__ is None  # and nothing of TensorFlow's
    assert list(batches) == []


def test_batches_without_an_error_are_all_there() -> None:
    failures = Failures()
    batches = make_pipeline(Rectangles(4), INPUT, SMALL, 3, training=False, failures=failures)
    ids = [int(image_id) for batch in failures.iterate(batches) for image_id in batch["image_id"]]
    assert sorted(ids) == [100, 101, 102, 103]


def test_an_error_of_another_origin_passes_as_it_is() -> None:
    batches = Failures().iterate(tf.data.Dataset.range(2).map(lambda i: tf.ensure_shape(tf.range(i), [0])))
    next(batches)
    with pytest.raises(tf.errors.InvalidArgumentError):
        next(batches)
