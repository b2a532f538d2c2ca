"""`mrcnn inspect`."""

from __future__ import annotations

from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import console, is_quiet, plain, print_result, print_written, start
from mrcnn.cli.options import Annotations, Images, Imports, Out
from mrcnn.cli.outputs import INSPECTION, staged

_LISTED = 10


def inspect(
    data: Annotations,
    out: Out,
    images: Images = None,
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Whose resizing and anchors to hold the boxes against.")
    ] = "mask_rcnn_r50_fpn",
    samples: Annotated[int, typer.Option(min=0, help="Images to draw with their ground truth.")] = 8,
    pixels: Annotated[bool, typer.Option("--pixels", help="Decode every image, to find damaged ones.")] = False,
    imports: Imports = None,
) -> None:
    """Inspect a data set: counts, box sizes against the anchors, sample images, issues.

    inspect.html shows all of it in any browser, images and issues by class; report.json holds the numbers.

    --data may also be a batch (nonfinite_step....npz) that a training run kept because its loss was not finite.
    """
    start()
    if data.suffix == ".npz":
        with staged(out) as files:
            text, _ = mrcnn.inspect_batch(data, files.folder)
        print_result(text)
        print_written(*files.written)
        return
    config = mrcnn.recipes.get(recipe)
    dataset = mrcnn.load_dataset(data, images, validate=False)
    with staged(out, *INSPECTION) as files:
        report = mrcnn.inspect(
            dataset, config, out=files.folder, num_samples=samples, pixels=pixels, progress=not is_quiet()
        )
    print_result(report)
    for issue in report.issues[:_LISTED]:
        console.print(f"  {plain(issue)}", style="yellow" if issue.fatal else None)
    if len(report.issues) > _LISTED:
        print_result(f"  and {len(report.issues) - _LISTED} more in {out / 'report.json'}")
    print_written(*files.written)
