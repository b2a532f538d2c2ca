from __future__ import annotations

import re

import numpy as np

import mrcnn
from tests.cli.runner import invoke, refused
from tests.data.test_video import chunks


def test_video_keeps_its_frames_in_order(run, tmp_path):
    with mrcnn.VideoWriter(tmp_path / "in.avi", 10) as video:
        for i in range(6):  # ever brighter
            video.write(np.full((48, 64, 3), 40 * i, np.uint8))
    result = invoke("video", "--model", run, tmp_path / "in.avi", tmp_path / "out.avi", "--batch-size", 4)
    assert result.exit_code == 0, result.output
    assert re.search(r"6 frames, [\d.]+ fps", result.output)
    drawn = mrcnn.VideoReader(tmp_path / "out.avi")
    assert (drawn.fps, drawn.num_frames) == (10, 6)
    brightness = [np.median(frame) for frame in drawn]
    assert (np.diff(brightness) > 10).all()  # masks are drawn over the gray
    assert sorted(path.name for path in tmp_path.glob("*.avi")) == ["in.avi", "out.avi"]


def write(path, num=12, fps=10.0):
    with mrcnn.VideoWriter(path, fps) as video:
        for i in range(num):
            frame = np.zeros((48, 64, 3), np.uint8)
            frame[5:30, 2 * i : 2 * i + 20, 0] = 255
            video.write(frame)
    return path.read_bytes()


def run_video(*args):
    return invoke("video", "--model", "stub", *args)


def test_damaged_and_missing_frames_are_named(blobs, tmp_path):
    content = bytearray(write(tmp_path / "in.avi"))
    begin, end = chunks(bytes(content))[4:6]
    content[begin + 8 : end] = bytes(end - begin - 8)
    (tmp_path / "in.avi").write_bytes(content)
    result = run_video(tmp_path / "in.avi", tmp_path / "out.avi")
    assert result.exit_code == 0, result.output
    assert re.search(r"in\.avi: 1 damaged frame \(5\)", result.stderr) and "12 frames" in result.stdout
    whole = write(tmp_path / "cut.avi")
    (tmp_path / "cut.avi").write_bytes(whole[: chunks(whole)[7]])
    result = run_video(tmp_path / "cut.avi", tmp_path / "out_of_cut.avi")
    assert result.exit_code == 0, result.output
    assert "7 of 12 frames could be read" in result.stderr


def test_a_rate_that_the_container_cannot_hold_is_said(blobs, tmp_path):
    write(tmp_path / "in.mkv", 3, 66.667)
    result = run_video(tmp_path / "in.mkv", tmp_path / "out.mp4")
    assert result.exit_code == 0, result.output
    rate = mrcnn.VideoReader(tmp_path / "out.mp4").fps
    assert abs(rate - 66.667) < 0.1


def test_no_file_is_replaced_by_a_video(blobs, tmp_path):
    before = write(tmp_path / "in.avi", 2)
    (tmp_path / "other.mp4").write_bytes(b"another video")
    assert "is the input" in refused(
        "video", "--model", "stub", tmp_path / "in.avi", tmp_path / "in.avi", "--overwrite"
    )
    assert "exists" in refused("video", "--model", "stub", tmp_path / "in.avi", tmp_path / "other.mp4")
    assert (tmp_path / "in.avi").read_bytes() == before
    assert (tmp_path / "other.mp4").read_bytes() == b"another video"
    assert run_video(tmp_path / "in.avi", tmp_path / "other.mp4", "--overwrite").exit_code == 0


def test_a_playlist_is_no_video(blobs, tmp_path):
    write(tmp_path / "neighbor.avi", 2)
    (tmp_path / "in.avi").write_text("ffconcat version 1.0\nfile neighbor.avi\n")
    assert "not a video in a known format" in refused("video", "--model", "x", tmp_path / "in.avi", tmp_path / "o.avi")


def test_objects_are_counted(blobs, tmp_path):
    write(tmp_path / "in.avi", 4)
    result = run_video(tmp_path / "in.avi", tmp_path / "out.avi", "--counts", tmp_path / "counts.csv")
    assert result.exit_code == 0, result.output
    header, *rows = [line.split(",") for line in (tmp_path / "counts.csv").read_text().splitlines()]
    assert header[:2] == ["frame", "seconds"] and len(rows) == 4
    assert [row[:2] for row in rows] == [["0", "0.000"], ["1", "0.100"], ["2", "0.200"], ["3", "0.300"]]
    assert all(sum(map(int, row[2:])) == 1 for row in rows)
    assert "1 objects" not in result.output and "1 object" in result.output
    refused("video", "--model", "stub", tmp_path / "in.avi", tmp_path / "new.avi", "--counts", tmp_path / "counts.csv")
