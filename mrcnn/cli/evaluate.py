"""`mrcnn evaluate`."""

from __future__ import annotations

import mrcnn
from mrcnn.cli.console import is_quiet, print_result, print_written, start
from mrcnn.cli.datasets import expect_every_image
from mrcnn.cli.options import Annotations, BatchSize, Images, Imports, Model, Out, Precision
from mrcnn.cli.outputs import RESULTS_FILE, staged


def evaluate(
    model: Model,
    data: Annotations,
    out: Out,
    images: Images = None,
    batch_size: BatchSize = 1,
    precision: Precision = "float32",
    imports: Imports = None,
) -> None:
    """Measure a model: the COCO numbers for boxes and masks, as metrics.json and detections.json.

    Of a panoptic model, on a data set with stuff, also panoptic quality, and the segments as panoptic.json and
    panoptic/.
    """
    start()
    dataset = mrcnn.load_dataset(data, images)
    expect_every_image(dataset)
    network = mrcnn.load_pretrained(model, precision=precision)
    with staged(out, "metrics.json", RESULTS_FILE) as files:
        result = mrcnn.evaluate(network, dataset, batch_size=batch_size, out=files.folder, progress=not is_quiet())
    print_result(result)
    print_written(*files.written)
    if network.config.semantic_head is not None and dataset.stuff_names:
        print_result(mrcnn.evaluate_panoptic(network, dataset, batch_size=batch_size, out=out, progress=not is_quiet()))
        print_written(out / "panoptic.json")
