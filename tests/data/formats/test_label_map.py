from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.formats.label_map import packed_colors, read_array, read_values, regions

VALUES = np.array([[0, 7, 7, 0], [300, 0, 0, 7]])


def test_regions_are_the_values() -> None:
    result = list(regions(VALUES))
    assert [(r.value, r.top, r.left, r.bits.shape, int(r.bits.sum())) for r in result] == [
        (7, 0, 1, (2, 3), 3),
        (300, 1, 0, (1, 1), 1),
    ]
    assert [r.value for r in regions(VALUES, (0, 300))] == [7] and not list(regions(np.zeros((2, 2), int)))


def test_values_as_they_are_stored(tmp_path: Path) -> None:
    Image.fromarray(VALUES.astype(np.uint16)).save(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.tif"), VALUES.astype(np.uint16))
    cv2.imwrite(str(tmp_path / "f.tif"), VALUES.astype(np.float32))
    palette = Image.fromarray((VALUES % 256).astype(np.uint8), "P")
    palette.putpalette([9, 9, 9] * 256)
    palette.save(tmp_path / "p.png")
    for name in ("a.png", "a.tif", "f.tif"):
        np.testing.assert_array_equal(read_values(tmp_path / name), VALUES)
    np.testing.assert_array_equal(read_values(tmp_path / "p.png"), VALUES % 256)
    Image.fromarray(np.stack([VALUES % 256] * 3, 2).astype(np.uint8)).save(tmp_path / "g.png")
    np.testing.assert_array_equal(read_values(tmp_path / "g.png"), VALUES % 256)
    color = np.zeros((2, 4, 3), np.uint8)
    color[0, 0] = 1, 2, 3
    Image.fromarray(color).save(tmp_path / "c.png")
    assert packed_colors(read_values(tmp_path / "c.png"))[0, 0] == 1 + 512 + 3 * 65536
    Image.fromarray(VALUES.astype(np.int32)).save(tmp_path / "i.tif")
    np.testing.assert_array_equal(read_values(tmp_path / "i.tif"), VALUES)


def test_what_is_no_map(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "half.tif"), np.array([[0.5, 1]], np.float32))
    (tmp_path / "cut.png").write_bytes((tmp_path / "half.tif").read_bytes()[:20])
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    for name, message in (("half.tif", "no integers"), ("cut.png", "damaged|not an image"), ("gone.png", "no such")):
        with pytest.raises(DataError, match=message):
            read_values(tmp_path / name)
    with pytest.raises(DataError, match="not a NumPy file of numbers"):
        read_array(tmp_path / "objects.npy")
