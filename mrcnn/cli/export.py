"""`mrcnn export`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

import mrcnn
from mrcnn.cli.console import print_result, print_written, start
from mrcnn.cli.options import Imports, Model, Overwrite
from mrcnn.cli.outputs import expect_free

FORMATS = ("savedmodel", "onnx", "openvino", "tflite")
_FILES = {"onnx": "model.onnx", "openvino": "model.xml", "tflite": "model.tflite"}


def export(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Of a SavedModel: its versions; the next is written.")
    ],
    format: Annotated[
        str, typer.Option(metavar="|".join(FORMATS), help="What to write; see docs/serving.md and docs/export.md.")
    ] = "savedmodel",
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE|DIR|GLOB", help="To compare the export with the model on; default: noise."),
    ] = None,
    masks: Annotated[
        str, typer.Option(metavar="small|full|packed", help="On a grid in the box, on all pixels, eight in a byte.")
    ] = "small",
    score: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out detections scored below.")] = None,
    frozen: Annotated[bool, typer.Option("--frozen/--variables", help="Weights as constants: faster.")] = True,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Refuse larger images; default: by the kind of masks.")
    ] = None,
    max_batch_size: Annotated[int, typer.Option(min=1, help="Refuse more images in a request.")] = 16,
    version: Annotated[int | None, typer.Option(min=1, help="Number of the version; default: the next.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Fix the height of the images; default: any.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Fix the width of the images; default: any.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Of tflite: weights in 8 bits, a quarter of the size.")] = False,
    overwrite: Overwrite = False,
    imports: Imports = None,
) -> None:
    """Write a SavedModel for TensorFlow Serving, C++, or Python without this package; or a file for another runtime.

    All options but --format, --images, --int8 and --overwrite are for a SavedModel, whose versions are never replaced.
    """
    if format not in FORMATS:
        raise typer.BadParameter(f"expected one of {', '.join(FORMATS)}, got {format!r}", param_hint="--format")
    if int8 and format != "tflite":
        raise typer.BadParameter("only tflite stores weights in 8 bits; docs/export.md says why", param_hint="--int8")
    of_saved_model = {
        "--masks": masks != "small",
        "--score": score is not None,
        "--variables": not frozen,
        "--max-pixels": max_pixels,
        "--max-batch-size": max_batch_size != 16,
        "--version": version,
        "--height": height,
        "--width": width,
    }
    if format != "savedmodel" and any(of_saved_model.values()):
        given = ", ".join(name for name, value in of_saved_model.items() if value)
        raise typer.BadParameter(f"only a SavedModel has {given}", param_hint="--format")
    target = out / _FILES[format] if format != "savedmodel" else out
    if format != "savedmodel":
        for file in (target, target.with_suffix(".bin")) if format == "openvino" else (target,):
            expect_free(file, overwrite, inputs=[model])
    files = mrcnn.list_images(images) if images else None
    start()
    network = mrcnn.load_pretrained(model)
    if format != "savedmodel":
        writers: dict[str, Callable[..., Any]] = {
            "onnx": mrcnn.export_onnx,
            "openvino": mrcnn.export_openvino,
            "tflite": functools.partial(mrcnn.export_tflite, int8=int8),
        }
        print_written(writers[format](network, target, images=files, log=print_result))
        return
    written = mrcnn.export_saved_model(
        network,
        out,
        height=height,
        width=width,
        masks=cast(Literal["small", "full", "packed"], masks),  # which refuses others
        score_threshold=score,
        frozen=frozen,
        max_pixels=max_pixels,
        max_batch_size=max_batch_size,
        images=files,
        version=version,
        log=print_result,
    )
    print_written(written)
