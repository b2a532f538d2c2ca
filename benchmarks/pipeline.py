"""The input pipeline alone: images a second, against the same threads doing nothing but decoding the files.

Two sets: the one given (default: the nuts of the tests), and its images scaled up to 12-megapixel JPEGs, written to
a temporary folder. Each goes through the pipeline with the config of a recipe; "first" is the first time the
images are read, "again" has them in the cache as far as they fit. The last column is the time of one image over the
time of its decoding at full size: below 1 where reading at a part of the size pays.

`--wait STEPS` also trains the recipe for so many steps and prints the share of their time spent waiting for data.

    python benchmarks/pipeline.py [--data ANN.json] [--images DIR] [--recipe NAME ...] [--wait STEPS]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NUTS = ROOT / "tests" / "assets" / "nuts3"
LARGE_SIDE, LARGE_NUMBER = 4032, 24  # 12 megapixels at 4 : 3
WORKERS = min(4, os.cpu_count() or 1)


def like(data):
    """A set of the same classes without images."""
    from mrcnn import Dataset

    empty = Dataset()
    for name, category in zip(data.class_names, data.category_ids, strict=True):
        empty.add_class("benchmark", category, name)
    return empty


def enlarged(data, folder: Path, number: int):
    """The first images of a set at 12 megapixels, as a set of its own."""
    large = like(data)
    for i in range(number):
        index = i % len(data)
        image = Image.fromarray(data.load_image(index))
        factor = LARGE_SIDE / max(image.size)
        size = (round(image.width * factor), round(image.height * factor))
        path = folder / f"{i}.jpg"
        image.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        annotations = [
            dataclasses.replace(
                a,
                box=tuple(factor * v for v in a.box),
                segmentation=[np.asarray(p) * factor for p in a.segmentation]
                if isinstance(a.segmentation, (list, tuple))
                else None,
                area=None,
                keypoints=None,
            )
            for a in data.annotations(index)
        ]
        large.add_image("large", i, path, width=size[0], height=size[1], annotations=annotations)
    return large


def decoding(paths: list[str], number: int) -> float:
    """Seconds an image for reading files at their full size, in as many threads as the pipeline has."""
    from mrcnn import read_image

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(read_image, paths[:2]))
        begin = time.perf_counter()
        list(threads.map(read_image, [paths[i % len(paths)] for i in range(number)]))
        return (time.perf_counter() - begin) / number


def pipeline(data, recipe, number: int) -> tuple[float, float]:
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


def wait_share(data, recipe, steps: int) -> float:
    """Share of the time of training steps spent waiting for data, in the second of two epochs: the first traces."""
    import mrcnn

    part = data.subset(range(min(len(data), steps * recipe.train.batch_size)))
    model = recipe.build_model(part.class_names, part.category_ids)
    recipe = recipe.override({"train.images": 2 * len(part), "train.warmup_images": 0})
    return mrcnn.train(model, part, recipe=recipe, progress=False).history["data_wait"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=NUTS / "annotations.json")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--recipe", nargs="*", default=["mask_rcnn_efficientnet_lite0_fpn", "mask_rcnn_r50_fpn"])
    parser.add_argument("--wait", type=int, default=0, metavar="STEPS")
    arguments = parser.parse_args()
    import mrcnn

    images = arguments.images or (NUTS if arguments.data.parent == NUTS else None)
    data = mrcnn.load_coco(arguments.data, images)
    print(f"{data}, {WORKERS} threads")
    head = f"{'set':10} {'recipe':34} {'first':>10} {'again':>10} {'decoding':>10}  first / decoding"
    print(head)
    with tempfile.TemporaryDirectory() as folder:
        sets = {"as given": (data, 400), "12 MP": (enlarged(data, Path(folder), LARGE_NUMBER), LARGE_NUMBER)}
        for title, (part, number) in sets.items():
            bare = decoding([part.record(i).path for i in range(len(part))], number)
            for name in arguments.recipe:
                first, again = pipeline(part, mrcnn.recipes.get(name), number)
                rates = " ".join(f"{1 / seconds:8.1f}/s" for seconds in (first, again, bare))
                print(f"{title:10} {name:34} {rates}  {first / bare:.2f}", flush=True)
    if arguments.wait:
        recipe = mrcnn.recipes.get(arguments.recipe[0])
        share = wait_share(data, recipe, arguments.wait)
        print(f"training {arguments.recipe[0]}: {share:.1%} of the time of its steps is spent waiting for data")


if __name__ == "__main__":
    main()
