from __future__ import annotations

import os

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.video import VideoReader, VideoWriter


def frames(num: int, height: int = 48, width: int = 64):
    """Red left, blue right, a green bar that moves down."""
    for i in range(num):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:, : width // 2, 0] = 255
        frame[:, width // 2 :, 2] = 255
        frame[4 * i : 4 * i + 4] = (0, 255, 0)
        yield frame


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_what_is_written_is_read(tmp_path, name):
    with VideoWriter(tmp_path / name, 12.5) as video:
        for frame in frames(5):
            video.write(frame)
        assert not (tmp_path / name).exists()
    read = VideoReader(tmp_path / name)
    assert read.fps == pytest.approx(12.5)
    assert read.num_frames == 5
    result = list(read)
    assert len(result) == 5 and len(list(read)) == 5
    for i, frame in enumerate(result):
        assert frame.dtype == np.uint8 and frame.shape == (48, 64, 3)
        assert frame[40, 5].argmax() == 0 and frame[40, 60].argmax() == 2  # RGB
        assert frame[4 * i + 2, 10].argmax() == 1


def write(path, images):
    with VideoWriter(path, 10) as video:
        for frame in images:
            video.write(frame)


def breaks_off():
    yield from frames(1)
    raise RuntimeError("no more")


def test_a_file_cut_short_does_not_appear(tmp_path):
    with pytest.raises(RuntimeError, match="no more"):
        write(tmp_path / "a.avi", breaks_off())
    with pytest.raises(DataError, match="no frame was written"):
        write(tmp_path / "a.avi", [])
    with pytest.raises(DataError, match="after frames of shape"):
        write(tmp_path / "a.avi", [*frames(1), *frames(1, 50)])
    assert not list(tmp_path.iterdir())


def test_bad_files_are_refused_by_name(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("text.mp4", "absent.mp4"):
        with pytest.raises(DataError, match=name):
            VideoReader(tmp_path / name)
    with pytest.raises(DataError, match=r"a\.txt: expected a name that ends in \.mp4"):
        VideoWriter(tmp_path / "a.txt", 10)


def chunks(content: bytes) -> list[int]:
    """Where the frames of an AVI of MJPG begin."""
    start = content.index(b"movi")
    places = []
    while (place := content.find(b"00dc", start)) >= 0 and content[place + 8 : place + 10] == b"\xff\xd8":
        places.append(place)
        start = place + 8
    return places


@pytest.fixture
def whole(tmp_path) -> bytes:
    write(tmp_path / "whole.avi", frames(12))
    content = (tmp_path / "whole.avi").read_bytes()
    assert len(chunks(content)) == 12
    return content


def top_of_bar(frame: np.ndarray) -> int:
    return int(np.flatnonzero(frame[:, 10].argmax(axis=1) == 1)[0])


@pytest.mark.parametrize("damaged", [[0], [4], [4, 5, 6], [0, 1, 7]])
def test_damaged_frames_are_named_and_repeat_the_one_before(tmp_path, caplog, whole, damaged):
    content = bytearray(whole)
    places = [*chunks(whole), len(whole)]
    for number in damaged:
        content[places[number] + 8 : places[number + 1]] = bytes(places[number + 1] - places[number] - 8)
    (tmp_path / "d.avi").write_bytes(content)
    reader = VideoReader(tmp_path / "d.avi")
    with caplog.at_level("WARNING", "mrcnn"):
        read = list(reader)
    assert len(read) == 12
    assert reader.damaged_frames == [number + 1 for number in damaged]
    assert reader.frames_read == 12 - len(damaged)
    assert (
        f"{len(damaged)} damaged frame" in caplog.text and f"({', '.join(str(n + 1) for n in damaged)})" in caplog.text
    )
    shown, good = [], [n for n in range(12) if n not in damaged]
    for number in range(12):
        before = [n for n in good if n <= number]
        shown.append(before[-1] if before else good[0])
    for frame, number in zip(read, shown, strict=True):
        assert abs(top_of_bar(frame) - 4 * number) <= 1


@pytest.mark.parametrize("kept", [1, 7, 11])
def test_a_file_that_is_cut_off_is_counted(tmp_path, caplog, whole, kept):
    (tmp_path / "cut.avi").write_bytes(whole[: chunks(whole)[kept]])
    reader = VideoReader(tmp_path / "cut.avi")
    with caplog.at_level("WARNING", "mrcnn"):
        read = list(reader)
    assert len(read) == kept == reader.frames_read
    assert f"cut.avi: {kept} of 12 frames could be read" in caplog.text


def test_a_frame_that_is_gone_is_counted(tmp_path, caplog, whole):
    place = chunks(whole)[5]
    (tmp_path / "gone.avi").write_bytes(whole[:place] + b"JUNK" + whole[place + 4 :])
    with caplog.at_level("WARNING", "mrcnn"):
        assert len(list(VideoReader(tmp_path / "gone.avi"))) == 11
    assert "11 of 12 frames could be read" in caplog.text


def test_damage_within_coded_frames(tmp_path, caplog):
    """Frames of MPEG-4 that follow a damaged one are decoded as far as they can be."""
    rng = np.random.default_rng(0)
    write(tmp_path / "n.mp4", (rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(60)))
    content = bytearray((tmp_path / "n.mp4").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = rng.integers(0, 256, 3000, dtype=np.uint8).tobytes()
    (tmp_path / "n.mp4").write_bytes(content)
    reader = VideoReader(tmp_path / "n.mp4")
    with caplog.at_level("WARNING", "mrcnn"):
        read = list(reader)
    assert len(read) == 60
    assert 0 < len(reader.damaged_frames) < 15
    assert f"{len(reader.damaged_frames)} damaged frame" in caplog.text


def test_an_intact_file_is_read_without_a_remark(tmp_path, caplog, whole):
    for name in ("a.avi", "a.mp4", "a.mkv"):
        write(tmp_path / name, frames(12))
        with caplog.at_level("WARNING", "mrcnn"):
            reader = VideoReader(tmp_path / name)
            assert len(list(reader)) == 12
        assert reader.damaged_frames == []
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mov"])
@pytest.mark.parametrize("fps", [66.667, 90000, 1000 / 7, 1e9, 1e-4, 23.976, 29.97002997, 0.5])
def test_rates_that_a_container_cannot_hold(tmp_path, caplog, suffix, fps):
    path = tmp_path / f"a{suffix}"
    with caplog.at_level("WARNING", "mrcnn"), VideoWriter(path, fps) as video:
        for frame in frames(3):
            video.write(frame)
    assert VideoReader(path).fps == pytest.approx(video.fps, rel=1e-3)
    assert len(list(VideoReader(path))) == 3
    if 0.01 <= fps <= 1000:
        assert video.fps == pytest.approx(fps, rel=1e-3)
    changed = abs(video.fps - fps) > 1e-3
    assert changed == (f"{suffix} cannot hold {fps:.6g} frames a second, so it gets {video.fps:.6g}" in caplog.text)


@pytest.mark.parametrize("fps", [0, -5, float("nan"), float("inf")])
def test_rates_without_a_meaning_are_refused(tmp_path, fps):
    with pytest.raises(DataError, match=r"a\.mp4: .*frames a second; expected a positive number"):
        VideoWriter(tmp_path / "a.mp4", fps)


TEXTS = {
    "ffconcat": "ffconcat version 1.0\nfile whole.avi\n",
    "concat without a header": "file whole.avi\nfile whole.avi\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nwhole.avi\n#EXT-X-ENDLIST\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "DASH": "<?xml version='1.0'?><MPD><BaseURL>whole.avi</BaseURL></MPD>",
    "ASX": "<asx version='3.0'><entry><ref href='whole.avi'/></entry></asx>",
    "subtitles": "[Script Info]\n",
    "image": "P6 2 2 255\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".m3u8", ".ffconcat", ".txt"])
@pytest.mark.parametrize("kind", list(TEXTS))
def test_only_containers_are_opened_whatever_the_name(tmp_path, whole, kind, suffix, monkeypatch):
    monkeypatch.setattr("cv2.VideoCapture", lambda *_: pytest.fail("handed to FFmpeg"))
    for start in ("", "\ufeff", "\n"):
        (tmp_path / f"list{suffix}").write_text(start + TEXTS[kind])
        with pytest.raises(DataError, match=rf"list{suffix}: not a video in a known format"):
            VideoReader(tmp_path / f"list{suffix}")


@pytest.mark.parametrize(
    "name",
    [
        "http://127.0.0.1:9/a.mp4",
        "pipe:0",
        "concat:whole.avi|whole.avi",
        "rtsp://127.0.0.1/x",
        "0",
        "-",
        "whole%02d.png",
    ],
)
def test_protocols_devices_and_patterns_are_no_files(tmp_path, whole, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such video"):
        VideoReader(name)
    if "/" not in name:
        (tmp_path / name).write_bytes(whole)
        if "%" in name:
            with pytest.raises(DataError, match="rename the file"):
                VideoReader(name)
        else:  # a file of that name is that file, not the protocol
            assert len(list(VideoReader(name))) == 12


def test_pipes_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").mkdir()
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(DataError, match=rf"{name}: expected a video, found a folder, a pipe or a device"):
            VideoReader(tmp_path / name)
