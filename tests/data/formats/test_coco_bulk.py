"""Entries of a COCO file all at once, beside what `test_coco_annotations` compares with them one by one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mrcnn.data.formats.coco_bulk import PlainEntries, Tables, cut_polygons, restored

TABLES = Tables({7: 0}, np.array([[50.0, 60.0], [0.0, 0.0]]), {3: 1}, None)
RING = [10.5, 10, 30, 10, 30, 25.25]
ENTRY = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10.5, 10, 19.5, 15.25], "area": 9, "segmentation": [RING]}


def read(*entries: Any, seen: tuple[int, ...] = ()) -> PlainEntries | None:
    reduced, texts = cut_polygons(json.dumps(entries).encode())
    return PlainEntries.of(TABLES, json.loads(reduced), texts, set(seen))


def test_what_is_plain_and_what_the_overlaps_are() -> None:
    half = {"id": 2, "bbox": [10.5, 10, 19.5, 7.625]}  # IoU 1/2 with the box of its mask
    crowd = {"id": 3, "iscrowd": 1}
    others = [{"id": 4, "image_id": 8}, {"id": 5, "category_id": 4}, {"id": 6, "bbox": [10.5, 10, 19.5, 7]}]
    others += [{"id": 7, "iscrowd": 2}, {"id": 8, "bbox": [10.5, 10, 90, 15.25]}, {"id": 9, "area": float("nan")}]
    plain = read(ENTRY, *({**ENTRY, **change} for change in [half, crowd, *others]))
    assert plain is not None and plain.is_plain.tolist() == [True] * 3 + [False] * 6 and list(plain.ids) == [1, 2, 3]
    np.testing.assert_allclose(plain.ious, [1, 0.5])
    # Read as corners the first is (10, 10.5, 15.25, 19.5), within a box of 15.25 x 19.5.
    np.testing.assert_allclose(plain.corner_ious, [5.25 * 9 / (15.25 * 19.5), 0])
    first, *others = plain.annotations()
    assert plain.image_ids[0] == 7 and len(others) == 8
    assert (first.annotation_id, first.class_id, first.box) == (1, 1, (10, 10.5, 25.25, 30))
    assert isinstance(first.segmentation, list)
    np.testing.assert_array_equal(first.segmentation[0], np.array(RING, np.float32).reshape(-1, 2))


@pytest.mark.parametrize("change", [{"id": "2"}, {"bbox": [1, 2, 3]}, {"area": "9"}, {"segmentation": [[1, 2, 3]]}])
def test_fields_of_other_types_are_not_for_it(change: dict[str, Any]) -> None:
    assert read(ENTRY, {**ENTRY, "id": 2, **change}) is None
    assert read(ENTRY, 7) is None and read(ENTRY, ENTRY) is None and read(ENTRY, seen=(1,)) is None
    assert read({**ENTRY, "segmentation": {"size": [50, 60], "counts": [3000]}}) is None


def test_polygons_of_one_entry_and_of_several() -> None:
    several = {**ENTRY, "id": 2, "segmentation": [RING, [11, 11, 12, 11, 12, 12.5, 11, 12]]}
    plain = read(several, ENTRY, {**several, "id": 3})
    assert plain is not None and plain.is_plain.all()
    lengths = [[len(polygon) for polygon in annotation.segmentation or ()] for annotation in plain.annotations()]
    assert lengths == [[3, 4], [3], [3, 4]]
    for odd in ([[]], [RING, []], [[1, 2, 3], [4, 5, 6]], [[1, 2, "3", 4, 5, 6]], [[1, 2, None, 4, 5, 6]]):
        assert read(ENTRY, {**ENTRY, "id": 2, "segmentation": odd}) is None
    for odd in ([], None, [[RING]], [[[1, 2], [3, 4], [5, 6]]], [[{"x": 1, "y": 2}]]):
        plain = read(ENTRY, {**ENTRY, "id": 2, "segmentation": odd})
        assert plain is not None and plain.is_plain.tolist() == [True, False]


def test_polygons_are_cut_out_where_they_are_plain() -> None:
    for text, number in (
        (b'{"segmentation": [[1, 2]]}', 1),
        (b'{"segmentation" :[ [1],[2 ] \n]}', 1),
        (b'{"segmentation": [[[1, 2]]]}', 0),
        (b'{"segmentation": [[{"x": 1}]]}', 0),
        (b'{"segmentation": {"size": [[1]]}}', 0),
        (b'{"segmentation": [[1', 0),
        (b'{"a": "\\"segmentation\\": [[1]]"}', 0),
    ):
        reduced, texts = cut_polygons(text)
        assert len(texts) == number and (reduced == text) == (number == 0)


def test_what_was_cut_out_comes_back() -> None:
    entries = [ENTRY, {"segmentation": [[1, 2], [3]], "id": 2}, {"id": 3}]
    reduced, texts = cut_polygons(json.dumps(entries).encode())
    assert len(texts) == 2 and [restored(entry, texts) for entry in json.loads(reduced)] == entries
