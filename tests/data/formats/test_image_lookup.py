from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.formats.image_lookup import ImageLookup
from tests.data.formats.coco_file import objects, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images/a.png", "images/deep/b c.png", "images/twice/t.png", "e.png", "other/f.png", "ü%20.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (120, 100)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a.png", "images/a.png"),
        ("images/a.png", "images/a.png"),  # as Label Studio writes it beside result.json
        ("images\\a.png", "images/a.png"),
        (r"images\deep\b c.png", "images/deep/b c.png"),
        (r"C:\Users\me\set\images\deep\b c.png", "images/deep/b c.png"),
        ("/home/me/set/images/a.png", "images/a.png"),
        ("file:///home/me/set/images/a.png", "images/a.png"),
        ("https://example.org/set/a.png?token=1", "images/a.png"),
        ("/data/local-files/?d=images/deep/b%20c.png", "images/deep/b c.png"),
        ("deep/b%20c.png", "images/deep/b c.png"),
        ("e.png", "e.png"),
        ("./e.png", "e.png"),
        ("ü%20.png", "ü%20.png"),
        ("gone.png", None),
        ("", None),
        ("images", None),
        ("..", None),
        ("\0", None),
        ("\ud800.png", None),
        ("x" * 5000, None),
    ],
)
def test_names_as_programs_and_systems_write_them(folder: Path, name: str, expected: str | None) -> None:
    lookup = ImageLookup(folder / "result.json", None, [name])
    assert lookup.find(name) == (None if expected is None else folder / expected)


def test_the_folder_given_comes_first_and_others_are_fallbacks(folder: Path) -> None:
    lookup = ImageLookup(folder / "result.json", folder / "other", ["f.png", "a.png"])
    assert lookup.find("f.png") == folder / "other/f.png"
    assert lookup.find("a.png") == folder / "images/a.png"
    assert lookup.missing("g.png") == f"no such image: {folder / 'other/g.png'} (nor in {folder / 'images'}, {folder})"
    with pytest.raises(DataError, match="none: no such folder of images"):
        ImageLookup(folder / "result.json", folder / "none", [])


def test_a_shortened_name_that_two_images_share_is_not_guessed(folder: Path) -> None:
    names = ["/mnt/train/t.png", "/mnt/val/t.png"]
    lookup = ImageLookup(folder / "result.json", folder / "images/twice", names)
    assert [lookup.find(name) for name in names] == [None, None]
    assert ImageLookup(folder / "result.json", folder / "images/twice", names[:1]).find(names[0]) is not None


def test_layouts_of_other_programs(folder: Path) -> None:
    for name in ("images/a.png", r"images\a.png", r"D:\set\images\a.png"):
        data = objects(2)
        data["images"][0]["file_name"] = name
        dataset = load_coco(write(folder, data, "result.json"))
        assert dataset.record(0).path == str(folder / "images/a.png")
        assert dataset.load_image(0).shape == (100, 120, 3)
        assert dataset.record(0).extra["file_name"] == name


def test_images_that_are_all_missing_are_one_sentence(tmp_path: Path) -> None:
    data = objects(1)
    data["images"] = [{**data["images"][0], "id": i, "file_name": f"gone/{i}.png"} for i in (7, 8, 9)]
    with pytest.raises(DataError, match=r"ann\.json: none of the 3 images is there, such as: no such image: ") as error:
        load_coco(write(tmp_path, data))
    assert "\n" not in str(error.value)


def test_folders_named_after_images(tmp_path: Path) -> None:
    (tmp_path / "input_images").mkdir()
    Image.new("RGB", (120, 100)).save(tmp_path / "input_images/a.png")
    lookup = ImageLookup(tmp_path / "ann.json", None, ["a.png"])
    assert lookup.find("a.png") == tmp_path / "input_images/a.png"
    assert ImageLookup(tmp_path / "ann.json", tmp_path, ["a.png"]).find("a.png") is None
