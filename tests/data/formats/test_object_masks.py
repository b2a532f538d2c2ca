from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import mrcnn
from mrcnn.data.formats.object_masks import ObjectMasks
from mrcnn.data.formats.registry import recognize
from tests.data.formats.sample_sets import kinds, masks, write_image


def write_mask(file: Path, top: int, size: tuple[int, int] = (30, 40)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    bits = np.zeros(size, np.uint8)
    bits[top : top + 4, 5:10] = 255
    Image.fromarray(bits).save(file)


def test_a_folder_for_each_image(tmp_path: Path) -> None:
    for name, number in (("id1", 2), ("id2", 1)):
        write_image(tmp_path / name / "images" / f"{name}.png")
        for k in range(number):
            write_mask(tmp_path / name / "masks" / f"{k}.png", 6 * k)
    write_mask(tmp_path / "id2/masks/wrong.png", 0, (10, 10))
    (tmp_path / "id2/masks/empty.png").write_bytes(b"")
    data = mrcnn.load_dataset(tmp_path, classes=["nucleus"])
    assert isinstance(recognize(tmp_path), ObjectMasks) and data.class_names == ("nucleus",)
    assert [len(data.annotations(i)) for i in range(2)] == [2, 1] and masks(data, 0)[1].sum() == 20
    assert kinds(data) == ["damaged label", "damaged label"]


def test_class_names_in_the_names_of_masks(tmp_path: Path) -> None:
    write_image(tmp_path / "shapes/a_1.jpeg")
    write_image(tmp_path / "shapes/b.jpeg")
    for name in ("a_1_square_0", "a_1_big_circle_1", "gone_square_0"):
        write_mask(tmp_path / "annotations" / f"{name}.png", 3)
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("big_circle", "square") and data.image_ids == ("a_1", "b")
    assert kinds(data) == ["image without label", "missing image"]
