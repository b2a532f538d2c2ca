"""`mrcnn recipes`."""

from __future__ import annotations

from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import start
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
    rows = [("recipe", "backbone", "short side", "images")]
    for key, recipe in mrcnn.recipes.named().items():
        sizes = str(recipe.model.input.short_side), f"{recipe.train.images:,}"
        rows.append((key, recipe.model.backbone.title, *sizes))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:  # names are to be copied: none is cut where the terminal is narrow
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
