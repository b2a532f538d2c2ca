from __future__ import annotations

import re

import numpy as np

import mrcnn
from tests.cli.runner import invoke


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
