"""`mrcnn export`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import mrcnn
from mrcnn.cli.console import print_result, print_written, start
from mrcnn.cli.options import Imports, Model, Overwrite
from mrcnn.cli.outputs import expect_free
from mrcnn.cli.train import parse_changes

if TYPE_CHECKING:
    from mrcnn.export import Exporter, ExportOptions

_FLAGS = {
    "masks": "--masks",
    "score_threshold": "--score",
    "frozen": "--frozen/--variables",
    "precision": "--precision",
    "max_pixels": "--max-pixels",
    "max_request_pixels": "--max-request-pixels",
    "max_batch_size": "--max-batch-size",
    "version": "--version",
    "height": "--height",
    "width": "--width",
    "int8": "--int8",
    "calibration": "--calibrate",
}
"""Field of an exporter's options -> how it is given here; others are given by --set."""


Folder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Of a SavedModel: its versions; the next is written.")
]
Format = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="savedmodel, onnx, openvino, tflite, triton, ovms, or an exporter of another package; see docs/serving.md "
        "and docs/export.md.",
    ),
]
For = Annotated[
    Literal["tf-serving", "ovms", "triton"] | None,
    typer.Option("--for", help="A server: what it loads, with its configuration, in place of --format."),
]
Images = Annotated[
    list[str] | None,
    typer.Option(metavar="IMAGE|DIR|GLOB", help="To compare the export with the model on; default: noise."),
]
Masks = Annotated[
    str | None,
    typer.Option(metavar="small|full|packed", help="On a grid in the box (default), on all pixels, eight in a byte."),
]
Score = Annotated[float | None, typer.Option(min=0, max=1, help="Leave out detections scored below.")]
Frozen = Annotated[bool | None, typer.Option("--frozen/--variables", help="Weights as constants (default): faster.")]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="What features are computed in, on any machine; default: float32."),
]
MaxPixels = Annotated[int | None, typer.Option(min=1, help="Refuse larger images; default: by the kind of masks.")]
MaxRequestPixels = Annotated[
    int | None,
    typer.Option(min=1, help="Refuse requests whose images have more together; default: twice --max-pixels."),
]
MaxBatchSize = Annotated[int | None, typer.Option(min=1, help="Refuse more images in a request; default: 16.")]
Version = Annotated[int | None, typer.Option(min=1, help="Number of the version; default: the next.")]
Height = Annotated[int | None, typer.Option(min=1, help="Fix the height of the images; default: any.")]
Width = Annotated[int | None, typer.Option(min=1, help="Fix the width of the images; default: any.")]
Int8 = Annotated[
    bool, typer.Option("--int8", help="Of tflite and openvino: 8 bits, a quarter of the size; openvino: --calibrate.")
]
Calibrate = Annotated[
    list[str] | None,
    typer.Option(metavar="IMAGE|DIR|GLOB", help="Of openvino --int8: images with objects to measure ranges on."),
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any option of the exporter. Repeatable.")
]


def export(
    model: Model,
    out: Folder,
    format: Format = "savedmodel",
    server: For = None,
    images: Images = None,
    masks: Masks = None,
    score: Score = None,
    frozen: Frozen = None,
    precision: Precision = None,
    max_pixels: MaxPixels = None,
    max_request_pixels: MaxRequestPixels = None,
    max_batch_size: MaxBatchSize = None,
    version: Version = None,
    height: Height = None,
    width: Width = None,
    int8: Int8 = False,
    calibrate: Calibrate = None,
    changes: Changes = None,
    overwrite: Overwrite = False,
    imports: Imports = None,
) -> None:
    """Write a SavedModel for TensorFlow Serving, C++, or Python without this package; or a file for another runtime.

    All options but --format, --images, --int8, --calibrate, --set and --overwrite are for a SavedModel, whose versions
    are never replaced.
    """
    given: dict[str, object] = {
        "masks": masks,
        "score_threshold": score,
        "frozen": frozen,
        "precision": precision,
        "max_pixels": max_pixels,
        "max_request_pixels": max_request_pixels,
        "max_batch_size": max_batch_size,
        "version": version,
        "height": height,
        "width": width,
        "int8": int8 or None,
    }
    stated = parse_changes(changes or [])
    start()
    from mrcnn.export import get_exporter

    if calibrate:
        given["calibration"] = tuple(mrcnn.list_images(calibrate))

    if server is not None and format != "savedmodel":
        raise typer.BadParameter("--for and --format exclude each other; pass one of them")
    exporter = get_exporter(format if server in (None, "tf-serving") else server)
    options = _options(exporter, {field: value for field, value in given.items() if value is not None}, stated)
    target = exporter.path_in(out)
    if exporter.suffix:
        for file in exporter.files(target):
            expect_free(file, overwrite, inputs=[model])
    files = mrcnn.list_images(images) if images else None
    print_written(exporter.export(mrcnn.load_pretrained(model), target, options, images=files, log=print_result))


def _options(exporter: Exporter, given: dict[str, object], stated: dict[str, object]) -> ExportOptions:
    """The exporter's options: those that have one of ours, and those of --set, which win."""
    known = {field.name for field in dataclasses.fields(exporter.options)}
    if unknown := [_FLAGS[field] for field in given if field not in known]:
        raise typer.BadParameter(f"{exporter.name} has no option {', '.join(unknown)}", param_hint="--format")
    return exporter.options.from_dict({**given, **stated})
