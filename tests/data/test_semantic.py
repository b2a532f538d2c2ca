"""Semantic maps of files and of subclasses, what is wrong with them, and all segments of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.semantic import checked_semantic, ground_truth_segments, read_semantic
from mrcnn.structures.records import Annotation, ImageRecord, StuffMap


class Striped(mrcnn.Dataset):
    """Stuff 1 in the left half, 2 in the right, a row unlabeled; a thing of 2 x 2 and a crowd over the edge."""

    def __init__(self) -> None:
        super().__init__()
        self.add_class("x", 1, "thing")
        self.stuff_names = ("left", "right")
        objects = [Annotation(1, (1, 1, 3, 3)), Annotation(1, (1, 2, 3, 5), is_crowd=True)]
        self.add_image("x", 7, None, height=4, width=6, annotations=objects)
        self.values = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0).astype(np.uint8)
        self.values[3] = 255

    def load_semantic(self, index: int) -> np.ndarray:
        return self.values


@pytest.mark.parametrize("is_color", [True, False])
def test_values_of_a_file_become_classes(is_color: bool, tmp_path: Path) -> None:
    ids = np.array([[5, 5, 0], [9, 300 if is_color else 3, 5]])
    color = np.stack([ids % 256, ids // 256, 0 * ids], axis=-1)
    Image.fromarray((color if is_color else ids).astype(np.uint8)).save(tmp_path / "a.png")
    stuff = StuffMap(str(tmp_path / "a.png"), {5: 2, 300: 1, 3: 1, 9: 0})
    values = read_semantic(ImageRecord(1, None, 2, 3, stuff=stuff))
    assert values.dtype == np.uint8 and values.tolist() == [[2, 2, 255], [0, 1, 2]]


def test_an_image_without_a_map_is_named() -> None:
    with pytest.raises(DataError, match="image 'a' has no semantic map; override load_semantic"):
        read_semantic(ImageRecord("a", None, 2, 3))
    with pytest.raises(DataError, match=r"gone\.png"):
        read_semantic(ImageRecord("a", None, 2, 3, stuff=StuffMap("gone.png", {})))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"image 7: load_semantic gave uint8\[4, 5\], expected uint8\[4, 6\]"),
        (np.zeros((4, 6), int), r"gave int64\[4, 6\]"),
        (np.full((4, 6), 3, np.uint8), r"gave the classes \[3\], expected 0 \(a thing\), 1\.\.2 or 255"),
    ],
)
def test_maps_of_a_subclass_are_checked(values: np.ndarray, message: str) -> None:
    data = Striped()
    assert checked_semantic(data, 0) is data.values
    data.values = values
    with pytest.raises(DataError, match=message):
        checked_semantic(data, 0)


def test_segments_are_things_then_stuff() -> None:
    segments = ground_truth_segments(Striped(), 0)
    assert segments == Striped().panoptic(0)
    assert segments.ids.tolist() == [[3, 3, 3, 4, 4, 4], *2 * [[3, 1, 2, 2, 2, 4]], [0] * 6]
    assert [(s.class_id, s.is_thing, s.is_crowd) for s in segments.segments] == [
        (1, True, False),
        (1, True, True),
        (1, False, False),
        (2, False, False),
    ]
    empty = Striped()
    empty.values = np.full((4, 6), 255, np.uint8)
    assert len(empty.filter(lambda record, annotation: False).panoptic(0).segments) == 0


def test_views_have_the_maps_of_their_parents() -> None:
    data = Striped()
    view = data.subset([0])
    assert view.stuff_names == ("left", "right") and view.load_semantic(0) is data.values
    assert view.panoptic(0) == data.panoptic(0)
    other = Striped()
    other.stuff_names = ("left", "other")
    assert data.merge(Striped()).stuff_names == data.stuff_names and data.merge(other).stuff_names == ()
