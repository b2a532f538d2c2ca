"""`mrcnn weights` and `mrcnn convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import print_note, print_result, print_written, start
from mrcnn.cli.download import list_weights
from mrcnn.cli.options import Imports, Overwrite
from mrcnn.cli.outputs import expect_free

_ARGUMENT = typer.Argument(
    metavar="FILE",
    help="Weights of torchvision, detectron2, Detectron, matterport or mrcnn, a run's folder, or a name of --list.",
)
_File = Annotated[Path, _ARGUMENT]


def convert(
    file: _File,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store kernels in float16: half the size.")] = False,
    overwrite: Overwrite = False,
    imports: Imports = None,
) -> None:
    """Rewrite weights of any known program in this package's format, config and class names included."""
    if out.suffix != ".safetensors":
        raise typer.BadParameter(f"{out}: expected a name that ends in .safetensors")
    expect_free(out, overwrite, inputs=[file, file / "model.safetensors"])
    start()
    model = mrcnn.load_pretrained(file)
    mrcnn.save_checkpoint(model, out, dtype="float16" if half else "float32", extra={"converted_from": file.name})
    print_note(f"{file}: {model.config.profile}, {model.config.num_classes} classes")
    print_written(out)


def weights(
    file: Annotated[Path | None, _ARGUMENT] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List published weights, which have names.")] = False,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="With --list: masks, keypoints, boxes or backbone only.")
    ] = None,
    license_text: Annotated[
        str | None, typer.Option("--license", metavar="TEXT", help="With --list: licenses that hold this text only.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Say what a model of this recipe would take from the file.")
    ] = None,
    imports: Imports = None,
) -> None:
    """Describe a weights file (family, backbone, classes, heads, unused arrays), or list published weights."""
    if list_all == (file is not None):
        raise typer.BadParameter("give a file, or --list")
    if file is None:
        list_weights(task, license_text)
        return
    start()
    print_result(mrcnn.describe_weights(file))
    if recipe is not None:
        config = mrcnn.recipes.get(recipe)
        model = mrcnn.MaskRCNN(config.model)
        print_result(mrcnn.load_weights(model, file))
