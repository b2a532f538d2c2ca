"""`mrcnn evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import is_quiet, print_result, print_written, start
from mrcnn.cli.datasets import expect_every_image
from mrcnn.cli.options import Annotations, BatchSize, Images, Imports, Model, Out, Precision
from mrcnn.cli.outputs import PAGES, RESULTS_FILE, staged
from mrcnn.text import shown_path

_OF_MACHINE = ("mrcnn", "system", "TensorFlow", "keras", "GPUs", "RoIAlign", "cores", "threads")
"""Of what `mrcnn doctor` shows, what bears on the numbers and on the time."""


def evaluate(
    model: Model,
    data: Annotations,
    out: Out,
    images: Images = None,
    batch_size: BatchSize = 1,
    precision: Precision = "float32",
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Also write report.html, to look at, and report_data.json.")
    ] = True,
    imports: Imports = None,
) -> None:
    """Measure a model: the COCO numbers for boxes and masks, as metrics.json and detections.json, and a report.

    report.html opens in any browser: errors by kind, curves, confusion, calibration, the worst and the best images,
    likely label mistakes.

    Of a panoptic model, on a data set with stuff, also panoptic quality, and the segments as panoptic.json and
    panoptic/.
    """
    start()
    dataset = mrcnn.load_dataset(data, images)
    expect_every_image(dataset)
    network = mrcnn.load_pretrained(model, precision=precision)
    page = None
    if report:
        answers = mrcnn.diagnose()
        machine = {name: answers[name] for name in _OF_MACHINE if name in answers}
        about = {"model": shown_path(model), "data": shown_path(data)}
        page = mrcnn.EvaluationReport(dataset, about=about, machine=machine)
    with staged(out, "metrics.json", RESULTS_FILE, *(PAGES if report else ())) as files:
        result = mrcnn.evaluate(
            network,
            dataset,
            batch_size=batch_size,
            out=files.folder,
            metrics=[] if page is None else [page],
            progress=not is_quiet(),
        )
        if page is not None:
            page.save(files.folder, result)
    print_result(result)
    print_written(*files.written)
    if network.config.semantic_head is not None and dataset.stuff_names:
        print_result(mrcnn.evaluate_panoptic(network, dataset, batch_size=batch_size, out=out, progress=not is_quiet()))
        print_written(out / "panoptic.json")
