"""A data set whose images and masks are made up on the spot, as a matterport user would write it."""

from __future__ import annotations

import numpy as np

from mrcnn.data.dataset import Dataset


class Squares(Dataset):
    """Image i: a square 5 x 5 at row i, a bar across row 10, and a mask without a pixel; counts calls of load_mask."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.add_class("shapes", 1, "square")
        self.add_class("shapes", 2, "bar")
        for i in range(count):
            self.add_image("shapes", image_id=i, path=None, offset=i)
        self.calls = 0

    def load_image(self, index: int) -> np.ndarray:
        return np.full((20, 30, 3), 10 * index, np.uint8)

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        offset = self.image_info[index]["offset"]
        masks = np.zeros((20, 30, 3), bool)
        masks[offset : offset + 5, 2:7, 0] = True
        masks[10, :, 1] = True
        return masks, np.array([1, 2, 1])  # the third has no pixel
