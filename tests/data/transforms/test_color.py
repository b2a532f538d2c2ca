"""Colors by hand, of bytes and of floating point."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.data import transforms as T


def color(image: np.ndarray, *amounts: float) -> Any:
    return T.adjust_color({"image": image}, *amounts)["image"]


def test_color() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(color(image, 1, 1, 1, 0), image)
    np.testing.assert_array_equal(color(np.full((4, 4, 3), 100, np.uint8), 1.5, 1), np.full((4, 4, 3), 150))
    gray = color(image, 1, 1, 0, 0)
    np.testing.assert_allclose(gray[..., 0], image @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])
    np.testing.assert_array_equal(color(image, 1, 0), np.full_like(image, color(image, 1, 0)[0, 0, 0]))
    # A third of a turn around the gray axis exchanges the channels.
    assert {tuple(color(np.full((1, 1, 3), (200, 20, 20), np.uint8), 1, 1, 1, h)[0, 0]) for h in (1 / 3, -1 / 3)} == {
        (20, 200, 20),
        (20, 20, 200),
    }
    np.testing.assert_allclose(color(np.full((1, 1, 3), 80, np.uint8), 1, 1, 1.7, 0.3), 80, atol=1)


def test_color_of_float_images_is_that_of_bytes_before_rounding() -> None:
    image = np.random.default_rng(0).integers(60, 180, (8, 8, 3), dtype=np.uint8)
    for amounts in ((1.3, 1.0), (1.0, 0.7), (0.8, 1.2, 0.5, 0.1)):
        floating = color(image.astype(np.float32), *amounts)
        assert floating.dtype == np.float32
        np.testing.assert_allclose(floating, color(image, *amounts), atol=1.6)
    assert color(np.full((4, 4, 3), 200.0, np.float32), 2.0, 1.0).max() == 255


def test_draws_are_within_their_amounts() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([T.draw_color(rng, 0.25, 0.0, 0.5, 0.1) for _ in range(300)])
    assert 0.8 <= draws[:, 0].min() < 0.85 < 1.2 < draws[:, 0].max() <= 1.25
    assert (draws[:, 1] == 1).all()
    assert np.abs(draws[:, 3]).max() <= 0.1
