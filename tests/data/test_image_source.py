from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.images import ReadOptions
from tests.data.squares import Squares


def test_a_load_image_of_another_kind_is_refused() -> None:
    class Float(Squares):
        def load_image(self, index: int):
            return np.zeros((20, 30, 3), np.float32)

    with pytest.raises(DataError, match=r"image 0: load_image gave float32\[20, 30, 3\]"):
        Float().image_shape(0)


def test_how_images_are_read_is_a_field(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 4095, np.uint16)).save(tmp_path / "a.png")
    pages = [Image.new("L", (4 + i, 3), 90 + i) for i in range(2)]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    dataset = Dataset()
    dataset.add_image("mine", 0, tmp_path / "a.png")
    assert dataset.load_image(0).max() == 16
    dataset.read_options = ReadOptions(in_range=12)
    assert dataset.load_image(0).min() == 255
    assert dataset.subset([0]).load_image(0).min() == 255
    second = Dataset()
    second.read_options = ReadOptions(page=2)
    second.add_image("mine", 0, tmp_path / "b.tif")
    assert second.image_shape(0) == (3, 5) == second.load_image(0).shape[:2]
