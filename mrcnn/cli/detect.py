"""`mrcnn detect`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import mrcnn
from mrcnn.cli.console import (
    BAD_INPUT,
    SOME_FAILED,
    is_quiet,
    print_error,
    print_note,
    print_result,
    print_written,
    short,
    start,
)
from mrcnn.cli.options import BatchSize, Imports, Model, Out, Precision, PrecisionName, Score, Threads
from mrcnn.cli.outputs import DRAWN_BY, RESULTS_FILE, drawing_paths, expect_replaceable, made_folder
from mrcnn.data.intensity import parse_in_range

_LISTED = 20


@dataclasses.dataclass
class _Failures:
    """Images that could not be used, by their place; `--strict` raises at the first."""

    strict: bool
    by_number: dict[int, mrcnn.MrcnnError] = dataclasses.field(default_factory=dict)

    def add(self, number: int, error: mrcnn.MrcnnError) -> None:
        if self.strict:
            raise error
        self.by_number.setdefault(number, error)


Files = Annotated[list[str], typer.Argument(metavar="IMAGE|DIR|GLOB...", help="The images.")]
Tile = Annotated[
    int | None, typer.Option(min=1, metavar="PIXELS", help="Cut images into overlapping tiles of this side, and merge.")
]
Augment = Annotated[bool, typer.Option("--augment", help="At several sizes and mirrored; takes 12 times as long.")]
SaveAs = Annotated[
    list[str] | None,
    typer.Option(
        "--save-as",
        metavar="FORMAT",
        help="Also write OUT/FORMAT/: coco, csv, cvat, geojson, label_studio, labelme, png or yolo; repeatable.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Stop at the first image that cannot be read, or that a format of --save-as cannot hold."
    ),
]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Refuse larger images; default: 100 million, with --tile 1000 million.")
]
InRange = Annotated[
    str,
    typer.Option(
        metavar="dtype|image|bits|N|LOW:HIGH",
        help="Values that become black and white in images of more than 8 bits; N: a bit depth, such as 12.",
    ),
]
Bands = Annotated[
    str | None, typer.Option(metavar="N,N,N", help="Bands that are red, green and blue, from 1 or by name; one: gray.")
]
Page = Annotated[int | None, typer.Option(min=1, help="Page of files of several; default: the first.")]


def detect(
    images: Files,
    model: Model,
    out: Out,
    score: Score = 0.5,
    batch_size: BatchSize = 1,
    threads: Threads = None,
    precision: Precision = "float32",
    tile: Tile = None,
    augment: Augment = False,
    save_as: SaveAs = None,
    strict: Strict = False,
    max_pixels: MaxPixels = None,
    in_range: InRange = "dtype",
    bands: Bands = None,
    page: Page = None,
    imports: Imports = None,
) -> None:
    """Find the instances in images; writes each image with its instances drawn, and detections.json.

    detections.json is in COCO results format; image_id counts the images from 1, file_name says which one. Images that
    cannot be read are named at the end, and the exit code is 3. A file of yours is never replaced: where a name is
    taken the drawing gets a number.
    """
    if augment and tile is not None:
        raise typer.BadParameter("--augment and --tile exclude each other; pass one of them")
    options = mrcnn.ReadOptions(in_range=parse_in_range(in_range), bands=_bands(bands), page=page)
    files = mrcnn.list_images(images)
    writer = mrcnn.ResultWriter(out, save_as or (), strict=strict)  # refuses names before anything is computed
    network = load_for_inference(model, threads, precision)
    failures = _Failures(strict)
    limits = {} if max_pixels is None else {"max_pixels": max_pixels}
    arguments = {"score_threshold": score, "read_options": options, **limits}
    results = _detect(network, files, failures, batch_size, tile, augment, arguments)
    read = dataclasses.replace(options, max_pixels=None)  # detection has refused what is too large
    writer.class_names, writer.category_ids = network.class_names, network.category_ids
    with made_folder(out):
        with writer:
            _write(results, files, network, out, read, failures, writer)
        _print_losses(writer, out)
        _end(files, failures, out)


def _detect(
    network: mrcnn.MaskRCNN,
    files: Sequence[Path],
    failures: _Failures,
    batch_size: int,
    tile: int | None,
    augment: bool,
    arguments: dict[str, Any],
) -> Iterator[mrcnn.Instances | None]:
    """The instances of each file in turn; None for one that could not be used."""
    if tile is not None:
        overlap = tile // 4
        return _one_by_one(
            lambda file: mrcnn.detect_tiled(network, file, tile, overlap, batch_size, **arguments), files, failures
        )
    if augment:
        return _one_by_one(lambda file: mrcnn.detect_augmented(network, file, **arguments), files, failures)
    return mrcnn.iter_detect(network, files, batch_size, on_error=failures.add, progress=not is_quiet(), **arguments)


def _one_by_one(
    run: Callable[[Path], mrcnn.Instances], files: Sequence[Path], failures: _Failures
) -> Iterator[mrcnn.Instances | None]:
    for number, file in enumerate(files):
        try:
            result = run(file)
        except mrcnn.MrcnnError as error:
            failures.add(number, error)
            yield None
        else:
            yield result


def _write(
    results: Iterator[mrcnn.Instances | None],
    files: Sequence[Path],
    network: Any,
    out: Path,
    read: mrcnn.ReadOptions,
    failures: _Failures,
    writer: mrcnn.ResultWriter,
) -> None:
    """Draw and save each result as it comes; at the end, or where it is stopped, write detections.json."""
    expect_replaceable(out / RESULTS_FILE)
    targets = drawing_paths(out, files)
    lines: list[str] = []
    records: list[dict[str, Any]] = []
    done = 0
    try:
        for number, (file, target, instances) in enumerate(zip(files, targets, results, strict=True)):
            try:
                pixels = None if instances is None else _read(file, read)
            except mrcnn.MrcnnError as error:  # it was whole when it was detected in
                failures.add(number, error)
                pixels = None
            if instances is None or pixels is None:
                lines.append(f"{short(file)}: not read")
                continue
            drawing = mrcnn.draw(pixels, instances, class_names=network.class_names, as_array=True)
            mrcnn.save_image(target, drawing, software=DRAWN_BY)
            writer.add(instances, file, number + 1)
            for record in mrcnn.to_coco_results(number + 1, instances, network.category_ids):
                records.append({**record, "file_name": str(file)})
            counted = f"{len(instances)} instance{'s' * (len(instances) != 1)}"
            lines.append(f"{short(file)}: {counted}, drawn as {short(target)}")
            done += 1
    finally:
        if done:
            mrcnn.save_json(records, out / RESULTS_FILE)
    if done:
        print_result("\n".join(lines))


def _read(file: Path, options: mrcnn.ReadOptions) -> np.ndarray:
    return mrcnn.read_image(
        file, in_range=options.in_range, bands=options.bands, page=options.page, max_pixels=options.max_pixels
    )


def _print_losses(writer: mrcnn.ResultWriter, out: Path) -> None:
    """Name the folder of each format, and how much it could not hold."""
    for name, losses in writer.losses.items():
        print_written(out / name)
        if losses:
            print_note(f"{name} could not hold {len(losses)} thing{'s' * (len(losses) != 1)}, such as {losses[0]}")


def _end(files: Sequence[Path], failures: _Failures, out: Path) -> None:
    """Name what was written and what could not be read; ends in the exit code."""
    errors = [str(error) for _, error in sorted(failures.by_number.items())]
    if len(errors) == len(files):
        more = f"; and {len(errors) - _LISTED} more" if len(errors) > _LISTED else ""
        print_error("; ".join(errors[:_LISTED]) + more)
        raise typer.Exit(BAD_INPUT)
    print_written(out / RESULTS_FILE)
    if not errors:
        return
    print_error(f"{len(errors)} of {len(files)} images could not be read; there are no results for them:")
    for error in errors[:_LISTED]:
        print_error(error)
    if len(errors) > _LISTED:
        print_error(f"and {len(errors) - _LISTED} more")
    print_note("--strict stops at the first image that cannot be read")
    raise typer.Exit(SOME_FAILED)


def _bands(text: str | None) -> tuple[int | str, ...] | None:
    if text is None:
        return None
    return tuple(int(band) if band.strip().isdecimal() else band.strip() for band in text.split(","))


def load_for_inference(model: Path, threads: int | None, precision: PrecisionName) -> mrcnn.MaskRCNN:
    """The model of a file, its batch norm folded, with so many threads to run on."""
    start(None if threads is None else lambda: mrcnn.set_threads(threads))
    return mrcnn.fold_batch_norm(mrcnn.load_pretrained(model, precision=precision))
