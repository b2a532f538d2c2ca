"""Folders of one label file an image: which image a label is of, and what becomes of those without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.image_files import ImageFiles
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_files import keep_unlabeled, read_labels, read_object
from tests.data.formats.sample_sets import assert_issue, kinds, write_image


def test_labels_and_images_find_each_other(tmp_path: Path) -> None:
    """By the name in the label, else by the label's own path or name; each line of a label is an object's class."""
    for name in ("sub/a.png", "b.png", "c.jpg", "bad.png", "plain.png"):
        write_image(tmp_path / name)
    texts = {"sub/a": "a.png cat", "b": "renamed.png dog", "c": "gone.png", "bad": "", "lost": "lost.png"}
    labels = [tmp_path / f"{name}.txt" for name in texts]
    for label, text in zip(labels, texts.values(), strict=True):
        label.write_text(text)

    def read(label: Path) -> tuple[str, tuple[int, int] | None, object]:
        if not label.read_text():
            raise DataError(f"{label}: empty")
        name, *classes = label.read_text().split()

        def add(image: ImageObjects) -> None:
            for class_name in classes:
                image.add(class_name, box=(1, 2, 5, 6))

        return name, (30, 40), add

    collector, files = Collector(tmp_path, "test"), ImageFiles([tmp_path])
    used = read_labels(collector, labels, tmp_path, files, read)  # type: ignore[arg-type]
    assert {file.name for file in used} == {"a.png", "b.png", "c.jpg", "bad.png"}
    keep_unlabeled(collector, files, used, tmp_path)
    data = collector.finish()
    assert data.image_ids == ("sub/a", "b", "c", "plain") and data.class_names == ("cat", "dog")
    assert [len(data.annotations(i)) for i in range(4)] == [1, 1, 0, 0]
    assert_issue(data, "damaged label", r"bad\.txt: empty; its image is left out", path="bad.txt", image_id="bad")
    assert_issue(data, "missing image", "no such image: 'lost.png'", path="lost.txt", image_id="lost")
    assert kinds(data) == ["damaged label", "image without label", "missing image"]


def test_an_object_of_json_in_an_older_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('{"name": "café"}'.encode("cp1252"))
    assert read_object(path, "cp1252") == {"name": "café"}
    with pytest.raises(DataError, match=r"a\.json: not valid UTF-8"):
        read_object(path)
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"a\.json: expected an object, got list"):
        read_object(path)
