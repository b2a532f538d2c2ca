from __future__ import annotations

from mrcnn.data.dataset import Dataset
from mrcnn.structures.records import Annotation


def test_counts() -> None:
    data = Dataset()
    for k, name in enumerate(("cat", "do\x1bg".replace("\x1b", "")), start=1):
        data.add_class("mine", k, name)
    objects = [
        Annotation(1, (0.0, 0.0, 4.0, 9.0)),
        Annotation(1, (0, 0, 2, 2)),
        Annotation(2, (0, 0, 2, 2), is_crowd=True),
    ]
    data.add_image("mine", 1, None, height=8, width=9, annotations=objects, split="train")
    data.add_image("mine", 2, None, height=8, width=9, split="val")
    stats = data.stats()
    assert (stats.num_images, stats.num_empty_images, stats.num_objects, stats.num_crowd) == (2, 1, 2, 1)
    assert stats.objects_per_class == (2, 0) and stats.images_per_class == (1, 0) and stats.median_side == 4.0
    assert stats.image_sizes == {(8, 9): 2} and stats.splits == {"train": 1, "val": 1}
    assert "cat        2 objects in      1 images" in str(stats) and "splits: train 1, val 1" in str(stats)
    assert Dataset().stats().median_side is None and "0 images" in str(Dataset().stats())
