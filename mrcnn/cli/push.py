"""`mrcnn push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import print_result, start
from mrcnn.cli.options import Imports


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training run.")],
    address: Annotated[str, typer.Argument(metavar="hf://USER/REPO", help="Where to: made if it is not there.")],
    license_id: Annotated[
        str, typer.Option("--license", metavar="ID", help="License of the weights, as the Hub names it: mit, ...")
    ] = "unknown",
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Of a new repository. Default: as the account is set.")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="The last model rather than the best.")] = False,
    imports: Imports = None,
) -> None:
    """Put a run's model on the Hugging Face Hub, with a model card made from the run."""
    start()
    print_result(mrcnn.push_to_hub(run, address, license=license_id, private=private, last=last))
