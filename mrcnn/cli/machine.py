"""`mrcnn doctor` and `mrcnn build-ops`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

import mrcnn
from mrcnn.cli.console import console, plain, start


def build_ops(
    cuda: Annotated[
        bool | None,
        typer.Option("--cuda/--no-cuda", help="With CUDA kernels or without; default: if there is an nvcc."),
    ] = None,
) -> None:
    """Compile the RoIAlign op for this TensorFlow into the user's cache; optional, the results stay the same."""
    start()
    raise typer.Exit(mrcnn.build_ops(cuda))


def doctor() -> None:
    """Report what this machine offers and what the package uses: versions, GPUs, the RoIAlign op, threads."""
    start()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for subject, answer in mrcnn.diagnose().items():
        table.add_row(subject, plain(answer))
    console.print(table)
