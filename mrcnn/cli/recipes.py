"""`mrcnn recipes`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

import mrcnn
from mrcnn.cli.console import console, start
from mrcnn.cli.options import Imports


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="Print this one as YAML.")] = None,
    imports: Imports = None,
) -> None:
    """List the recipes, or print one as YAML to change and pass to `train --recipe`."""
    import yaml

    start()
    if name is not None:
        print(yaml.safe_dump(mrcnn.recipes.get(name).to_dict(), sort_keys=False), end="")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("recipe", "backbone", "short side", "images"):
        table.add_column(column, no_wrap=True)
    for key, recipe in mrcnn.recipes.named().items():
        row = (key, recipe.model.backbone.title, str(recipe.model.input.short_side), f"{recipe.train.images:,}")
        table.add_row(*row)
    console.print(table)
