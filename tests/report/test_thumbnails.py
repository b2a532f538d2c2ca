from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mrcnn.report.thumbnails import jpeg_uri


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_is_reduced_but_not_enlarged(rng):
    image = rng.integers(0, 255, (300, 900, 3)).astype(np.uint8)
    assert decode(jpeg_uri(image, long_side=90)).size == (90, 30)
    assert decode(jpeg_uri(image[:20, :10])).size == (10, 20)
    assert decode(jpeg_uri(np.zeros((1, 5000, 3), np.uint8))).size == (480, 1)


def test_pixels_are_those_of_the_image():
    image = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    assert np.abs(np.asarray(decode(jpeg_uri(image)), int) - image).max() <= 4


def test_quality_gives_way_to_size(rng):
    noise = rng.integers(0, 255, (400, 400, 3)).astype(np.uint8)
    assert len(jpeg_uri(noise, max_bytes=10)) < len(jpeg_uri(noise, max_bytes=10**7))
