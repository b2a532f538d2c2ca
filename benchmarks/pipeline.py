"""The input pipeline alone: images a second, against the same threads doing nothing but decoding the files.

Two sets: the one given (default: the nuts of the tests), and its images scaled up to 12-megapixel JPEGs, written to
a temporary folder. Each goes through the pipeline with the config of a recipe; "seconds" are those of an image the
first time the images are read, "again" has them in the cache as far as they fit. The ratio is to decoding the image at
its full size: below 1 where reading at a part of the size pays.

--wait STEPS also trains the recipe for so many steps and prints the share of their time spent waiting for data.

    python benchmarks/pipeline.py [--data ANN.json] [--images DIR] [--case SET:RECIPE ...] [--wait STEPS]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from mrcnn import Dataset, Recipe

NUTS = harness.ROOT / "tests" / "assets" / "nuts3"
LARGE_SIDE, LARGE_NUMBER = 4032, 24  # 12 megapixels at 4 : 3
WORKERS = min(4, os.cpu_count() or 1)
CASES = [
    f"{name}:{recipe}"
    for name in ("given", "large")
    for recipe in ("mask_rcnn_efficientnet_lite0_fpn", "mask_rcnn_r50_fpn")
]


def like(data: Dataset) -> Dataset:
    """A set of the same classes without images."""
    from mrcnn import Dataset

    empty = Dataset()
    for name, category in zip(data.class_names, data.category_ids, strict=True):
        empty.add_class("benchmark", category, name)
    return empty


def enlarged(data: Dataset, folder: Path, number: int, write: bool) -> Dataset:
    """The first images of a set at 12 megapixels, as a set of its own."""
    large = like(data)
    for i in range(number):
        index = i % len(data)
        path = folder / f"{i}.jpg"
        image = Image.fromarray(data.load_image(index))
        factor = LARGE_SIDE / max(image.size)
        size = (round(image.width * factor), round(image.height * factor))
        if write:
            image.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        annotations = [
            dataclasses.replace(
                a,
                box=(factor * a.box[0], factor * a.box[1], factor * a.box[2], factor * a.box[3]),
                segmentation=[np.asarray(p) * factor for p in a.segmentation]
                if isinstance(a.segmentation, (list, tuple))
                else None,
                area=None,
                keypoints=None,
            )
            for a in data.annotations(index)
        ]
        large.add_image("large", i, str(path), width=size[0], height=size[1], annotations=annotations)
    return large


def decoding(paths: list[str], number: int) -> float:
    """Seconds an image for reading files at their full size, in as many threads as the pipeline has."""
    from mrcnn import read_image

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(read_image, paths[:2]))
        begin = time.perf_counter()
        list(threads.map(read_image, [paths[i % len(paths)] for i in range(number)]))
        return (time.perf_counter() - begin) / number


def pipeline(data: Dataset, recipe: Recipe, number: int) -> tuple[float, float]:
    """Seconds an image, of the first reading and of a later one."""
    from mrcnn import make_pipeline

    batches = iter(make_pipeline(data, recipe, batch_size=2, training=True, repeat=True, workers=WORKERS))
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        for _ in range(number // 2):
            next(batches)
        times.append((time.perf_counter() - begin) / number)
    return times[0], times[1]


def wait_share(data: Dataset, recipe: Recipe, steps: int) -> float:
    """Share of the time of training steps spent waiting for data, in the second of two epochs: the first traces."""
    import mrcnn

    part = data.subset(range(min(len(data), steps * recipe.train.batch_size)))
    model = recipe.build_model(part.class_names, part.category_ids)
    recipe = recipe.override({"train.images": 2 * len(part), "train.warmup_images": 0})
    return float(mrcnn.train(model, part, recipe=recipe, progress=False).history["data_wait"][-1])


def given(options: argparse.Namespace) -> Dataset:
    """The set of the command line."""
    import mrcnn

    return mrcnn.load_coco(options.data, options.images or (NUTS if options.data.parent == NUTS else None))


def load(case: str, options: argparse.Namespace) -> tuple[Dataset, Recipe, int]:
    """Set, recipe and number of images of a case."""
    import mrcnn

    which, name = case.split(":")
    recipe = mrcnn.recipes.get(name)
    if which == "given":
        return given(options), recipe, options.number
    return (
        enlarged(given(options), options.folder, LARGE_NUMBER, write=False),
        recipe,
        min(LARGE_NUMBER, options.number),
    )


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Write the large images."""
    if any(case.startswith("large:") for case in options.case):
        enlarged(given(options), folder, LARGE_NUMBER, write=True)


def decode(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """Decoding alone."""
    data, _, number = load(case, options)
    paths = [str(data.record(i).path) for i in range(len(data))]
    return lambda: {"seconds": decoding(paths, number)}


def ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """The pipeline."""
    data, recipe, number = load(case, options)

    def run() -> harness.Answer:
        first, again = pipeline(data, recipe, number)
        return {"seconds": first, "again": again, "note": f"{1 / first:.1f} and {1 / again:.1f} images a second"}

    return run


def train(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """A training, and the share of its steps that waiting takes."""
    data, recipe, _ = load(case, options)
    return lambda: {"share of waiting": wait_share(data, recipe, options.wait)}


def arguments(parser: argparse.ArgumentParser) -> Any:
    """The script's own."""
    parser.add_argument("--data", type=Path, default=NUTS / "annotations.json")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--number", type=int, default=400, help="images that are read")
    parser.add_argument("--wait", type=int, default=0, metavar="STEPS")


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={"decoding": decode, "pipeline": ours, "training": train},
    cases=CASES,
    rounds=3,
    fresh=True,  # the cache is empty the first time only
    arguments=arguments,
    prepare=prepare,
    choose=lambda case, options: ("decoding", "pipeline", "training") if options.wait else ("decoding", "pipeline"),
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
