from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from tests.blob_finder import image
from tests.cli.runner import NUCLEI, invoke, refused


def test_detect_draws_every_image_and_writes_coco_results(run, tmp_path):
    out = tmp_path / "found"
    images = sorted((NUCLEI / "images").glob("*.png"))
    result = invoke("detect", "--model", run, NUCLEI / "images", "--out", out, "--score", 0)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"detections.json", *(p.name for p in images)}
    detections = json.loads((out / "detections.json").read_text())
    for one in detections:
        assert {"image_id", "category_id", "bbox", "score", "segmentation", "file_name"} <= set(one)
        assert one["file_name"] == str(images[one["image_id"] - 1])


@pytest.mark.parametrize("option", [["--tile", "100"], pytest.param(["--augment"], marks=pytest.mark.slow)])
def test_detect_by_tiles_and_at_several_sizes(run, tmp_path, option):
    first = min((NUCLEI / "images").glob("*.png"))
    result = invoke("detect", "--model", run, first, "--out", tmp_path, "--score", 0, *option)
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"detections.json", first.name}


def test_detect_names_a_damaged_image(run, tmp_path):
    damaged = tmp_path / "cut.png"
    whole = next((NUCLEI / "images").glob("*.png")).read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    assert "cut.png" in refused("detect", "--model", run, damaged, "--out", tmp_path / "out")


def photos(folder: Path, *names: str) -> list[Path]:
    """Images with one red and one blue rectangle, the second of which is scored 0.3."""
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(image(60, 80, (0, 5, 5, 40, 40), (2, 5, 50, 40, 70))).save(folder / name)
    return [folder / name for name in names]


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run_detect(*args: object):
    return invoke("detect", "--model", "stub", *args)


def test_a_damaged_image_does_not_cost_the_others(blobs, tmp_path):
    """Results of the rest, the bad one in a summary, exit code 3."""
    files = photos(tmp_path / "in", "a.png", "b.png", "c.png", "d.png")
    cut(files[2])
    result = run_detect(tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 3, result.output
    detections = json.loads((tmp_path / "out/detections.json").read_text())
    assert [(one["image_id"], Path(one["file_name"]).name) for one in detections] == [
        (1, "a.png"),
        (2, "b.png"),
        (4, "d.png"),
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "b.png", "d.png", "detections.json"}
    assert "1 of 4 images could not be read" in result.stderr
    assert re.search(r"^mrcnn: .*c\.png: the image is damaged or cut off", result.stderr, re.MULTILINE)


@pytest.mark.parametrize("option", [["--tile", "40"], ["--augment"]])
def test_nor_where_images_are_worked_on_one_by_one(blobs, tmp_path, option, monkeypatch):
    files = photos(tmp_path / "in", "a.png", "b.png")
    cut(files[0])
    nothing = mrcnn.Instances(np.zeros((0, 4)), [], (60, 80), scores=[])
    monkeypatch.setattr(mrcnn, "detect_augmented", lambda _, file, **__: (mrcnn.read_image(file), nothing)[1])
    result = run_detect(tmp_path / "in", "--out", tmp_path / "out", *option)
    assert result.exit_code == 3, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"b.png", "detections.json"}


def test_strict_stops_at_the_first_damaged_image(blobs, tmp_path):
    files = photos(tmp_path / "in", "a.png", "b.png", "c.png")
    cut(files[1])
    result = run_detect(tmp_path / "in", "--out", tmp_path / "out", "--strict")
    assert result.exit_code == 2
    assert re.search(r"^mrcnn: .*b\.png: the image is damaged or cut off", result.stderr, re.MULTILINE)
    assert not (tmp_path / "out/c.png").exists()


def test_nothing_is_written_where_no_image_can_be_read(blobs, tmp_path):
    for file in photos(tmp_path / "in", "a.png", "b.png"):
        cut(file)
    result = run_detect(tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "a.png" in result.stderr and "b.png" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_is_never_replaced_by_its_drawing(blobs, tmp_path, suffix):
    folder = tmp_path / "in"
    photos(folder, f"a{suffix}", f"b{suffix}")
    before = bytes_of(folder)
    for out in (folder, folder / ".." / "in"):
        assert run_detect(folder / f"*{suffix}", "--out", out).exit_code == 0
        assert before.items() <= bytes_of(folder).items()
    assert (folder / "detections.json").is_file()


def test_nor_is_any_other_file_of_the_user(blobs, tmp_path):
    photos(tmp_path / "in", "a.jpg")
    out = tmp_path / "out"
    photos(out, "a.png")  # an image of the same name in the folder to write to
    before = bytes_of(out)
    assert run_detect(tmp_path / "in", "--out", out).exit_code == 0
    assert before.items() <= bytes_of(out).items()
    assert (out / "a_2.png").is_file()
    (out / "detections.json").write_text('{"images": []}')  # annotations, say
    before = bytes_of(out)
    result = run_detect(tmp_path / "in", "--out", out)
    assert result.exit_code == 2 and "not written by mrcnn" in result.stderr
    assert bytes_of(out) == before


def test_a_second_call_replaces_what_the_first_one_wrote(blobs, tmp_path):
    photos(tmp_path / "in", "a.jpg")
    for _ in range(2):
        assert run_detect(tmp_path / "in", "--out", tmp_path / "out").exit_code == 0
    assert set(bytes_of(tmp_path / "out")) == {"a.png", "detections.json"}


def test_a_folder_stands_for_all_that_can_be_read_and_the_rest_is_named(blobs, tmp_path):
    folder = tmp_path / "in"
    names = [f"x{suffix}" for suffix in (".jpg", ".png", ".jfif", ".jp2", ".ppm", ".jpe", ".tga", ".webp", ".tif")]
    photos(folder, *names)
    (folder / "notes.txt").write_text("notes")
    (folder / "y.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    result = run_detect(folder, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    detections = json.loads((tmp_path / "out/detections.json").read_text())
    assert {Path(one["file_name"]).name for one in detections} == set(names)
    [line] = [line for line in result.stderr.splitlines() if "left out" in line]
    assert "2 files" in line and ".txt" in line and ".heic" in line


def test_tiles_read_what_is_too_large_for_the_whole(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr("mrcnn.data.images.MAX_PIXELS", 1000)
    monkeypatch.setattr("mrcnn.data.read_options.MAX_PIXELS", 1000)
    photos(tmp_path / "in", "a.png")
    result = run_detect(tmp_path / "in", "--out", tmp_path / "out", "--max-pixels", 1000)
    assert result.exit_code == 2
    assert "--max-pixels" in result.stderr and "--tile" in result.stderr
    assert run_detect(tmp_path / "in", "--out", tmp_path / "out", "--tile", 40).exit_code == 0
    assert run_detect(tmp_path / "in", "--out", tmp_path / "out", "--max-pixels", 4800).exit_code == 0


def test_images_of_more_than_eight_bits_are_scaled_as_asked(blobs, tmp_path):
    pixels = image(60, 80, (0, 5, 5, 40, 40))[..., 0].astype(np.uint16) * 16  # 12 bits of 16
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/a.png")
    counts = []
    for number, option in enumerate(([], ["--in-range", "12"], ["--in-range", "0:4080"])):
        out = tmp_path / f"out{number}"
        assert run_detect(tmp_path / "in", "--out", out, *option).exit_code == 0
        counts.append(len(json.loads((out / "detections.json").read_text())))
    assert counts == [0, 2, 2]
    result = run_detect(tmp_path / "in", "--out", tmp_path / "o", "--in-range", "dark")
    assert result.exit_code == 2 and "in_range" in result.stderr


def test_names_that_drive_the_terminal_are_escaped_and_long_ones_shortened(blobs, tmp_path):
    names = ["\x1b[2Jx.png", "a\nb.png", f"{'n' * 240}.png", "[bold]c.png"]
    photos(tmp_path / "in", *names)
    result = run_detect(tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output and r"\x1b[2Jx.png" in result.output and r"a\nb.png" in result.output
    assert "[bold]c.png: 1 instance, drawn as" in result.output and "n" * 120 not in result.output
    written = list(bytes_of(tmp_path / "out"))
    assert len(written) == 5 and all(name.isprintable() and len(name) < 210 for name in written)


def test_quiet_and_verbose_may_stand_anywhere(blobs, tmp_path):
    photos(tmp_path / "in", "a.png")
    for args in (("--quiet", "detect"), ("detect", "--quiet")):
        result = invoke(*args, "--model", "stub", tmp_path / "in", "--out", tmp_path / "out")
        assert result.exit_code == 0 and result.stderr == "" and "wrote" not in result.stdout


def test_one_score_threshold_for_people(blobs, tmp_path):
    [file] = photos(tmp_path / "in", "a.png")
    assert run_detect(file, "--out", tmp_path / "out").exit_code == 0
    detections = json.loads((tmp_path / "out/detections.json").read_text())
    assert len(detections) == len(mrcnn.detect(blobs, file)[0]) == 1
    assert len(mrcnn.detect(blobs, file, score_threshold=None)[0]) == 2


def test_results_in_further_formats(blobs, tmp_path):
    photos(tmp_path / "in", "a.png", "b.png")
    formats = ("coco", "csv", "cvat", "geojson", "label_studio", "labelme", "png", "yolo")
    options = [word for name in formats for word in ("--save-as", name)]
    result = run_detect(tmp_path / "in", "--out", tmp_path / "out", "--score", 0, *options)
    assert result.exit_code == 0, result.output
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    joint = {"coco": ".json", "csv": ".csv", "cvat": ".xml", "label_studio": ".json"}
    separate = {"geojson": ".geojson", "labelme": ".json", "png": ".png", "yolo": ".txt"}
    assert names == {
        "a.png", "b.png", "detections.json",
        *(f"{name}/detections{suffix}" for name, suffix in joint.items()),
        *(f"{name}/{stem}{suffix}" for name, suffix in separate.items() for stem in "ab"),
    }  # fmt: skip
    assert (tmp_path / "out/coco/detections.json").read_text() == (tmp_path / "out/detections.json").read_text()
    assert len((tmp_path / "out/csv/detections.csv").read_text().splitlines()) == 5
    assert "yolo could not hold 2 things, such as a.png: the scores are not written" in " ".join(result.output.split())


def test_a_format_that_cannot_be_written_is_refused_before_any_work(blobs, tmp_path):
    photos(tmp_path / "in", "a.png")
    assert "no format of results 'excel'" in refused(
        "detect", "--model", "stub", tmp_path / "in", "--out", tmp_path / "out", "--save-as", "excel"
    )
    (tmp_path / "out/csv").mkdir(parents=True)
    (tmp_path / "out/csv/mine.csv").write_text("1")
    arguments = ("detect", "--model", "stub", tmp_path / "in", "--out", tmp_path / "out")
    assert "csv: is there already" in refused(*arguments, "--save-as", "csv")
    assert "yolo cannot hold 1 things" in refused(*arguments, "--save-as", "yolo", "--strict")
    assert {p.name for p in (tmp_path / "out").rglob("*.*")} == {"mine.csv", "a.png"}
