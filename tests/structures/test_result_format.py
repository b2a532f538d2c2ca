from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcnn import components
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.result_format import ImageResult, ResultFormat, ResultWriter, result_formats


def boxes(number: int) -> Instances:
    return Instances([[1, 2, 3, 7]] * number, [1] * number, (6, 8), scores=[0.5] * number)


def test_files_of_many_images(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, ["csv", "yolo", "coco"], class_names=["leaf"], category_ids=[9]) as writer:
        for number, name in enumerate(("a/x.jpg", "b/X.png", "a b.png"), start=1):
            writer.add(boxes(number), name, number)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert names == ["coco/detections.json", "csv/detections.csv", "yolo/X_1.txt", "yolo/a b.txt", "yolo/x.txt"]
    assert len((tmp_path / "yolo/X_1.txt").read_text().splitlines()) == 2
    rows = (tmp_path / "csv/detections.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["image", "x.jpg", "X.png", "X.png", "a b.png", "a b.png", "a b.png"]
    entries = json.loads((tmp_path / "coco/detections.json").read_text())
    assert [e["image_id"] for e in entries] == [1, 2, 2, 3, 3, 3] and {e["category_id"] for e in entries} == {9}
    assert {name: len(losses) for name, losses in writer.losses.items()} == {"csv": 0, "yolo": 3, "coco": 0}
    with pytest.raises(InputError, match="csv: is there already"):
        ResultWriter(tmp_path, ["csv"])


def test_an_error_keeps_what_was_added(tmp_path: Path) -> None:
    def stopped() -> None:
        with ResultWriter(tmp_path, ["csv"]) as writer:
            writer.add(boxes(1), "x.jpg")
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert (tmp_path / "csv/detections.csv").is_file()
    with ResultWriter(tmp_path / "none", ["csv"]):
        pass
    assert not (tmp_path / "none").exists()


def test_strict(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, ["yolo"], strict=True) as writer, pytest.raises(InputError, match="scores are not"):
        writer.add(boxes(1), "x.jpg")
    assert not (tmp_path / "yolo").exists()


def test_a_format_of_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One class is enough; a name that is taken is refused."""

    class Count(ResultFormat):
        """How many."""

        name, suffix = "count", ".count"

        def encode(self, result: ImageResult, path: Path) -> Any:
            return len(result.instances)

        def write(self, parts: Sequence[Any], path: Path) -> None:
            path.write_text(str(parts[0]))

    known = components.subclasses_of(ResultFormat, "mrcnn.results")
    assert boxes(3).save(tmp_path / "a.count").path.read_text() == "3"
    Count.name = "csv"
    with pytest.raises(components.ComponentError, match="two formats of results are named 'csv'"):
        result_formats()
    Count.name = "count"
    assert any(cls is Count for cls in known.values())
    monkeypatch.setattr(Count, "suffix", "")  # the class outlives this test: nothing may match it


def test_lazy_masks_are_not_pasted(tmp_path: Path) -> None:
    from mrcnn.structures.masks import WindowMasks

    windows = ((1, 2, np.ones((2, 5), bool)),)
    result = Instances([[1, 2, 3, 7]], [1], (6, 8), scores=[1], masks=WindowMasks(windows, 6, 8))
    with ResultWriter(tmp_path, ["coco", "csv", "cvat", "geojson", "label_studio", "labelme", "png", "yolo"]) as writer:
        writer.add(result, "x.jpg")
    assert isinstance(result._held_masks(), WindowMasks)
