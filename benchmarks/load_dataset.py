"""Time and memory of opening large data sets.

coco      118,000 images and 860,000 annotations, as many as COCO's train2017; the peer is `pycocotools.COCO`. Ours also
          checks every object, looks for every image file and recognizes the format.
yolo, labelme   13,500 images with polygons, a label file and an image file each.

Each round is a process of its own. Images of the first are empty files, whose size the annotations state. Numbers:
seconds, processor seconds, and the highest resident memory of the process with the library it imports.

    python benchmarks/load_dataset.py [--case coco yolo labelme] [--images 118000] [--peers] [--rounds 3]
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np

IMAGES, ANNOTATIONS, LABELED = 118_000, 860_000, 13_500
HEIGHT, WIDTH = 480, 640


def ring(rng: np.random.Generator) -> np.ndarray:
    """f64[n, 2] of an outline of 10 to 40 corners inside the image."""
    number = int(rng.integers(10, 40))
    angle = np.linspace(0, 6.28, number)
    radius = rng.uniform(8, 50) * rng.uniform(0.7, 1.1, number)
    center = rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60))
    return np.round(np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] + center, 2)


def annotation(rng: np.random.Generator, number: int, images: int) -> dict[str, Any]:
    """One entry as COCO's files have it, every hundredth a crowd region."""
    points = ring(rng)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    is_crowd = number % 100 == 0
    counts = [1000, 500, HEIGHT * WIDTH - 1500]
    return {
        "segmentation": {"counts": counts, "size": [HEIGHT, WIDTH]} if is_crowd else [points.ravel().tolist()],
        "area": round((x2 - x1) * (y2 - y1) * 0.7, 4),
        "iscrowd": int(is_crowd),
        "image_id": int(rng.integers(images)) + 1,
        "bbox": [2.0, 0.0, 3.0, 480.0] if is_crowd else [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "category_id": int(rng.integers(80)) + 1,
        "id": number + 1,
    }


def write_coco(folder: Path, images: int) -> None:
    """instances.json beside images/; written entry by entry."""
    rng = np.random.default_rng(0)
    names = [f"{k + 1:012d}.jpg" for k in range(images)]
    (folder / "images").mkdir(parents=True)
    for name in names:
        (folder / "images" / name).touch()
    url = "http://images.cocodataset.org/train2017/"
    entries = [
        {"license": 3, "file_name": name, "coco_url": url + name, "height": HEIGHT, "width": WIDTH,
         "date_captured": "2013-11-14 11:18:45", "flickr_url": url + name, "id": k + 1}
        for k, name in enumerate(names)
    ]  # fmt: skip
    number = ANNOTATIONS * images // IMAGES
    with open(folder / "instances.json", "w", encoding="utf-8") as file:
        file.write('{"info": {}, "licenses": [], "images": ' + json.dumps(entries) + ', "annotations": [')
        for k in range(number):
            file.write((", " if k else "") + json.dumps(annotation(rng, k, images)))
        categories = [{"supercategory": "thing", "id": k + 1, "name": f"c{k}"} for k in range(80)]
        file.write('], "categories": ' + json.dumps(categories) + "}")


def outlines(images: int) -> Iterator[tuple[str, list[tuple[int, np.ndarray]]]]:
    """The name of each image, and its objects: class and outline."""
    rng = np.random.default_rng(0)
    for k in range(images):
        yield f"{k:012d}", [(int(rng.integers(80)), ring(rng)) for _ in range(int(rng.integers(3, 12)))]


def jpeg() -> bytes:
    """A gray image."""
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(content, "JPEG")
    return content.getvalue()


def write_yolo(folder: Path, images: int) -> None:
    """data.yaml, images/train and labels/train."""
    for name in ("images", "labels"):
        (folder / name / "train").mkdir(parents=True)
    names = ", ".join(f"c{k}" for k in range(80))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nnames: [{names}]\n")
    content = jpeg()
    for name, objects in outlines(images):
        rows = [f"{k} " + " ".join(f"{v:.6f}" for v in (p / (WIDTH, HEIGHT)).ravel()) for k, p in objects]
        (folder / "labels/train" / f"{name}.txt").write_text("\n".join(rows) + "\n")
        (folder / "images/train" / f"{name}.jpg").write_bytes(content)


def write_labelme(folder: Path, images: int) -> None:
    """A JSON file beside each image, as labelme 5 writes it."""
    folder.mkdir(parents=True)
    content = jpeg()
    for name, objects in outlines(images):
        common: dict[str, Any] = {
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        shapes = [{"label": f"c{k}", "points": points.tolist(), **common} for k, points in objects]
        label: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{name}.jpg",
            "imageData": None,
        }
        text = json.dumps({**label, "imageHeight": HEIGHT, "imageWidth": WIDTH}, indent=2)
        (folder / f"{name}.json").write_text(text)
        (folder / f"{name}.jpg").write_bytes(content)


WRITERS = {"coco": write_coco, "yolo": write_yolo, "labelme": write_labelme}


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Write the data sets of the cases."""
    for case in options.case:
        WRITERS[case](folder / case, options.images if case == "coco" else LABELED * options.images // IMAGES)


def path_of(case: str, options: argparse.Namespace) -> Path:
    """Of a data set."""
    return options.folder / case / ("instances.json" if case == "coco" else "")


def measured(load: Callable[[], Any], count: Callable[[Any], int]) -> harness.Answer:
    """One round."""
    wall, own = time.perf_counter(), time.process_time()
    data = load()
    wall, own = time.perf_counter() - wall, time.process_time() - own
    return {"seconds": wall, "processor_seconds": own, "peak_mb": harness.peak_mb(), "objects": count(data)}


def start_ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """`mrcnn.load_dataset`, format and images found by itself."""
    import logging

    import mrcnn
    from mrcnn.data.formats.registry import formats

    logging.disable(logging.WARNING)
    formats()  # imports every reader
    path = path_of(case, options)
    return lambda: measured(
        lambda: mrcnn.load_dataset(path), lambda data: sum(len(data.annotations(i)) for i in range(len(data)))
    )


def start_pycocotools(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """`pycocotools.COCO`."""
    if case != "coco":
        raise harness.NotHere("pycocotools reads COCO files only")
    from pycocotools.coco import COCO

    return lambda: measured(lambda: COCO(str(path_of(case, options))), lambda data: len(data.anns))


def arguments(parser: argparse.ArgumentParser) -> None:
    """The script's own."""
    parser.add_argument("--images", type=int, default=IMAGES, help="of COCO; everything else in proportion")


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={"mrcnn": start_ours},
    peers={"pycocotools": start_pycocotools},
    cases=tuple(WRITERS),
    rounds=3,
    fresh=True,
    arguments=arguments,
    prepare=prepare,
    same={"objects": 0.0},
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
