"""How many label mistakes are in the first tenth of the ranking: python benchmarks/label_mistakes.py [DATA] --seed N

DATA holds annotations_val.json and images/ of nuclei; without it the twelve shipped images are taken. 5 % of the
objects vanish, or are moved by half their box, or get another class; then an evaluation ranks the likely mistakes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import mrcnn
from mrcnn.evaluation import find_label_issues, pair_image
from mrcnn.structures.boxes import box_iou
from mrcnn.structures.instances import Instances

NUCLEI = Path(__file__).parent.parent / "samples/nuclei"
SHARE = 0.05


def moved(objects: Instances, number: int, angle: float) -> Instances:
    """The objects with one moved by half its box's sides; what leaves the image is lost."""
    masks, boxes = np.array(objects.masks), objects.boxes.copy()
    y1, x1, y2, x2 = boxes[number]
    by = round(float(y2 - y1) / 2 * math.sin(angle)), round(float(x2 - x1) / 2 * math.cos(angle))
    rows, columns = np.nonzero(masks[number])
    rows, columns = rows + by[0], columns + by[1]
    height, width = objects.image_shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    if not inside.any():
        return moved(objects, number, angle + math.pi)
    rows, columns = rows[inside], columns[inside]
    masks[number] = False
    masks[number, rows, columns] = True
    boxes[number] = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    return Instances(boxes, objects.class_ids, objects.image_shape, masks=masks)


def injected(
    kind: str, objects: Instances, numbers: Sequence[int], num_classes: int, rng: np.random.Generator
) -> tuple[Instances, list[tuple[int | None, np.ndarray]]]:
    """The objects of an image with mistakes of a kind in some of them; (place among what is left or None, box) each."""
    left = list(range(len(objects)))
    if kind == "dropped":
        left = [number for number in left if number not in numbers]
        return objects[left], [(None, objects.boxes[number]) for number in numbers]
    for number in numbers:
        if kind == "moved":
            objects = moved(objects, number, rng.uniform(0, 2 * math.pi))
        else:
            class_ids = objects.class_ids.copy()
            class_ids[number] = 1 + (class_ids[number] - 1 + rng.integers(1, num_classes)) % num_classes
            objects = Instances(objects.boxes, class_ids, objects.image_shape, masks=objects.masks)
    return objects, [(number, objects.boxes[number]) for number in numbers]


def share_named(
    kind: str, ground_truth: Sequence[Instances], predictions: Sequence[Instances], num_classes: int, seed: int
) -> tuple[int, int, int]:
    """(found, injected, first): mistakes that the first issues name, which are a tenth as many as the objects."""
    rng = np.random.default_rng(seed)
    places = [(image, number) for image, objects in enumerate(ground_truth) for number in range(len(objects))]
    chosen = rng.choice(len(places), round(SHARE * len(places)), replace=False)
    pairs, mistakes = [], []
    for image, (objects, prediction) in enumerate(zip(ground_truth, predictions, strict=True)):
        numbers = [places[c][1] for c in chosen if places[c][0] == image]
        changed, made = injected(kind, objects, numbers, num_classes, rng)
        mistakes += [(image, place, box) for place, box in made]
        pairs.append(pair_image(image, changed, prediction))
    tenth = round(len(places) / 10)
    first = find_label_issues(pairs)[:tenth]

    def is_named(image: int, place: int | None, box: np.ndarray) -> bool:
        for issue in (one for one in first if one.image == image):
            if place is not None and issue.gt == place:
                return True
            of_detection = place is None and issue.detection is not None
            if of_detection and box_iou(box, pairs[image].boxes[issue.detection]).item() >= 0.5:
                return True
        return False

    return sum(is_named(*mistake) for mistake in mistakes), len(mistakes), tenth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--model", type=Path, default=NUCLEI / "run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.data is None:
        dataset = mrcnn.load_coco(NUCLEI / "images/annotations.json", NUCLEI / "images")
    else:
        dataset = mrcnn.load_coco(options.data / "annotations_val.json", options.data / "images")
    model = mrcnn.fold_batch_norm(mrcnn.load_model(options.model))
    ground_truth = [dataset.instances(index) for index in range(len(dataset))]
    predictions = mrcnn.detect(model, [dataset.record(i).path for i in range(len(dataset))], score_threshold=0.05)
    for kind in ("dropped", "moved", *(("class",) if len(dataset.class_names) > 1 else ())):
        named, made, first = share_named(kind, ground_truth, predictions, len(dataset.class_names), options.seed)
        print(f"{kind}: {named} of {made} ({named / max(made, 1):.0%}) in the first {first}, seed {options.seed}")


if __name__ == "__main__":
    main()
