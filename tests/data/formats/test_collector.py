from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.formats.collector import Collector, relative_id
from tests.data.formats.sample_sets import kinds, write_image

SQUARE = [[2, 2], [8, 2], [8, 8], [2, 8]]


def test_classes_that_occur_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    collector = Collector(tmp_path, "mine")
    image = collector.image("a", write_image(tmp_path / "a.png"))
    for name in ("dog", " cat ", "", None):
        image.add(name, polygons=[SQUARE])
    data = collector.finish()
    assert data.class_names == ("cat", "dog") and [a.class_id for a in data.annotations(0)] == [2, 1]
    assert kinds(data) == ["unknown class", "unknown class"]


def test_sizes_and_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    collector = Collector(tmp_path, "mine", ["cat"])
    assert collector.image("shown", tmp_path / "turned.jpg", stated=(40, 30)).height == 40
    assert collector.image("stored", tmp_path / "turned.jpg", stated=(30, 40)).height == 30
    assert collector.image("other", tmp_path / "turned.jpg", stated=(300, 400)) is None
    assert collector.image("shown", tmp_path / "turned.jpg") is None
    assert collector.image("gone", None, missing="no such image: 'x'") is None
    data = collector.finish()
    assert data.load_image(0).shape == (40, 30, 3) and data.load_image(1).shape == (30, 40, 3)
    assert kinds(data) == ["image id twice", "image size", "missing image", "orientation"]


def test_a_set_without_an_image_is_refused(tmp_path: Path) -> None:
    collector = Collector(tmp_path, "mine", ["cat"])
    collector.image("gone", None, missing="no such image: 'x'")
    with pytest.raises(DataError, match=r"no image can be used; 1 issue, the first: .*image gone: no such image: 'x'"):
        collector.finish()
    assert relative_id(tmp_path / "a/b.png", tmp_path) == "a/b" and relative_id(Path("/x/y.png"), tmp_path) == "y"
