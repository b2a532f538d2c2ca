"""`mrcnn video`."""

from __future__ import annotations

import collections
import csv
import os
import time
from collections.abc import Iterator, Sequence
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
    counts: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Also write how many of each class are in every frame.")
    ] = None,
    overwrite: Overwrite = False,
    imports: Imports = None,
) -> None:
    """Find the instances in every frame of a video; writes the video with them drawn.

    Frames keep their order and the video its frame rate; sound is left out. An object keeps its color. Damaged and
    missing frames are named. Small videos are enlarged as `mrcnn detect` enlarges small images.
    """
    reader = mrcnn.VideoReader(source)
    expect_free(target, overwrite, inputs=[source])
    if counts is not None:
        expect_free(counts, overwrite, inputs=[source])
    writer = mrcnn.VideoWriter(target, reader.fps)
    network = load_for_inference(model, threads, precision)
    frames: collections.deque[np.ndarray] = collections.deque()
    tracker, rows = mrcnn.Tracker(), []

    def feed() -> Iterator[np.ndarray]:
        for frame in reader:
            frames.append(frame)
            yield frame

    count, begin, fps = 0, time.perf_counter(), 0.0
    with writer, Progress(disable=not at_terminal(), console=console) as progress:
        task = progress.add_task("frames", total=reader.num_frames)
        for instances in mrcnn.iter_detect(network, feed(), batch_size, score_threshold=score):
            writer.write(
                mrcnn.draw(
                    frames.popleft(),
                    instances,
                    class_names=network.class_names,
                    colors=mrcnn.track_colors(tracker.update(instances)),
                    as_array=True,
                )
            )
            rows.append(np.bincount(instances.class_ids, minlength=len(network.class_names) + 1)[1:].tolist())
            count += 1
            fps = count / (time.perf_counter() - begin)
            progress.update(task, advance=1, description=f"{fps:.2f} fps")
    print_result(f"{count} frames, {fps:.2f} fps, {tracker.num_tracks} object{'s' * (tracker.num_tracks != 1)}")
    print_written(target)
    if counts is not None:
        _write_counts(counts, network.class_names, rows, reader.fps)
        print_written(counts)


def _write_counts(path: Path, class_names: Sequence[str], rows: Sequence[Sequence[int]], fps: float) -> None:
    """A line a frame: its number from 0, its time in seconds, instances of each class."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["frame", "seconds", *class_names])
            table.writerows([number, f"{number / fps:.3f}", *row] for number, row in enumerate(rows))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
