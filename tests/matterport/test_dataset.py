"""How the default `load_image` reads files, and masks beside turned photos."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mrcnn import model as modellib
from mrcnn import utils
from tests.matterport.small import SmallConfig


class Photo(utils.Dataset):
    def load_mask(self, image_id):
        masks = np.zeros((40, 60, 1), bool)
        masks[4:12, 6:20] = True  # in the pixels as they are stored
        return masks, np.array([1])


def photo(folder, orientation, **attributes):
    """A dark photo of 40 x 60 with a bright block under the mask, which a camera has marked as turned."""
    pixels = np.full((40, 60, 3), 20, np.uint8)
    pixels[4:12, 6:20] = 240
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(folder / "photo.png", exif=exif)
    data = Photo()
    for name, value in attributes.items():
        setattr(data, name, value)
    data.add_class("photos", 1, "block")
    data.add_image("photos", 7, folder / "photo.png")
    data.prepare()
    return data, pixels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_not_turned_unless_masks_are_too(tmp_path, orientation):
    data, pixels = photo(tmp_path, orientation)
    np.testing.assert_array_equal(data.load_image(0), pixels)
    turned, _ = photo(tmp_path, orientation, turn_exif=True)
    assert turned.load_image(0).shape == ((60, 40, 3) if orientation > 4 else (40, 60, 3))
    for dataset in (data, turned):
        image, _, _, _, mask = modellib.load_image_gt(dataset, SmallConfig(), 0)
        assert image[mask[..., 0] > 0].mean() > 200 and image[mask[..., 0] == 0].mean() < 40


def test_16_bits_become_8(tmp_path):
    Image.fromarray(np.full((4, 6), 0x80FF, np.uint16)).save(tmp_path / "deep.png")
    data = Photo()
    data.add_image("photos", 1, tmp_path / "deep.png")
    data.prepare()
    image = data.load_image(0)
    assert image.shape == (4, 6, 3) and image.dtype == np.uint8 and image[0, 0, 0] == 0x80
