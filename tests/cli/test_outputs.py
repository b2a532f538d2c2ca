from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import mrcnn
from mrcnn.cli.outputs import DRAWN_BY, drawing_paths, expect_free, free_path, is_ours, made_folder, staged
from tests.cli.runner import DATA, NUCLEI, invoke

GRAY = np.full((4, 5, 3), 128, np.uint8)


def test_drawings_are_known_by_what_wrote_them(tmp_path):
    mrcnn.save_image(tmp_path / "ours.png", GRAY, software=DRAWN_BY)
    mrcnn.save_image(tmp_path / "own.png", GRAY)  # a script's own, made with this package
    Image.fromarray(GRAY).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "link.png").symlink_to(tmp_path / "ours.png")
    known = {path.name for path in tmp_path.iterdir() if is_ours(path)}
    assert known == {"ours.png"}


@pytest.mark.parametrize(
    "name, content, ours",
    [
        ("detections.json", [], True),
        ("detections.json", [{"image_id": 1, "category_id": 1, "bbox": [], "score": 1.0, "file_name": "a"}], True),
        ("detections.json", {"images": [], "annotations": []}, False),
        ("detections.json", [1], False),
        ("report.json", {"images": 1, "objects": 2, "per_class": {}, "issues": []}, True),
        ("report.json", {"title": "mine"}, False),
        ("metrics.json", {"numbers": {}, "per_class": {}}, True),
        ("notes.json", [], False),
    ],
)
def test_reports_are_known_by_their_content(tmp_path, name, content, ours):
    (tmp_path / name).write_text(json.dumps(content))
    assert is_ours(tmp_path / name) is ours


def test_names_are_numbered_where_they_are_taken(tmp_path):
    files = [tmp_path / "a.png", Path("x/a.jpg"), Path("y/A.tif"), Path("a_2.png"), Path("b.png")]
    Image.fromarray(GRAY).save(files[0])
    names = [path.name for path in drawing_paths(tmp_path, files)]
    assert names == ["a_2.png", "a_3.png", "A_4.png", "a_2_2.png", "b.png"]
    assert free_path(tmp_path, "c" * 300, ".png").name.startswith("c" * 100)
    assert len(free_path(tmp_path, "c" * 300, ".png").name) <= 204


def test_a_single_file_is_free_or_refused(tmp_path):
    (tmp_path / "a.mp4").touch()
    expect_free(tmp_path / "b.mp4")
    expect_free(tmp_path / "a.mp4", overwrite=True)
    with pytest.raises(typer.BadParameter, match=r"a\.mp4: exists; .*--overwrite"):
        expect_free(tmp_path / "a.mp4")
    with pytest.raises(typer.BadParameter, match="is the input"):
        expect_free(tmp_path / "a.mp4", overwrite=True, inputs=[tmp_path / "." / "a.mp4"])
    with pytest.raises(typer.BadParameter, match="a folder"):
        expect_free(tmp_path)


def test_staged_files_are_moved_when_all_went_well(tmp_path):
    out = tmp_path / "out"
    with staged(out, "report.json") as files:
        (files.folder / "report.json").write_text("{}")
        (files.folder / "a.png").touch()
    assert [path.name for path in files.written] == ["report.json", "a.png"]
    assert {path.name for path in out.iterdir()} == {"report.json", "a.png"}
    with pytest.raises(typer.BadParameter, match="not written by mrcnn"), staged(out, "report.json"):
        pass
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "new/one"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "new/one").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(typer.BadParameter, match=r"file/out: cannot be written to"), made_folder(tmp_path / "file/out"):
        pass


def test_inspection_replaces_no_file_of_the_user(tmp_path):
    out = tmp_path / "set"
    out.mkdir()
    for name in ("boxes.png", "sample_21.png"):
        Image.fromarray(GRAY).save(out / name)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for _ in range(2):
        result = invoke("inspect", "--data", DATA, "--images", NUCLEI / "images", "--out", out)
        assert result.exit_code == 0, result.output
        assert all((out / name).read_bytes() == content for name, content in before.items())
    assert {path.name for path in out.iterdir()} == {
        *before,
        *("inspect.html", "report.json", "boxes_2.png", "sample_21_2.png", "sample_369.png"),
    }
