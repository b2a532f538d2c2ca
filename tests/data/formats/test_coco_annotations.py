from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mrcnn.data.formats.coco_annotations import AnnotationReader

RING = [10.5, 10, 30, 10, 30, 25.25]


def reader(joints: list[str] | None = None) -> AnnotationReader:
    categories: dict[int | str, Any] = {3: {"name": "a", "keypoints": joints}}
    return AnnotationReader({7: (50, 60)}, {9}, categories, {3: 1}, joints is not None, [], "a.json")


def entry(number: int, **changes: Any) -> dict[str, Any]:
    given = {
        "id": number,
        "image_id": 7,
        "category_id": 3,
        "bbox": [10.5, 10, 19.5, 15.25],
        "area": 148.7,
        "iscrowd": 0,
    }
    return {**given, "segmentation": [RING], **changes}


@pytest.fixture
def slow(monkeypatch) -> list[int]:
    """The places of the entries that are looked at alone."""
    places: list[int] = []
    add = AnnotationReader.add
    monkeypatch.setattr(AnnotationReader, "add", lambda self, n, e: (places.append(n), add(self, n, e)))
    return places


def test_plain_entries_are_read_together(slow: list[int]) -> None:
    entries = [entry(1), entry(2, segmentation=[RING, [1, 1, 4, 1, 4, 4]], bbox=[1, 1, 29, 24.25]), entry(3, iscrowd=1)]
    entries += [
        entry(4, segmentation={"size": [50, 60], "counts": [0, 50, 2950]}),
        entry(5, bbox=[10.5, 10, 60, 15.25]),
    ]
    entries += [entry(6, image_id=9), entry(7, bbox=[10.5, 10, 19.5, 15.25])]
    together, alone = reader(), reader()
    assert together.add_piece(20, json.dumps(entries).encode()) == 7
    assert slow == [23, 24, 25]
    for k, given in enumerate(entries):
        alone.add(20 + k, given)
    assert together.finish() == alone.finish() and together.issues == alone.issues
    first, second = together.objects[7][:2]
    assert first.box == (10, 10.5, 25.25, 30) and len(second.segmentation) == 2
    np.testing.assert_array_equal(first.segmentation[0], np.array(RING, np.float32).reshape(-1, 2))


def test_keypoints_of_plain_entries(slow: list[int]) -> None:
    joints = reader(["a", "b"])
    entries = [entry(1, keypoints=[11, 12, 2, 0, 0, 0]), entry(2), entry(3, keypoints=[1, 2, 2])]
    joints.add_piece(0, json.dumps(entries).encode())
    assert slow == [2] and [issue.kind for issue in joints.issues] == ["keypoints"]
    np.testing.assert_array_equal(joints.objects[7][0].keypoints, [[11, 12, 2], [0, 0, 0]])


@pytest.mark.parametrize(
    "change", [{"id": "4"}, {"id": 1}, {"area": "1"}, {"bbox": [1]}, {"segmentation": [[1, 2, 3]]}]
)
def test_pieces_with_other_types_are_read_entry_by_entry(slow: list[int], change: dict[str, Any]) -> None:
    reader().add_piece(0, json.dumps([entry(1), entry(2, **change)]).encode())
    assert slow == [0, 1]
