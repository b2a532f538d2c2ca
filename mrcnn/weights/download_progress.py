"""How far a download is, for people."""

from __future__ import annotations

import sys

from mrcnn.weights.fetch import Progress
from mrcnn.weights.zoo import ZooEntry, file_name


def default_progress(entry: ZooEntry) -> Progress:
    """A bar on stderr where it is a terminal, else a line at the beginning and one at the end."""
    title = entry.name or file_name(entry.url)
    if sys.stderr.isatty():
        return _bar(title)

    started = False

    def lines(have: int, total: int | None) -> None:
        nonlocal started
        if not started:
            started = True
            size = entry.describe_size() if total is None else f"{total / 1e6:.1f} MB"
            print(f"downloading {title} ({size}) from {entry.url}", file=sys.stderr, flush=True)
        if total is not None and have >= total:
            print(f"downloaded {title}", file=sys.stderr, flush=True)

    return lines


def _bar(title: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True))
    task = bar.add_task(title, total=None)

    def advance(have: int, total: int | None) -> None:
        if not bar.finished:
            bar.start()
        bar.update(task, completed=have, total=total)
        if total is not None and have >= total:
            bar.stop()

    return advance
