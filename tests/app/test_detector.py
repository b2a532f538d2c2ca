"""The model behind the page: once an image, at a low score, in three ways."""

from __future__ import annotations

import pytest

from mrcnn.app.detector import LOWEST, MODES, Detector
from tests.blob_finder import BlobFinder, image


@pytest.fixture(scope="module")
def detector():
    return Detector(BlobFinder())


@pytest.mark.parametrize("mode", ["once", "tiles"])
def test_all_that_any_threshold_could_show_is_kept(detector, mode):
    pixels = image(100, 150, (0, 10, 10, 30, 30), (2, 50, 60, 90, 90))
    instances, seconds = detector(pixels, mode)
    assert instances.image_shape == (100, 150) and seconds > 0 and set(instances.class_ids.tolist()) == {1, 3}
    assert instances.scores.min() < 0.5 and instances.scores.min() >= LOWEST


def test_it_is_warm_before_the_first_image(detector):
    assert detector.warm_up() > 0
    traces = detector.model.traces
    detector(image(70, 90))
    assert detector.model.traces == traces and MODES == ("once", "tiles", "augmented")
