"""Options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mrcnn.cli.console import remember_import

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]

Model = Annotated[
    Path, typer.Option("--model", metavar="RUN", help="A run's folder, or any file `mrcnn weights` knows.")
]
Annotations = Annotated[
    Path,
    typer.Option("--data", metavar="PATH", help="Data set: a file or folder in any format of `mrcnn data formats`."),
]
Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Folder of the images. Default: where the format has them."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if it is absent.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at once; does not change the results.")]
Score = Annotated[float, typer.Option(min=0, max=1, help="Leave out detections scored below.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all.")]
Precision = Annotated[
    PrecisionName,
    typer.Option(
        "--precision",
        help="What features are computed in; auto: bfloat16 where that is faster and the first detections agree.",
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        callback=remember_import,
        help="Import a module first, so that a recipe or a model may name its components as MODULE:Name. Repeatable.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call wrote there.")]
