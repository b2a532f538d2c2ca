"""`mrcnn video`."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import Progress

import mrcnn
from mrcnn.cli.console import at_terminal, console, print_result, print_written
from mrcnn.cli.detect import load_for_inference
from mrcnn.cli.options import BatchSize, Imports, Model, Overwrite, Precision, Score, Threads
from mrcnn.cli.outputs import expect_free


def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video that OpenCV reads.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The video to write: .mp4, .mov, .avi or .mkv.")],
    model: Model,
    score: Score = 0.5,
    batch_size: BatchSize = 1,
    threads: Threads = None,
    precision: Precision = "float32",
    overwrite: Overwrite = False,
    imports: Imports = None,
) -> None:
    """Find the instances in every frame of a video; writes the video with them drawn.

    Frames keep their order and the video its frame rate; sound is left out. Damaged and missing frames are named. Small
    videos are enlarged as `mrcnn detect` enlarges small images.
    """
    reader = mrcnn.VideoReader(source)
    expect_free(target, overwrite, inputs=[source])
    writer = mrcnn.VideoWriter(target, reader.fps)
    network = load_for_inference(model, threads, precision)
    frames: collections.deque[np.ndarray] = collections.deque()

    def feed() -> Iterator[np.ndarray]:
        for frame in reader:
            frames.append(frame)
            yield frame

    count, begin, fps = 0, time.perf_counter(), 0.0
    with writer, Progress(disable=not at_terminal(), console=console) as progress:
        task = progress.add_task("frames", total=reader.num_frames)
        for instances in mrcnn.iter_detect(network, feed(), batch_size, score_threshold=score):
            writer.write(mrcnn.draw(frames.popleft(), instances, class_names=network.class_names, as_array=True))
            count += 1
            fps = count / (time.perf_counter() - begin)
            progress.update(task, advance=1, description=f"{fps:.2f} fps")
    print_result(f"{count} frames, {fps:.2f} fps")
    print_written(target)
