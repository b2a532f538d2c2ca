from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

import mrcnn
from mrcnn import components
from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco import Coco
from mrcnn.data.formats.loading import load_dataset
from mrcnn.data.formats.registry import find_format, formats, recognize
from mrcnn.data.formats.via import Via
from tests.data.formats.coco_file import objects, write

SOURCE = '''
from mrcnn import Dataset
from mrcnn.data.formats.base import Format


class Listing(Format):
    """A text that begins with LISTING and names one image a line."""

    name = "listing"
    looks_for = "a text that begins with LISTING"

    def recognize(self, path):
        return path.is_file() and path.read_bytes()[:7] == b"LISTING"

    def load(self, path, images=None, *, validate=True):
        dataset = Dataset()
        for line in path.read_text().splitlines()[1:]:
            dataset.add_image("listing", line, str((images or path.parent) / line))
        return dataset
'''


@pytest.fixture
def listing():
    """A format of another module, which is forgotten again."""
    module = types.ModuleType("somebodys_formats")
    sys.modules[module.__name__] = module
    exec(SOURCE, vars(module))
    yield module.Listing
    del sys.modules[module.__name__]
    module.Listing.abstract = True  # no component any more, however long the class lives


def test_formats_are_found_where_they_lie() -> None:
    assert isinstance(formats()["coco"], Coco) and isinstance(formats()["via"], Via)
    assert all(candidate.name and candidate.looks_for for candidate in formats().values())
    assert isinstance(find_format("coco"), Coco)
    with pytest.raises(components.ComponentError, match="Coco"):
        find_format("yolo26")


def test_a_format_of_another_module(tmp_path: Path, listing) -> None:
    (tmp_path / "set.txt").write_text("LISTING\na.png\nb.png\n")
    assert isinstance(recognize(tmp_path / "set.txt"), listing)
    assert mrcnn.load_dataset(tmp_path / "set.txt").image_ids == ("a.png", "b.png")
    assert mrcnn.load_dataset(tmp_path / "set.txt", "folder", format="listing").record(0).path == "folder/a.png"
    assert isinstance(find_format("somebodys_formats:Listing"), listing)


def test_two_formats_of_one_name_are_refused(listing) -> None:
    listing.name = "coco"
    with pytest.raises(components.ComponentError, match=r"two formats are named 'coco': Coco and somebodys_formats:Li"):
        formats()


def test_files_are_recognized_by_their_content(tmp_path: Path) -> None:
    path = write(tmp_path, objects(2), "whatever.dat")
    assert isinstance(recognize(path), Coco)
    assert len(load_dataset(path).annotations(0)) == 2
    regions = {"a": {"filename": "a.png", "regions": []}}
    (tmp_path / "v.json").write_text(json.dumps(regions))
    (tmp_path / "p.json").write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": regions}))
    (tmp_path / "v.csv").write_text(
        "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
        'a.png,1,"{}",0,0,"{}","{}"\n'
    )
    for name in ("v.json", "p.json", "v.csv"):
        assert isinstance(recognize(tmp_path / name), Via)
        assert load_dataset(tmp_path / name).image_ids == ("a.png",)


def test_what_is_of_no_format_or_of_two(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("hello\x1b[2J" * 30)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        DataError, match=r"text\.json: a data set in no known format; it is a file that begins"
    ) as error:
        load_dataset(tmp_path / "text.json")
    assert 'coco: a JSON object with the lists "images"' in str(error.value) and "\x1b" not in str(error.value)
    with pytest.raises(DataError, match=r"it is a folder with a, b, text\.json; looked for .*coco: "):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="absent: no such file or folder"):
        load_dataset(tmp_path / "absent")
    both = {**objects(1), "a": {"filename": "a.png", "regions": []}}
    path = write(tmp_path, both, "both.json")
    with pytest.raises(DataError, match=r"both\.json: may be coco or via; choose one by format="):
        load_dataset(path)
    assert len(load_dataset(path, format="coco")) == 1


@pytest.mark.parametrize(
    "start, kind",
    [(b"PK\x03\x04", "a zip archive"), (b"\x1f\x8b\x08", "a gzip archive"), (b"7z\xbc\xaf\x27\x1c", "a 7z")],
)
def test_archives_are_to_be_unpacked(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "set.zip").write_bytes(start + b"\0" * 20)
    with pytest.raises(DataError, match=f"it is {kind}.*: unpack it and give the folder"):
        load_dataset(tmp_path / "set.zip")


def test_two_formats_in_one_folder(tmp_path: Path) -> None:
    path = write(tmp_path, objects(1))
    (tmp_path / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    with pytest.raises(DataError, match=r"may be .* or yolo; choose one by format="):
        load_dataset(tmp_path)
    assert len(load_dataset(tmp_path, format="yolo", classes=["nut"])) == 1
    assert mrcnn.dataset_splits(path) == ()
    with pytest.raises(DataError, match="split='train', but this coco data set has no splits"):
        load_dataset(path, split="train")
