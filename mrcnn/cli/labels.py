"""`mrcnn serve-labels` and `mrcnn propose`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import is_quiet, print_error, print_note, print_result, print_written, short
from mrcnn.cli.detect import Strict, load_for_inference
from mrcnn.cli.options import BatchSize, Imports, Model, Out, Precision, Score, Threads
from mrcnn.cli.outputs import PROPOSED_COLUMNS, PROPOSED_FILE, staged


def serve_labels(
    model: Model,
    host: Annotated[str, typer.Option(help="Address to listen at. Default: this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 9090,
    score: Score = 0.5,
    files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that Label Studio serves as local files; nothing outside it is read."),
    ] = None,
    label_studio_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of Label Studio, for uploaded images; its key is read from LABEL_STUDIO_API_KEY.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, metavar="PIXELS", help="Polygons may leave outlines by this, to have fewer points.")
    ] = 1.0,
    threads: Threads = None,
    precision: Precision = "float32",
    imports: Imports = None,
) -> None:
    """Serve a model to Label Studio, as an ML backend that pre-labels images.

    In the project's settings, under Model, connect the address that is printed. Labels of PolygonLabels, BrushLabels or
    RectangleLabels are those of the model's classes; one label and one class mean each other.
    """
    network = load_for_inference(model, threads, precision)
    with mrcnn.LabelServer(
        network,
        host=host,
        port=port,
        score_threshold=score,
        files=files,
        label_studio_url=label_studio_url,
        tolerance=tolerance,
        model_version=f"mrcnn {short(model)}",
    ) as server:
        print_result(f"{server.url} answers Label Studio; classes: {', '.join(network.class_names)}. Ctrl+C ends it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print_note("stopped")


def propose(
    model: Model,
    data: Annotated[list[str], typer.Option("--data", metavar="DIR|GLOB", help="The images to choose from.")],
    out: Out,
    budget: Annotated[int, typer.Option(min=1, help="How many images to choose.")] = 50,
    labeled: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Data set that is labeled already: none of its images is chosen again."),
    ] = None,
    labeled_images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of its images. Default: where the format has them.")
    ] = None,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="0: the most uncertain images; 1: the most different ones.")
    ] = 0.5,
    save_as: Annotated[
        list[str] | None,
        typer.Option(
            "--save-as",
            metavar="FORMAT",
            help="Also write pre-labels of the chosen images to OUT/FORMAT/, as `mrcnn detect` does; repeatable.",
        ),
    ] = None,
    score: Score = 0.5,
    strict: Strict = False,
    batch_size: BatchSize = 1,
    seed: Annotated[int, typer.Option(help="Of the random choice that is printed beside.")] = 0,
    threads: Threads = None,
    precision: Precision = "float32",
    imports: Imports = None,
) -> None:
    """Choose the images to label next: those the model is unsure of, and unlike those that are labeled or chosen.

    Writes proposed.csv, the image to label first on top, and prints beside it what a random choice would be.
    """
    files = mrcnn.list_images(data)
    writer = mrcnn.ResultWriter(out, save_as or (), strict=strict)
    network = load_for_inference(model, threads, precision)
    known = [] if labeled is None else _files_of(labeled, labeled_images)
    same = {path.resolve() for path in known}
    left = [file for file in files if file.resolve() not in same]
    if not left:
        raise typer.BadParameter(f"{short(data[0])}: every image there is labeled already")
    failed: dict[int, mrcnn.MrcnnError] = {}

    def fail(number: int, error: mrcnn.MrcnnError) -> None:
        if strict:
            raise error
        failed.setdefault(number, error)

    with staged(out, PROPOSED_FILE) as outputs:
        selection = mrcnn.select_images(
            network,
            left,
            budget,
            labeled=known,
            diversity=diversity,
            batch_size=batch_size,
            seed=seed,
            on_error=fail,
            progress=not is_quiet(),
        )
        chosen = [left[choice.image] for choice in selection.chosen]
        with open(outputs.folder / PROPOSED_FILE, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(PROPOSED_COLUMNS)
            for rank, (path, choice) in enumerate(zip(chosen, selection.chosen, strict=True), start=1):
                numbers = (choice.uncertainty, choice.distance, choice.num_objects)
                table.writerow([rank, path, *(f"{number:.4f}" for number in numbers)])
        if save_as:
            _pre_label(network, chosen, writer, score, batch_size)
    for error in failed.values():
        print_error(str(error))
    random = [short(left[choice.image].name) for choice in selection.random]
    width = max(8, *(len(short(path.name)) for path in chosen))
    lines = [f"{'proposed':<{width}}  uncertainty  distance  objects  random"]
    for path, choice, other in zip(chosen, selection.chosen, random, strict=True):
        lines.append(
            f"{short(path.name):<{width}}  {choice.uncertainty:>11.2f}  {choice.distance:>8.2f}"
            f"  {choice.num_objects:>7.1f}  {other}"
        )
    print_result("\n".join(lines))
    print_result(selection)
    print_written(*outputs.written, *(out / name for name in save_as or ()))
    for name, losses in writer.losses.items():
        if losses:
            print_note(f"{name} could not hold {len(losses)} thing{'s' * (len(losses) != 1)}, such as {losses[0]}")


def _files_of(labeled: Path, images: Path | None) -> list[Path]:
    dataset = mrcnn.load_dataset(labeled, images)
    paths = [dataset.record(index).path for index in range(len(dataset))]
    return [Path(path) for path in paths if path is not None]


def _pre_label(
    network: mrcnn.MaskRCNN, files: Sequence[Path], writer: mrcnn.ResultWriter, score: float, batch_size: int
) -> None:
    writer.class_names, writer.category_ids = network.class_names, network.category_ids
    with writer:
        results = mrcnn.iter_detect(network, files, batch_size, score_threshold=score)
        for number, (file, instances) in enumerate(zip(files, results, strict=True), start=1):
            writer.add(instances, file, number)
