"""`mrcnn compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import print_result, print_written
from mrcnn.cli.options import Out
from mrcnn.cli.outputs import COMPARISONS, staged

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN RUN...", help="Folders that `mrcnn evaluate --out` wrote, of the same images."),
]
Samples = Annotated[int, typer.Option(min=10, metavar="N", help="Draws of images that the intervals are taken from.")]


def compare(runs: Runs, out: Out, samples: Samples = 1000) -> None:
    """Compare evaluations of the same images: what differs from the first, how sure that is, on which images.

    Writes compare.html, which opens in any browser, and compare.json.
    """
    with staged(out, *COMPARISONS) as files:
        comparison = mrcnn.compare_reports(runs, num_samples=samples)
        comparison.save(files.folder)
    print_result(comparison)
    print_written(*files.written)
