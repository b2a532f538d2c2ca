"""Large files are read in pieces; they give what reading them as a whole gives."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats import coco_source, json_arrays
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.formats.coco_source import collector_off, open_large
from tests.data.formats.sample_sets import NUTS


def both(path: Path, monkeypatch, **options: Any) -> list[Any]:
    """What a file gives as a whole, and in pieces: records and issues, or the message of the error."""
    answers = []
    for large in (2**40, -1):
        monkeypatch.setattr(coco_source, "LARGE", large)
        try:
            data = load_coco(path, validate=False, **options)
            answers.append((data._records, data.issues, data.class_names, data.keypoint_names))
        except DataError as error:
            answers.append(str(error))
    return answers


def content(number: int = 60) -> dict[str, Any]:
    """Rings of twelve corners; two images and three categories."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 6, 12)
    annotations = []
    for k in range(number):
        x, y = rng.uniform(30, 70, 2)
        ring = np.round(np.stack([x + 9 * np.cos(angle), y + 9 * np.sin(angle)], 1), 2)
        (x1, y1), (x2, y2) = ring.min(0).tolist(), ring.max(0).tolist()
        annotations.append(
            {"id": k + 1, "image_id": 1 + k % 2, "category_id": 1 + k % 3, "bbox": [x1, y1, x2 - x1, y2 - y1],
             "segmentation": [ring.ravel().tolist()], "area": 254.5, "iscrowd": int(k % 7 == 0)}
        )  # fmt: skip
    return {
        "info": {"description": "rings"},
        "images": [{"id": i, "file_name": f"{i}.png", "height": 100, "width": 110} for i in (1, 2)],
        "annotations": annotations,
        "categories": [{"id": i, "name": f"c{i}", "supercategory": "c"} for i in (1, 2, 3)],
    }


ODD: list[dict[str, Any]] = [
    {"segmentation": [[1, 2, 3, 4]]},
    {"segmentation": []},
    {"segmentation": [[]]},
    {"segmentation": [[], [40, 40, 60, 40, 60, 60]]},
    {"segmentation": [[40, 40, 60, 40, 60, 60], [10, 10, 20, 10, 20, 20]]},
    {"segmentation": [[40, 40, 60, 40, 60]]},
    {"segmentation": [[40, 40, 60, 40, 60, float("nan")]]},
    {"segmentation": [[[40, 40], [60, 40], [60, 60]]]},
    {"segmentation": [[[40, 40, 60, 40, 60, 60]]]},
    {"segmentation": [[{"x": 40, "y": 40}, {"x": 60, "y": 40}, {"x": 60, "y": 60}]]},
    {"segmentation": [[40, 40, 60, 40, 60, 6000]]},
    {"segmentation": [[40, 40, 60, 40, 60, "1"]]},
    {"segmentation": {"size": [100, 110], "counts": [0, 500, 10500]}},
    {"segmentation": [[40, 40, 41, 40, 41, 41]]},
    {"segmentation": "[[1,2,3]]"},
    {"bbox": [0, 0, 0, 0]},
    {"bbox": [1, 2, 3]},
    {"bbox": None},
    {"bbox": [300, 300, 5, 5]},
    {"bbox": [1, 1, 2, 2]},
    {"bbox": ["1", "1", "2", "2"]},
    {"area": float("nan")},
    {"area": None},
    {"iscrowd": 2},
    {"iscrowd": "0"},
    {"id": 5},
    {"id": 2**70},
    {"id": None},
    {"image_id": 9},
    {"image_id": "1"},
    {"image_id": 1.0},
    {"category_id": 99},
    {"category_id": "2"},
    {"note": {"segmentation": [[1, 2, 3, 4, 5, 6]]}},
    {"note": '"segmentation": [[1]] \\'},
    {"segmentation\0": 0},
    {"segmentation\0": -1, "segmentation": None},
    {"keypoints": [1, 2, 2]},
]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_entry_of_any_kind_is_read_as_it_is_in_small_files(tmp_path: Path, monkeypatch, indent: int | None) -> None:
    monkeypatch.setattr(json_arrays, "_BLOCK", 6000)
    path = tmp_path / "a.json"
    for change in ODD:
        data = content(40)
        data["annotations"][20] |= change
        path.write_text(json.dumps(data, indent=indent))
        in_whole, in_pieces = both(path, monkeypatch)
        assert in_whole == in_pieces, change


def test_lists_of_any_kind(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.json"
    missing: list[dict[str, Any]] = [
        {"annotations": 5}, {"images": [5, {}]}, {"annotations": [5, None, {}]},
        {"categories": [{"id": 0, "name": "c"}]},
        {"images": [{"id": i, "file_name": f"{i}.png", "height": 100, "width": 110} for i in (2**70, 2**70 + 1, 2)]},
        {"annotations": []}, {"images": [{"id": 1, "file_name": "1.png", "height": 0, "width": 110}]},
        {"categories": [{"id": i, "name": f"c{i}", "keypoints": ["a", "b"]} for i in (1, 2, 3)]},
    ]  # fmt: skip
    for change in missing:
        data = {**content(6), **change}
        for entry in data["annotations"] if isinstance(data["annotations"], list) else ():
            if isinstance(entry, dict) and entry.get("id", 0) in (2, 3):
                entry["keypoints"] = [40, 40, 2, 50, 50, 1][: 3 * entry["id"] - 3]
        path.write_text(json.dumps(data))
        in_whole, in_pieces = both(path, monkeypatch)
        assert in_whole == in_pieces, change
    for text in (json.dumps(content())[:-300], json.dumps(content()).replace("}, {", "} {", 9), "[]", "", "{}"):
        path.write_text(text)
        in_whole, in_pieces = both(path, monkeypatch)
        assert in_whole == in_pieces and isinstance(in_whole, str)


def test_nuts(monkeypatch) -> None:
    path = next(NUTS.rglob("*.json"), None) or pytest.skip("no COCO file of nuts among the assets")
    in_whole, in_pieces = both(path, monkeypatch)
    assert in_whole == in_pieces


def test_memory_is_that_of_a_piece(tmp_path: Path, monkeypatch) -> None:
    data = content(3000)
    for k in (1, 2):
        (tmp_path / f"{k}.png").touch()
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    monkeypatch.setattr(json_arrays, "_BLOCK", 2**14)
    peaks = []
    for large in (2**40, -1):
        monkeypatch.setattr(coco_source, "LARGE", large)
        tracemalloc.start()
        data = load_coco(path)
        size, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        peaks.append(peak - size)
        assert sum(len(data.annotations(i)) for i in range(2)) == 3000
    assert peaks[1] < peaks[0] / 3


@pytest.mark.parametrize("is_large", [False, True])
def test_the_collector_rests_for_a_large_file_and_is_as_before(tmp_path: Path, monkeypatch, is_large: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    monkeypatch.setattr(coco_source, "LARGE", 1 if is_large else 2)
    with collector_off(path):
        assert gc.isenabled() != is_large
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_off(path):
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_not_large(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(coco_source, "LARGE", -1)
    data = content(6)
    for change in ({"categories": [{"id": 0, "name": "c"}, {"id": 1, "name": "d"}]}, {"images": 5}):
        (tmp_path / "a.json").write_text(json.dumps({**data, **change}))
        assert open_large(tmp_path / "a.json", None) is None
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert open_large(tmp_path / "a.json", True) is None and open_large(tmp_path / "a.json", None) is not None
    assert open_large(tmp_path, None) is None and open_large(tmp_path / "no.json", None) is None
