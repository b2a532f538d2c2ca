from __future__ import annotations

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
    found = list(read)
    assert len(found) == 5 and len(list(read)) == 5
    for i, frame in enumerate(found):
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
