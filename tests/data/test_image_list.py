from __future__ import annotations

import logging

import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.image_list import list_images


def fill(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (4, 3)).save(folder / name, "PNG")
    return folder


def test_files_folders_and_patterns_each_once(tmp_path):
    folder = fill(tmp_path / "in", "b.png", "a.JPG", "d[1].png")
    (folder / "c.txt").touch()
    a, b, c, d = (folder / name for name in ("a.JPG", "b.png", "c.txt", "d[1].png"))
    assert list_images([b, folder]) == [b, a, d]
    assert list_images(str(folder / "*.*")) == [a, b, c, d]
    assert list_images(str(d)) == [d]  # a file whose name looks like a pattern
    assert list_images([]) == []


def test_an_image_is_known_by_its_content_where_its_suffix_says_nothing(tmp_path):
    folder = fill(tmp_path / "in", "a.png", "IMG_0001", "b.dat")
    assert [path.name for path in list_images(folder)] == ["IMG_0001", "a.png", "b.dat"]


def test_what_is_left_out_is_one_line(tmp_path, caplog):
    folder = fill(tmp_path / "in", "a.png")
    for name in ("b.txt", "c.txt", ".hidden", "d\n.csv"):
        (folder / name).write_text("words")
    (folder / "more").mkdir()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert len(list_images(folder)) == 1
    [record] = caplog.records
    line = record.getMessage()
    assert "left out 3 files: 2 x .txt (not an image in a known format)" in line and "1 folder inside" in line
    assert "hidden" not in line and "\n" not in line


def test_a_folder_of_images_alone_says_nothing(tmp_path, caplog):
    list_images(fill(tmp_path / "in", "a.png", "b.png"))
    assert caplog.records == []


@pytest.mark.parametrize(
    "name, said",
    [("absent", "no such file or folder"), ("absent*", "matches no file"), ("in", "without images.*[.]txt")],
)
def test_nothing_to_read_is_an_error(tmp_path, name, said):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("words")
    with pytest.raises(DataError, match=said):
        list_images(tmp_path / name)
