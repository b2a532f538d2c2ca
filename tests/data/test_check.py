from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.check import _is_typo
from mrcnn.data.dataset import Dataset
from mrcnn.structures.records import Annotation


def noise(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(values).resize((96, 72), Image.Resampling.BICUBIC)


def make(folder: Path, images: dict[str, Image.Image], objects: tuple[Annotation, ...] = (), names=("cat",)) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    data = Dataset()
    for k, name in enumerate(names, start=1):
        data.add_class("mine", k, name)
    for name, image in images.items():
        image.save(folder / name)
        data.add_image("mine", name, str(folder / name), height=image.height, width=image.width, annotations=objects)
    return data


def kinds(issues: list) -> Counter:
    return Counter(issue.kind for issue in issues)


def test_images_that_two_splits_share(tmp_path: Path) -> None:
    train = make(tmp_path / "train", {f"{k}.png": noise(k) for k in range(6)})
    bright = Image.eval(noise(1), lambda v: min(255, v + 20))
    shared = {"small.jpg": noise(3).resize((48, 36)), "bright.jpg": bright, "other.png": noise(9)}
    flat = {"black.png": Image.new("RGB", (96, 72)), "gray.png": Image.new("RGB", (96, 72), (9, 9, 9))}
    val = make(tmp_path / "val", {**shared, **flat})
    issues = train.check({"val": val}, name="train")
    duplicates = {i.image_id: i.message for i in issues if i.kind == "near-duplicate image"}
    assert (
        set(duplicates) == {"small.jpg", "bright.jpg"}
        and "looks like image 3.png of 'train'" in duplicates["small.jpg"]
    )
    assert kinds(train.check({"val": val}, pixels=False))["near-duplicate image"] == 0
    twice = make(tmp_path / "twice", {"a.png": noise(1), "b.jpg": noise(1)})
    assert [i.image_id for i in twice.check() if i.kind == "near-duplicate in split"] == ["b.jpg"]


def test_objects(tmp_path: Path) -> None:
    square = [np.array([[10, 10], [30, 10], [30, 30], [10, 30]], np.float32)]
    objects = (
        Annotation(1, (10, 10, 30, 30), square, annotation_id=1),
        Annotation(1, (10, 10, 30, 30), square, annotation_id=2),
        Annotation(2, (10, 10, 30, 30), square, annotation_id=3),
        Annotation(1, (5, 5, 6, 6), annotation_id=4),
        Annotation(1, (50, 60, 72, 120), annotation_id=5),
        Annotation(1, (1, 1, 9, 9), [np.array([[1.1, 1.1], [1.2, 1.1], [1.2, 1.2]], np.float32)], annotation_id=6),
    )
    issues = make(tmp_path, {"a.png": noise(0)}, objects, ("cat", "dog", "hen")).check()
    result = {(issue.kind, issue.annotation_id) for issue in issues}
    assert result == {
        ("duplicate object", 2),
        ("tiny object", 4),
        ("box outside", 5),
        ("mask without a pixel", 6),
        ("class without objects", None),
    }


def test_names_of_classes(tmp_path: Path) -> None:
    many = tuple(Annotation(k, (1, 1 + 3 * i, 9, 3 + 3 * i)) for k in (1, 4) for i in range(20))
    rare = (Annotation(2, (20, 1, 29, 9)), Annotation(3, (30, 1, 39, 9)), Annotation(5, (40, 1, 49, 9)))
    names = ("Car", "car ", "hen", "hazelnut", "hazlenut")
    data = make(tmp_path, {"a.png": noise(0)}, many + rare, names)
    messages = [i.message for i in data.check() if i.kind == "class names alike"]
    assert messages == [
        "classes 'Car' (20 objects) and 'car ' (1) may be one",
        "classes 'hazelnut' (20 objects) and 'hazlenut' (1) may be one",
    ]
    other = make(tmp_path, {"b.png": noise(1)}, rare[:1], ("Car", "bus"))
    assert kinds(data.check({"val": other}))["classes differ"] == 1


@pytest.mark.parametrize(
    "a, b, alike",
    [
        ("person", "persons", True),
        ("person", "parson", True),
        ("cat", "car", False),
        ("class1", "class2", False),
        ("truck", "trucked", False),
        ("hazelnut", "hazlenut", True),
    ],
)
def test_typos(a: str, b: str, alike: bool) -> None:
    assert _is_typo(a, b) is alike


def test_what_validate_lists_is_listed(tmp_path: Path) -> None:
    data = make(tmp_path, {"a.png": noise(0)})
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(1).save(tmp_path / "turned.jpg", exif=exif)
    data.add_image("mine", "turned", str(tmp_path / "turned.jpg"), height=72, width=96)
    data.add_image("mine", "size", str(tmp_path / "a.png"), height=30, width=30)
    data.add_image("mine", "gone", str(tmp_path / "gone.png"), height=30, width=30)
    assert kinds(data.check())["orientation"] == 1 and kinds(data.check())["image"] == 2
