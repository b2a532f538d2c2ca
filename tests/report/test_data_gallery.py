from __future__ import annotations

import pytest

from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.progress import Progress
from mrcnn.report import data_gallery as module
from mrcnn.report.data_gallery import DataGallery
from tests.report.scenes import Scenes


def gallery_of(dataset, issues=(), broken=()):
    def read(index):
        return None if index in broken else dataset.load_image(index)

    indices, quiet = list(range(len(dataset))), Progress("", shown=False)
    return DataGallery.of(dataset, indices, list(issues), lambda index: f"{index}.png", read, quiet)


def test_holds_every_object_of_the_images_shown():
    dataset = Scenes(5)
    gallery = gallery_of(dataset, broken=[3])
    assert [image["file"] for image in gallery.images] == ["0.png", "1.png", "2.png", "4.png"]
    for image in gallery.images:
        annotations = dataset.annotations(image["id"])
        assert [row[0] for row in image["gt"]] == [a.class_id for a in annotations]
        assert image["objects"] == sum(not a.is_crowd for a in annotations)
        assert (image["w"], image["h"], image["split"]) == (1000, 833, None)
    assert gallery.issues == []


def test_keeps_to_its_size_and_shows_rare_classes(monkeypatch):
    dataset = Scenes(12)
    monkeypatch.setattr(module, "MAX_IMAGES", 6)
    images = gallery_of(dataset).images
    assert len(images) == 6
    every = {a.class_id for i in range(12) for a in dataset.annotations(i)}
    assert {row[0] for image in images for row in image["gt"]} == every
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    assert len(gallery_of(dataset).images) == 1


def test_an_issue_shows_its_object(monkeypatch):
    dataset = Scenes(2)
    annotation = dataset.annotations(1)[0]
    monkeypatch.setattr(dataset, "_get_image", lambda *_: pytest.fail("only `read` decodes"))
    issues = [
        DatasetIssue("of an object", "m", 1, 5),
        DatasetIssue("of an image", "x" * 1000, 0),
        DatasetIssue("of the set", "m"),
        DatasetIssue("of a stranger", "m", 99, 1),
        DatasetIssue("of a broken one", "m", 1, fatal=True),
    ]
    named = module.dataclasses.replace(annotation, annotation_id=5)
    monkeypatch.setattr(dataset, "annotations", lambda index: (named,) if index == 1 else ())
    entries = {entry["kind"]: entry for entry in gallery_of(dataset, issues).issues}
    assert next(iter(entries)) == "of a broken one"  # what training refuses comes first
    own = entries["of an object"]
    assert own["cls"] == named.class_id and own["path"].startswith("M") and own["file"] == "1.png"
    y1, x1, y2, x2 = named.box
    assert min(own["h"], own["w"]) > 300 and own["src"].startswith("data:image/jpeg")
    assert max(y2 - y1, x2 - x1) < 100
    assert "path" not in entries["of an image"] and len(entries["of an image"]["message"]) == 300
    assert "src" not in entries["of the set"] and "src" not in entries["of a stranger"]
    broken = gallery_of(dataset, issues, broken=[0, 1])
    assert broken.images == [] and not any("src" in entry for entry in broken.issues)


def test_kinds_take_turns(monkeypatch):
    monkeypatch.setattr(module, "MAX_ISSUES", 3)
    issues = [DatasetIssue("many", str(i)) for i in range(50)] + [DatasetIssue("one", ""), DatasetIssue("two", "")]
    assert [entry["kind"] for entry in gallery_of(Scenes(0), issues).issues] == ["many", "one", "two"]


def test_a_damaged_mask_is_its_box(monkeypatch):
    dataset = Scenes(1)
    monkeypatch.setattr(module, "to_instances", lambda annotations, shape: _refuse_masks(annotations, shape))
    first = gallery_of(dataset).images[0]["gt"][0][1]
    assert first.count("L") == 3  # four corners


def _refuse_masks(annotations, shape):
    from mrcnn.data.ground_truth import to_instances

    if any(a.segmentation is not None for a in annotations):
        raise DataError("damaged")
    return to_instances(annotations, shape)
