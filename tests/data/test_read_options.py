from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from mrcnn.base_config import ConfigError
from mrcnn.data.errors import DataError
from mrcnn.data.images import image_shape, read_image
from mrcnn.data.read_options import ReadOptions
from tests.data.image_files import GRAY, save


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    for name in ("p.png", "p.tif"):
        path = save(tmp_path, GRAY, name)
        with pytest.raises(DataError, match=rf"{name}: 3 x 4 .* is 12 pixels, at most 11 are read; raise max_pixels"):
            read_image(path, max_pixels=11)
        assert read_image(path, max_pixels=None).shape == (3, 4, 3)
    Image.new("1", (20000, 10000)).save(tmp_path / "bomb.png")
    assert image_shape(tmp_path / "bomb.png") == (10000, 20000)
    with pytest.raises(DataError, match=r"bomb\.png: .*200000000 pixels, at most 178956970"):
        read_image(tmp_path / "bomb.png")


def test_options_are_checked_and_survive_plain_data() -> None:
    for options in (
        ReadOptions(),
        ReadOptions((0.0, 4095.0), (4, "red", 2), 3, None),
        ReadOptions("image"),
        ReadOptions(12),
    ):
        assert ReadOptions.from_dict(options.to_dict()) == options
    for bad in ({"in_range": "all"}, {"in_range": (5, 5)}, {"in_range": 0}, {"page": 0}, {"bands": (1, 2)}):
        with pytest.raises(DataError, match=r"page|bands|in_range"):
            ReadOptions(**bad)
        with pytest.raises(ConfigError):
            ReadOptions.from_dict(bad)


def test_pages_are_named_and_chosen(tmp_path: Path, caplog) -> None:
    pages = [Image.new("L", (4 + i, 3), 10 * i) for i in range(3)]
    for name in ("p.tif", "p.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with caplog.at_level(logging.WARNING, "mrcnn"):
            assert read_image(tmp_path / name).max() == 0
        assert f"{name}: has 3 pages, the first is read" in caplog.text
    assert read_image(tmp_path / "p.tif", page=3).shape == (3, 6, 3)
    assert image_shape(tmp_path / "p.tif", page=2) == (3, 5)
    assert read_image(tmp_path / "p.gif", page=3)[0, 0, 0] == pytest.approx(20, abs=2)
    with pytest.raises(DataError, match=r"p\.tif: no page 4; there are 3"):
        read_image(tmp_path / "p.tif", page=4)
    with pytest.raises(DataError, match="no page 2; there are 1"):
        read_image(save(tmp_path, GRAY), page=2)
