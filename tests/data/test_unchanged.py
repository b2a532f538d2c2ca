from __future__ import annotations

import copy

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline import DataConfig, make_pipeline
from mrcnn.data.unchanged import UnchangedImages
from mrcnn.preprocessing import InputConfig


class Drawn(Dataset):
    """Draws squares where a generator says; the masks are those of the last image."""

    def __init__(self, by_index: bool, count: int = 2) -> None:
        super().__init__()
        self.by_index, self.rng = by_index, np.random.default_rng(0)
        self.add_class("drawn", 1, "square")
        for i in range(count):
            self.add_image("drawn", i, None)

    def _corner(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 40, 2)

    def load_image(self, index: int) -> np.ndarray:
        # Several threads call this at once: what is derived from the index is not kept on self.
        y, x = self._corner(index) if self.by_index else self.rng.integers(0, 40, 2)
        self.last = y, x
        image = np.zeros((64, 64, 3), np.uint8)
        image[y : y + 20, x : x + 20] = 255
        return image

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        y, x = self._corner(index) if self.by_index else self.last
        masks = np.zeros((64, 64, 1), bool)
        masks[y : y + 20, x : x + 20] = True
        return masks, np.array([1])


def _batches(dataset: Dataset, count: int) -> list[dict]:
    config = DataConfig(flip_horizontal=0.0)
    batches = make_pipeline(dataset, InputConfig(short_side=64, long_side=64), config, 1, training=True, repeat=True)
    return list(batches.take(count))


def test_an_image_drawn_anew_under_kept_masks_is_refused() -> None:
    with pytest.raises(Exception, match="load_image gave other pixels than before"):
        _batches(Drawn(by_index=False), 6)


def test_an_image_derived_from_its_index_trains_on() -> None:
    for batch in _batches(Drawn(by_index=True), 6):
        y1, x1, y2, x2 = np.asarray(batch["gt_boxes"])[0, 0].astype(int)
        assert (np.asarray(batch["image"])[0, y1:y2, x1:x2] == 255).all() and (y2 - y1, x2 - x1) == (20, 20)


def test_only_first_rereads_are_compared_and_each_image_has_its_own() -> None:
    seen = UnchangedImages()
    images = [np.full((2, 2, 3), i, np.uint8) for i in range(2)]
    for _ in range(4):
        for i, image in enumerate(images):
            seen.check(i, image, f"image {i}")
    seen.check(0, images[1], "image 0")  # after that a data set is believed
    again = copy.deepcopy(seen)
    again.check(2, images[0], "image 2")
    with pytest.raises(DataError, match=r"image 2: .*expected the same image"):
        again.check(2, images[0].reshape(1, 4, 3), "image 2")


def test_images_without_masks_of_their_own_may_change() -> None:
    class Jittered(Drawn):
        load_mask = Dataset.load_mask

    data = Jittered(by_index=False)
    for _ in range(4):
        data._get_image(0)
